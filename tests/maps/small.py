"""Small networks with their images, maps and explorers, for the tests of maps."""

import re
from base64 import b64decode
from functools import cache

import numpy as np
import torch

from hatnet import create_model
from hatnet.config import HATNetConfig
from hatnet.data.photo import load_photo
from hatnet.equivalence import randomise, run_reference
from hatnet.maps import attention_maps
from hatnet.maps.explorer import decode, encode, picture_from_model
from tests.cases import NetworkCase

TINY = NetworkCase(
    HATNetConfig(
        channels=(4, 6), depths=(2, 1), kernel_sizes=(3, 3), expansions=(2, 2), head_dim=2, grid_sizes=(3,),
        pool_sizes=(2,), stem_channels=3, num_classes=3, stem_strides=(1, 2), in_channels=1,
    ),
    batch=2, height=9, width=8, scale=1.0, seed=9,
)  # fmt: skip
PLAIN_NETWORK = {
    "channels": (64,), "depths": (2,), "kernel_sizes": (3,), "expansions": (2,), "grid_sizes": (), "pool_sizes": (),
}  # fmt: skip
CASES = {
    "micro": ((28, 28), {}),
    "nothing divides": ((31, 45), {}),
    "smaller than a window": ((9, 13), {}),
    "one plain stage": ((12, 15), PLAIN_NETWORK),
}
CLASSES = ["ankle boot", "bag", "<coat>"]


def end_to_end(case):
    """A model with its images, its maps, and the reference's trace of each image."""
    model, images = case.model(), case.images()
    return model, images, attention_maps(model, images), [run_reference(model, image.numpy()) for image in images]


def random_rows(case, count=3):
    """Maps of any weights at all, (B, H, W, count)."""
    shape = (case.batch, case.height, case.width, count)
    return torch.from_numpy(np.random.default_rng(case.seed).uniform(size=shape))


def as_maps(rows, size):
    """Rows (R, HW) as maps (H, W, R)."""
    return np.moveaxis(rows.reshape(-1, *size), 0, -1)


def photo_of(height, width):
    return load_photo(size=max(height, width))[:, :height, :width]


def random_model(variant="micro", **overrides):
    """A network with random weights, norms and biases in float64."""
    model = create_model(variant, **overrides).double()
    randomise(model)
    return model


@cache
def seen(case):
    """A network, and two pictures with their maps."""
    size, overrides = CASES[case]
    model, photo = random_model(num_classes=3, **overrides), photo_of(*size)
    return model, [
        picture_from_model(model, photo, "cat", classes=CLASSES, label=2),
        picture_from_model(model, photo[:, ::-1, ::-1].copy(), "cat, upside down"),
    ]


def encoded(case="micro", **changed):
    model, pictures = seen(case)
    return encode(**{"pictures": pictures, "config": model.config, "provenance": "Random.", **changed})


def embedded(html):
    """The data inside a page, as bytes and decoded."""
    data = b64decode(re.search(r'<script type="application/gzip;base64">(.*?)</script>', html)[1])
    return data, *decode(data)
