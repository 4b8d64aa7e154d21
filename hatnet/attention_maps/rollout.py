r"""Back through blocks and stages: rollout, and the maps of convolutions it needs between stages.

A map over a block's tokens is taken back through its composed matrix C, block by block:
$r\, C_B \cdots C_2\, C_1$. Three conventions make this a statement about pixels:

- an MLP counts with its residual alone (Eq. 4), so what its depthwise convolution carries to neighbours is left out;
- downsampling, and each convolution of the stem, counts by where it looks, not by what its weights make of it;
- norms and matrices count as one, as in `composed`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from hatnet.attention_maps.composed import Head, composed


def through_blocks(maps: Tensor, blocks: Iterable[list[Head]]) -> Tensor:
    """Rows r taken back through blocks, the last one first: (B, H, W, R) -> (B, H, W, R), with the same sums."""
    for heads in blocks:
        maps = torch.stack(composed(maps, heads)).sum(dim=0)
    return maps


def through_convolution(maps: Tensor, size: tuple[int, int], stride: int, whole: bool = True) -> Tensor:
    """Rows over what comes out of a 3x3 convolution, taken back to its input.

    An output looks at its three places along each axis with shares 1/4, 1/2, 1/4 at stride 2, where two outputs see the
    outer ones, and 1/3 each otherwise. So all places within a map count the same. (With 1/3 each at stride 2, every map
    would bear a grid, brighter by four at each stage where odd rows and columns cross.)

    Args:
        maps: (B, ceil(H / s), ceil(W / s), R).
        size: of the input, (H, W).
        stride: s.
        whole: whether an output at the border looks at what is within the map alone, so that sums stay; else what
            falls outside is lost.

    Returns:
        (B, H, W, R).

    >>> through_convolution(torch.tensor([[[[0.0], [1.0], [0.0]]]]), size=(1, 6), stride=2).flatten()
    tensor([0.0000, 0.2500, 0.5000, 0.2500, 0.0000, 0.0000])
    """
    B, h, w, R = maps.shape
    shares = maps.new_tensor([1, 2, 1] if stride == 2 else [1, 1, 1])
    kernel = (shares[:, None] * shares / shares.sum() ** 2)[None, None]  # (1, 1, 3, 3)
    outputs = maps.permute(0, 3, 1, 2).reshape(B * R, 1, h, w)
    if whole:
        outputs = outputs / F.conv2d(maps.new_ones(1, 1, *size), kernel, stride=stride, padding=1)
    hidden = [(length - 1) % stride for length in size]  # rows and columns that rounding up took in
    places = F.conv_transpose2d(outputs, kernel, stride=stride, padding=1, output_padding=hidden)
    return places.view(B, R, *size).permute(0, 2, 3, 1)


def through_stem(maps: Tensor, size: tuple[int, int], strides: tuple[int, int], whole: bool = True) -> Tensor:
    """Rows over the stem's tokens, taken back to pixels of an image of `size`: (B, H / 4, W / 4, R) -> (B, H, W, R)."""
    hidden = (-(-size[0] // strides[0]), -(-size[1] // strides[0]))
    return through_convolution(through_convolution(maps, hidden, strides[1], whole), size, strides[0], whole)
