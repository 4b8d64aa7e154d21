"""Baselines: what stands in the place of what is taken out of an image."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from hatnet.config import nearest

BASELINES = {
    "blur": "the image itself, blurred",
    "mean": "the mean colour of the data",
    "black": "black",
}


def check_baselines(names: Sequence[str]) -> None:
    """Raise a ValueError for an unknown name, or one that comes twice."""
    for name in names:
        if name not in BASELINES:
            raise ValueError(f"unknown baseline {name!r}{nearest(name, BASELINES)}; known: {', '.join(BASELINES)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"baselines={tuple(names)} must hold at least one, and none twice")


def baseline(name: str, images: Tensor, mean: Sequence[float], std: Sequence[float], width: float) -> Tensor:
    """The baseline of each image, of its shape.

    Args:
        name: of `BASELINES`.
        images: (B, C_in, H, W), normalised with `mean` and `std` of pixels in [0, 1].
        mean, std: an entry a channel.
        width: standard deviation of the blur, in pixels.
    """
    check_baselines([name])
    if name == "blur":
        return blur(images, width)
    if name == "mean":
        return torch.zeros_like(images)
    black = -images.new_tensor(mean) / images.new_tensor(std)
    return black[:, None, None].expand_as(images)


def blur(images: Tensor, width: float) -> Tensor:
    """A Gaussian blur; beyond the border the border goes on."""
    reach = ceil(3 * width)
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1).to(images) / width) ** 2)
    weights = weights / weights.sum()
    channels = images.shape[1]
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(rows, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
