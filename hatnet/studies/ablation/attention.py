"""What stands in the place of H-MHSA: its near half, its far half, PVT's merging, and nothing at all.

Each takes and gives a map (B, H, W, C), with the norm before it, without the residual around it. All use HAT-Net's
norm over the whole map (departure D1), so that attention is all they differ in. Through its mean and variance every
token has a slight effect on every other; what is said of who sees whom is said of the attention.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hatnet.attention import multi_head_attention, require_heads
from hatnet.hierarchical_attention import from_windows, to_windows, window_mask
from hatnet.layers import GroupNorm, average_pool
from hatnet.relatives import PVTAttention
from hatnet.trace import NO_TRACE, Trace


class LocalAttention(nn.Module):
    """Attention inside windows of G1 x G1 alone: Eq. 6-8, then a projection."""

    def __init__(self, channels: int, heads: int, grid_size: int) -> None:
        super().__init__()
        require_heads(channels, heads)
        self.heads = heads
        self.grid_size = grid_size  # G1, in tokens
        self.norm = GroupNorm(channels)
        self.local_qkv = nn.Linear(channels, 3 * channels)  # rows: W_1^q, W_1^k, W_1^v
        self.projection = nn.Linear(channels, channels)  # W^p

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        _, H, W, _ = x.shape
        window = (min(self.grid_size, H), min(self.grid_size, W))
        X1 = to_windows(self.norm(x), window)  # (B windows, g h, C)
        Q1, K1, V1 = self.local_qkv(X1).chunk(3, dim=-1)  # (B windows, g h, C) each
        A1 = multi_head_attention(Q1, K1, V1, self.heads, window_mask(x, window))
        return self.projection(from_windows(A1, window, (H, W)))


class GlobalAttention(nn.Module):
    """Every token to the map merged in cells of G2 x G2 alone: Eq. 10-13 on the map itself, then a projection."""

    def __init__(self, channels: int, heads: int, pool_size: int) -> None:
        super().__init__()
        require_heads(channels, heads)
        self.heads = heads
        self.pool_size = pool_size  # G2, in tokens
        self.norm = GroupNorm(channels)
        self.merge_norm = GroupNorm(channels)
        self.global_q = nn.Linear(channels, channels)  # W_2^q
        self.global_kv = nn.Linear(channels, 2 * channels)  # rows: W_2^k, W_2^v
        self.projection = nn.Linear(channels, channels)  # W^p

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        X = self.norm(x)
        merged = self.merge_norm(average_pool(X, self.pool_size))  # (B, H / G2, W / G2, C)
        Q2 = self.global_q(X.flatten(1, 2))  # (B, HW, C)
        K2, V2 = self.global_kv(merged.flatten(1, 2)).chunk(2, dim=-1)  # (B, H'W', C) each
        A2 = multi_head_attention(Q2, K2, V2, self.heads)  # (B, HW, C)
        return self.projection(A2.unflatten(1, x.shape[1:3]))


class SpatialReduction(PVTAttention):
    """PVT's: every token to the map merged by a convolution of kernel and stride R, here with HAT-Net's norms."""

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__(channels, heads, reduction)
        self.norm = GroupNorm(channels)  # type: ignore[assignment]
        if reduction > 1:
            self.reduce_norm = GroupNorm(channels)  # type: ignore[assignment]

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        return super().forward(x)


class NoAttention(nn.Module):
    """Adds nothing: tokens meet in the convolutions alone."""

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        """(B, H, W, C) -> zeros of the same shape."""
        return torch.zeros_like(x)
