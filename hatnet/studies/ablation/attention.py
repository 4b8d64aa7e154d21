"""The attentions that take the place of H-MHSA: its local half, its global half, PVT's, and none at all.

Each maps (B, H, W, C) to (B, H, W, C) and includes the norm before it, but not the residual connection around it. All
use HAT-Net's norm over the whole map (D1, explained in docs/paper-vs-code.md), so that they differ in their attention
alone. Through its mean and variance, this norm lets every token affect every other slightly; statements about which
tokens a token can see concern the attention only.
"""

import torch
from torch import Tensor, nn

from hatnet.former_names import accept_former_names
from hatnet.hierarchical_attention import GlobalAttention, LocalAttention, Merge
from hatnet.layers import GroupNorm
from hatnet.relatives import PVTAttention
from hatnet.trace import NO_TRACE, Trace


class LocalOnly(nn.Module):
    """Attention inside windows of G1 x G1 tokens, Eq. 6-8, then a projection."""

    def __init__(self, channels: int, heads: int, grid_size: int) -> None:
        super().__init__()
        self.grid_size = grid_size  # G1, in tokens
        self.norm = GroupNorm(channels)
        self.local_attention = LocalAttention(channels, heads)
        self.projection = nn.Linear(channels, channels)  # W^p
        accept_former_names(self)

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        return self.projection(self.local_attention(self.norm(x), self.grid_size, trace))


class GlobalOnly(nn.Module):
    """Every token attends to the map merged in cells of G2 x G2 tokens: Eq. 10-13 on the input, then a projection."""

    def __init__(self, channels: int, heads: int, pool_size: int) -> None:
        super().__init__()
        self.pool_size = pool_size  # G2, in tokens
        self.norm = GroupNorm(channels)
        self.merge = Merge(channels)
        self.global_attention = GlobalAttention(channels, heads)
        self.projection = nn.Linear(channels, channels)  # W^p
        accept_former_names(self)

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        X = self.norm(x)
        return self.projection(self.global_attention(X, self.merge(X, self.pool_size), trace))


class SpatialReduction(PVTAttention):
    """PVT's attention to a map merged by a convolution of kernel and stride R, with HAT-Net's norms."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__(channels, heads, reduction)
        self.norm = GroupNorm(channels)  # type: ignore[assignment]
        if reduction > 1:
            self.reduce_norm = GroupNorm(channels)  # type: ignore[assignment]

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        return super().forward(x)


class NoAttention(nn.Module):
    """No attention: only the convolutions of the network mix tokens."""

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        return torch.zeros_like(x)
