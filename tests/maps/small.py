"""A small network with its images, and rows of weights to take back, for the tests of maps."""

import numpy as np
import torch

from hatnet.config import HATNetConfig
from hatnet.equivalence import run_reference
from hatnet.maps import attention_maps
from tests.cases import NetworkCase

TINY = NetworkCase(
    HATNetConfig(
        channels=(4, 6), depths=(2, 1), kernel_sizes=(3, 3), expansions=(2, 2), head_dim=2, grid_sizes=(3,),
        pool_sizes=(2,), stem_channels=3, num_classes=3, stem_strides=(1, 2), in_channels=1,
    ),
    batch=2, height=9, width=8, scale=1.0, seed=9,
)  # fmt: skip


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
