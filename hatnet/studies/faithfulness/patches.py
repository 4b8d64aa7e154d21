"""Patches: the squares of pixels that are ranked, removed and put back."""

import torch
from torch import Tensor
from torch.nn import functional as F


def patch_means(maps: Tensor, patch: int) -> Tensor:
    """Average maps over each patch, row by row: (B, H, W) -> (B, P). Patches at the border may be smaller.

    >>> patch_means(torch.tensor([[[1.0, 3.0, 4.0], [1.0, 3.0, 6.0]]]), 2)
    tensor([[2., 5.]])
    """
    return F.avg_pool2d(maps[:, None], patch, ceil_mode=True, count_include_pad=False).flatten(1)


def patch_mask(selected: Tensor, size: tuple[int, int], patch: int) -> Tensor:
    """Mark the pixels of selected patches: booleans (B, P) -> booleans (B, 1, H, W) for images of `size` (H, W)."""
    rows, columns = (-(-length // patch) for length in size)
    cells = selected.view(-1, 1, rows, columns)
    pixels = cells.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)
    return pixels[:, :, : size[0], : size[1]]


def replace_patches(images: Tensor, replacements: Tensor, selected: Tensor, patch: int) -> Tensor:
    """Replace the selected patches (B, P) of images (B, C_in, H, W) by those of `replacements`, of the same shape."""
    size = (images.shape[2], images.shape[3])
    return torch.where(patch_mask(selected, size, patch), replacements, images)
