"""The attention of HAT-Net's relatives, as modules on maps (B, H, W, C): to measure beside H-MHSA, not to train.

Each is what its paper puts in the place of H-MHSA: the norm before it included, the residual around it not. Norms are
layer norms of each token, as in the papers. Any map is taken: windows over the border are padded and masked as in
`HMHSA`, cells over the border are padded with zeros. Constructors raise ValueError for heads that do not divide the
channels and for sizes below 1 token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hatnet.attention import multi_head_attention, require_heads
from hatnet.hierarchical_attention import from_windows, to_windows, window_mask


def require_tokens(**sizes: int) -> None:
    """Raise a ValueError unless each size is at least 1 token."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size} must be at least 1 token")


class SwinAttention(nn.Module):
    """Attention within windows, with a learned bias for each relative position; Liu et al., Swin (ICCV 2021).

    Every second layer of Swin moves its windows by `shift` tokens, M // 2, so that tokens meet those across a border.
    The map is rolled, and of a window that then holds tokens from opposite borders only those of one border meet.
    An axis with a single window has no shift, as in Swin.
    """

    def __init__(self, channels: int, heads: int, window: int, shift: int = 0) -> None:
        super().__init__()
        require_heads(channels, heads)
        require_tokens(window=window)
        if not 0 <= shift < window:
            raise ValueError(f"shift={shift} must be at least 0 and less than the window of {window} tokens")
        self.heads = heads
        self.window = window  # M, in tokens
        self.shift = shift
        self.norm = nn.LayerNorm(channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.bias = nn.Parameter(torch.zeros(heads, 2 * window - 1, 2 * window - 1))
        self.projection = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        B, H, W, _ = x.shape
        window = (min(self.window, H), min(self.window, W))
        shift = (self.shift if self.window < H else 0, self.shift if self.window < W else 0)
        Q, K, V = self.qkv(cut(self.norm(x), window, shift)).chunk(3, dim=-1)  # (B windows, g h, C) each
        mask = self.position_bias(window)  # (heads, g h, g h)
        meet = may_meet(x, window, shift)
        if meet is not None:  # (windows, 1, g h, g h)
            mask = mask.masked_fill(~meet, float("-inf")).repeat(B, 1, 1, 1)
        A = multi_head_attention(Q, K, V, self.heads, mask)
        return self.projection(join(A, window, shift, (H, W)))

    def position_bias(self, window: tuple[int, int]) -> Tensor:
        """The bias of each query and key by how far the key is below and right of the query: (heads, g h, g h)."""
        rows, columns = (torch.arange(side, device=self.bias.device) for side in window)
        down = (rows[None, :] - rows[:, None] + self.window - 1)[:, None, :, None]  # (g, 1, g, 1)
        right = (columns[None, :] - columns[:, None] + self.window - 1)[None, :, None, :]  # (1, h, 1, h)
        tokens = window[0] * window[1]
        return self.bias[:, down, right].reshape(self.heads, tokens, tokens)


def cut(x: Tensor, window: tuple[int, int], shift: tuple[int, int]) -> Tensor:
    """(B, H, W, C) -> (B windows, g h, C), zeros over the border, the map rolled up and left by `shift`."""
    _, H, W, _ = x.shape
    x = F.pad(x, (0, 0, 0, -W % window[1], 0, -H % window[0]))
    return to_windows(x.roll((-shift[0], -shift[1]), dims=(1, 2)), window)


def join(x: Tensor, window: tuple[int, int], shift: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """The inverse of `cut`, to maps of `size` (H, W)."""
    H, W = size
    x = from_windows(x, window, (H + -H % window[0], W + -W % window[1]))
    return x.roll(shift, dims=(1, 2))[:, :H, :W]


def may_meet(x: Tensor, window: tuple[int, int], shift: tuple[int, int]) -> Tensor | None:
    """Which keys of its window a query sees, (windows, 1, g h, g h); None where it sees them all.

    What the roll brought from the opposite border is a part of its own, and so is padding, which asks itself: a
    softmax needs something to sum.
    """
    _, H, W, _ = x.shape
    if shift == (0, 0) and H % window[0] == 0 and W % window[1] == 0:
        return None
    rolled_rows = (torch.arange(H, device=x.device) < shift[0]).int()
    rolled_columns = (torch.arange(W, device=x.device) < shift[1]).int()
    part = 1 + rolled_rows[:, None] + 2 * rolled_columns  # (H, W), 1 to 4; padding is 0
    parts = cut(part[None, :, :, None], window, shift)  # (windows, g h, 1)
    return (parts == parts.transpose(1, 2)).unsqueeze(1)


class PVTAttention(nn.Module):
    """Every token to the map merged by a convolution of kernel and stride R; Wang et al., PVT (ICCV 2021).

    At R = 1 nothing is merged, as in PVT's last stage.
    """

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        require_heads(channels, heads)
        require_tokens(reduction=reduction)
        self.heads = heads
        self.reduction = reduction  # R, in tokens
        self.norm = nn.LayerNorm(channels)
        self.q = nn.Linear(channels, channels)
        if reduction > 1:
            self.reduce = nn.Conv2d(channels, channels, reduction, reduction)
            self.reduce_norm = nn.LayerNorm(channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.projection = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = self.norm(x)
        Q = self.q(x.flatten(1, 2))  # (B, HW, C)
        K, V = self.kv(self.merge(x).flatten(1, 2)).chunk(2, dim=-1)  # (B, merged tokens, C) each
        A = multi_head_attention(Q, K, V, self.heads)  # (B, HW, C)
        return self.projection(A.unflatten(1, x.shape[1:3]))

    def merge(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / R, W / R, C), rounded up."""
        if self.reduction == 1:
            return x
        _, H, W, _ = x.shape
        x = F.pad(x, (0, 0, 0, -W % self.reduction, 0, -H % self.reduction))
        return self.reduce_norm(self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class PVTv2LinearAttention(nn.Module):
    """Every token to `pooled` x `pooled` averages of the map; Wang et al., PVT v2 (CVMJ 2022), its "Li" models."""

    def __init__(self, channels: int, heads: int, pooled: int = 7) -> None:
        super().__init__()
        require_heads(channels, heads)
        require_tokens(pooled=pooled)
        self.heads = heads
        self.pooled = pooled
        self.norm = nn.LayerNorm(channels)
        self.q = nn.Linear(channels, channels)
        self.reduce = nn.Linear(channels, channels)  # a 1x1 convolution in the paper
        self.reduce_norm = nn.LayerNorm(channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.projection = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = self.norm(x)
        Q = self.q(x.flatten(1, 2))  # (B, HW, C)
        K, V = self.kv(self.merge(x).flatten(1, 2)).chunk(2, dim=-1)  # (B, pooled^2, C) each
        A = multi_head_attention(Q, K, V, self.heads)  # (B, HW, C)
        return self.projection(A.unflatten(1, x.shape[1:3]))

    def merge(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, pooled, pooled, C)."""
        merged = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), self.pooled).permute(0, 2, 3, 1)
        return F.gelu(self.reduce_norm(self.reduce(merged)))


class TwinsAttention(nn.Module):
    """Attention within windows (LSA), then to the merged map (GSA): two layers; Chu et al., Twins-SVT (NeurIPS 2021).

    What H-MHSA does in one layer with one projection. The MLP that Twins has between the two is left out.
    """

    def __init__(self, channels: int, heads: int, window: int, reduction: int) -> None:
        super().__init__()
        require_heads(channels, heads)
        require_tokens(window=window)
        self.heads = heads
        self.window = window  # in tokens
        self.norm = nn.LayerNorm(channels)
        self.local_qkv = nn.Linear(channels, 3 * channels)
        self.local_projection = nn.Linear(channels, channels)
        self.far = PVTAttention(channels, heads, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C); with `+ x` around it, these are the two residual layers."""
        near = self.local_attention(self.norm(x))
        return near + self.far(x + near)

    def local_attention(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        _, H, W, _ = x.shape
        window = (min(self.window, H), min(self.window, W))
        Q, K, V = self.local_qkv(to_windows(x, window)).chunk(3, dim=-1)  # (B windows, g h, C) each
        A = multi_head_attention(Q, K, V, self.heads, window_mask(x, window))
        return self.local_projection(from_windows(A, window, (H, W)))
