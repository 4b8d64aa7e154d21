"""Patches: the squares of pixels that are covered, uncovered and ranked."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def over_patches(maps: Tensor, patch: int) -> Tensor:
    """The mean of maps over each patch, (B, H, W) -> (B, P), row by row; patches at the border may be smaller.

    >>> over_patches(torch.tensor([[[1.0, 3.0, 4.0], [1.0, 3.0, 6.0]]]), 2)
    tensor([[2., 5.]])
    """
    return F.avg_pool2d(maps[:, None], patch, ceil_mode=True, count_include_pad=False).flatten(1)


def place(chosen: Tensor, size: tuple[int, int], patch: int) -> Tensor:
    """Where chosen patches (B, P) lie, over pixels: (B, P) -> (B, 1, H, W), of the same type."""
    rows, columns = (-(-length // patch) for length in size)
    cells = chosen.view(-1, 1, rows, columns)
    pixels = cells.repeat_interleave(patch, dim=2).repeat_interleave(patch, dim=3)
    return pixels[:, :, : size[0], : size[1]]


def swap(begin: Tensor, end: Tensor, chosen: Tensor, patch: int) -> Tensor:
    """Images `begin` with the chosen patches (B, P) taken from `end`: (B, C_in, H, W)."""
    size = (begin.shape[2], begin.shape[3])
    return torch.where(place(chosen, size, patch), end, begin)
