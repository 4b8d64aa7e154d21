r"""Rollout: rows taken back through blocks and stages, and through the convolutions between stages.

A row r over a block's tokens is taken back through the block's matrix F, block by block: $r\, F_B \cdots F_2\, F_1$.
Three conventions turn the product into a statement about pixels:

- an MLP counts as its residual alone (Eq. 4), which leaves out what its depthwise convolution carries to neighbours;
- downsampling, and each convolution of the stem, counts by its receptive field, whatever its weights, and every place
  of its input takes as much as every other;
- norms and projections count as the identity, as in `block_map`.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from hatnet.config import ceil_div
from hatnet.maps.block_map import Head, TracedWeights, through_block


def rollout(maps: Tensor, weights: TracedWeights, stage: int, block: int) -> Tensor:
    """Take rows over the tokens of `stage`, (B, H, W, R), back from the output of a block to the tokens of the stem.

    The result is (B, H0, W0, R) over the tokens of stage 0. Downsampling keeps sums only approximately.
    """
    for s in reversed(range(stage + 1)):
        last = block if s == stage else weights.config.stages[s].depth - 1
        maps = through_blocks(maps, (weights.heads(s, b) for b in reversed(range(last + 1))))
        if s > 0:
            maps = through_convolution(maps, weights.layouts[s - 1].map, stride=2)
    return maps


def through_blocks(maps: Tensor, blocks: Iterable[list[Head]]) -> Tensor:
    """Take rows r back through blocks, the last one first: (B, H, W, R) -> (B, H, W, R), with the same sums."""
    for heads in blocks:
        maps = torch.stack(through_block(maps, heads)).sum(dim=0)
    return maps


def through_convolution(maps: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """Take rows back from the output of a 3x3 convolution to its input.

    Each place takes from the outputs that see it: along each axis in proportion 1, 2, 1 at stride 2, where two outputs
    see every second place, and in equal proportion otherwise. Every place takes as much as every other, so a uniform
    map stays uniform, at the border too. (Suppose every *output* gave as much as every other instead. Then a uniform
    map of HAT-Net Tiny's last stage would end 18 times too bright in one corner of a photo and a thousand times too
    dark in the opposite one, because the first output of a row has 1.5 places and the last 2.5.) The price is that
    sums are kept only approximately, so `AttentionMaps.rollout` divides by the sum at the end.

    At stride s, (B, ceil(H / s), ceil(W / s), R) becomes (B, H, W, R), where `size` is (H, W). The result is zero where
    no output sees the place, which happens at strides above 2.

    >>> through_convolution(torch.tensor([[[[0.0], [1.0], [0.0]]]]), size=(1, 6), stride=2).flatten()
    tensor([0.0000, 0.2500, 0.5000, 0.2500, 0.0000, 0.0000])
    """
    B, h, w, R = maps.shape
    shares = maps.new_tensor([1, 2, 1] if stride == 2 else [1, 1, 1])
    kernel = (shares[:, None] * shares)[None, None]  # (1, 1, 3, 3)
    beyond = [(length - 1) % stride for length in size]  # rows and columns past the centre of the last output

    def back(outputs: Tensor) -> Tensor:
        return F.conv_transpose2d(outputs, kernel, stride=stride, padding=1, output_padding=beyond)

    by_all = back(maps.new_ones(1, 1, h, w))  # (1, 1, H, W)
    places = back(maps.permute(0, 3, 1, 2).reshape(B * R, 1, h, w)) / by_all.masked_fill(by_all == 0, 1)
    return (places * (h * w / (size[0] * size[1]))).view(B, R, *size).permute(0, 2, 3, 1)


def through_stem(maps: Tensor, size: tuple[int, int], strides: tuple[int, int]) -> Tensor:
    """Take rows over the stem's tokens back to pixels of an image of `size`: (B, H / 4, W / 4, R) -> (B, H, W, R)."""
    hidden = (ceil_div(size[0], strides[0]), ceil_div(size[1], strides[0]))
    return through_convolution(through_convolution(maps, hidden, strides[1]), size, strides[0])
