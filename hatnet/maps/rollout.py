r"""Back through blocks and stages: rollout, and the maps of convolutions it needs between stages.

A map over a block's tokens is taken back through its composed matrix C, block by block:
$r\, C_B \cdots C_2\, C_1$. Three conventions make this a statement about pixels:

- an MLP counts with its residual alone (Eq. 4), so what its depthwise convolution carries to neighbours is left out;
- downsampling, and each convolution of the stem, counts by where it looks, not by what its weights make of it, and
  every place takes as much as every other;
- norms and matrices count as one, as in `composed`.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from hatnet.maps.block_map import Head, composed


def through_blocks(maps: Tensor, blocks: Iterable[list[Head]]) -> Tensor:
    """Rows r taken back through blocks, the last one first: (B, H, W, R) -> (B, H, W, R), with the same sums."""
    for heads in blocks:
        maps = torch.stack(composed(maps, heads)).sum(dim=0)
    return maps


def through_convolution(maps: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Rows over what comes out of a 3x3 convolution, taken back to its input.

    A place takes from the outputs that look at it: along each axis in proportion 1, 2, 1 at stride 2, where two outputs
    see the outer ones, and alike otherwise. Every place takes as much as every other, so that an even map stays even,
    at the border too. (If every *output* gave as much as every other, an even map of HAT-Net Tiny's last stage would
    end 18 times too bright in one corner of a photo and a thousand times too dark in the opposite one: the first output
    of a row has 1.5 places, the last 2.5.) So sums stay only nearly, and `AttentionMaps.rollout` divides by the sum in
    the end.

    Args:
        maps: (B, ceil(H / s), ceil(W / s), R).
        size: of the input, (H, W).
        stride: s.

    Returns:
        (B, H, W, R); zero where no output looks, which happens at strides above 2.

    >>> through_convolution(torch.tensor([[[[0.0], [1.0], [0.0]]]]), size=(1, 6), stride=2).flatten()
    tensor([0.0000, 0.2500, 0.5000, 0.2500, 0.0000, 0.0000])
    """
    B, h, w, R = maps.shape
    shares = maps.new_tensor([1, 2, 1] if stride == 2 else [1, 1, 1])
    kernel = (shares[:, None] * shares)[None, None]  # (1, 1, 3, 3)
    hidden = [(length - 1) % stride for length in size]  # rows and columns that rounding up took in

    def looked_at(outputs: Tensor) -> Tensor:
        return F.conv_transpose2d(outputs, kernel, stride=stride, padding=1, output_padding=hidden)

    by_all = looked_at(maps.new_ones(1, 1, h, w))  # (1, 1, H, W)
    places = looked_at(maps.permute(0, 3, 1, 2).reshape(B * R, 1, h, w)) / by_all.masked_fill(by_all == 0, 1)
    return (places * (h * w / (size[0] * size[1]))).view(B, R, *size).permute(0, 2, 3, 1)


def through_stem(maps: Tensor, size: tuple[int, int], strides: tuple[int, int]) -> Tensor:
    """Rows over the stem's tokens, taken back to pixels of an image of `size`: (B, H / 4, W / 4, R) -> (B, H, W, R)."""
    hidden = (-(-size[0] // strides[0]), -(-size[1] // strides[0]))
    return through_convolution(through_convolution(maps, hidden, strides[1]), size, strides[0])
