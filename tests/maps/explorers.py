"""Small explorers that several tests share: networks, pictures with their maps, and the file."""

from functools import cache

import torch

from hatnet import create_model
from hatnet.data.photo import load_photo
from hatnet.equivalence import randomise
from hatnet.maps.explorer import encode, picture_from_model

PLAIN_NETWORK = {
    "channels": (64,),
    "depths": (2,),
    "kernel_sizes": (3,),
    "expansions": (2,),
    "grid_sizes": (),
    "pool_sizes": (),
}


CASES = {
    "micro": ((28, 28), {}),
    "nothing divides": ((31, 45), {}),
    "smaller than a window": ((9, 13), {}),
    "one plain stage": ((12, 15), PLAIN_NETWORK),
}


CLASSES = ["ankle boot", "bag", "<coat>"]


@cache
def seen(case):
    """A network, and two pictures with their maps."""
    (height, width), overrides = CASES[case]
    model = create_model("micro", num_classes=3, **overrides).double()
    randomise(model)
    photo = load_photo(size=max(height, width))[:, :height, :width]
    return model, [
        picture_from_model(model, photo, "cat", classes=CLASSES, label=2),
        picture_from_model(model, photo[:, ::-1, ::-1].copy(), "cat, upside down"),
    ]


def encoded(case="micro", **changed):
    model, pictures = seen(case)
    return encode(**{"pictures": pictures, "config": model.config, "provenance": "Random.", **changed})


def torch_of(image):
    """An array as a float32 tensor."""
    return torch.from_numpy(image).float()
