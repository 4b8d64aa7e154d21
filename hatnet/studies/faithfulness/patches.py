"""Patches, the squares of pixels that are removed and put back, and baselines, the images that replace them."""

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional as F

from hatnet.studies.common.settings import require_known

BASELINES = {"blur": "the image itself, blurred", "mean": "the mean colour of the data", "black": "black"}


def patch_means(maps: Tensor, patch: int) -> Tensor:
    """Average maps over each patch, row by row: (B, H, W) -> (B, P). Patches at the border may be smaller.

    >>> patch_means(torch.tensor([[[1.0, 3.0, 4.0], [1.0, 3.0, 6.0]]]), 2)
    tensor([[2., 5.]])
    """
    return F.avg_pool2d(maps[:, None], patch, ceil_mode=True, count_include_pad=False).flatten(1)


def replace_patches(images: Tensor, replacements: Tensor, selected: Tensor, patch: int) -> Tensor:
    """Replace the selected patches (B, P) of images (B, C_in, H, W) by those of `replacements`, of the same shape."""
    H, W = images.shape[2:]
    cells = selected.view(-1, 1, ceil(H / patch), ceil(W / patch))
    pixels = cells.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)[:, :, :H, :W]
    return torch.where(pixels, replacements, images)


def baseline_images(
    name: str, images: Tensor, mean: Sequence[float], std: Sequence[float], blur_width: float
) -> Tensor:
    """Compute the baseline of each image, one of `BASELINES`: (B, C_in, H, W) -> (B, C_in, H, W).

    The images were normalised from [0, 1] with `mean` and `std`, one entry per channel. The blur has a standard
    deviation of `blur_width` pixels. Raises ValueError for an unknown baseline.
    """
    require_known("baseline", [name], BASELINES)
    if name == "blur":
        return blur(images, blur_width)
    if name == "mean":
        return torch.zeros_like(images)
    black = -images.new_tensor(mean) / images.new_tensor(std)
    return black[:, None, None].expand_as(images)


def blur(images: Tensor, width: float) -> Tensor:
    """Blur images (B, C_in, H, W) with a Gaussian of standard deviation `width` pixels; border pixels are repeated."""
    radius = ceil(3 * width)
    weights = torch.exp(-0.5 * (torch.arange(-radius, radius + 1).to(images) / width) ** 2)
    weights = weights / weights.sum()
    channels = images.shape[1]
    padded = F.pad(images, (radius, radius, radius, radius), mode="replicate")
    rows = F.conv2d(padded, weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)
    return F.conv2d(rows, weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
