"""Hierarchical multi-head self-attention (H-MHSA): Eq. 6-14 of the paper.

Every token first attends to the tokens of its window of G1 x G1 tokens, itself included, then to the whole map, merged
into cells of G2 x G2 tokens. A map may have any size: windows and cells start at the top left, and those at the border
may contain fewer tokens. Tags such as D2 are explained in docs/paper-vs-code.md.
"""

import torch
from torch import Tensor, nn
from torch.fx import wrap
from torch.nn import functional as F

from hatnet.attention import attention_weights, multi_head_attention, require_heads
from hatnet.checks import require_whole
from hatnet.config import MOST, ceil_div
from hatnet.former_names import accept_former_names
from hatnet.layers import ChannelDropout, GroupNorm, average_pool, require_map
from hatnet.trace import NO_TRACE, Trace, full_name, records


def holds(condition: bool) -> bool:
    """Return whether a condition on sizes is true; False where a compiler or an exporter treats them as unknown.

    So one graph serves maps of any size: a branch on an unknown size would fix it, or lead to a graph for each case.
    """
    if not torch.compiler.is_compiling():
        return condition
    from torch.fx.experimental.symbolic_shapes import statically_known_true  # takes 0.6 s to import

    return statically_known_true(condition)


def full_window(grid_size: int, size: tuple[int, int]) -> tuple[int, int]:
    """A full window on a map of `size` (H, W): (G1, G1), or the whole map if that is smaller, in tokens."""
    H, W = size
    return H if holds(grid_size > H) else grid_size, W if holds(grid_size > W) else grid_size


def divides(window: tuple[int, int], size: tuple[int, int]) -> bool:
    """Return whether full windows cover a map of `size` (H, W), so that nothing is padded and masked."""
    return holds(size[0] % window[0] == 0) and holds(size[1] % window[1] == 0)


def contiguous(x: Tensor) -> Tensor:
    """Return x in contiguous memory. A compiler copies it always, since it may not know the sizes that decide."""
    return x.clone(memory_format=torch.contiguous_format) if torch.compiler.is_compiling() else x.contiguous()


def to_windows(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Cut maps into windows, and pad those that extend beyond the border with zeros (Eq. 6).

    `b (rows g) (columns h) c -> (b rows columns) (g h) c` for windows of (g, h) tokens.
    """
    _, H, W, _ = x.shape
    g, h = window
    if not divides(window, (H, W)):
        x = F.pad(x, (0, 0, 0, ceil_div(W, h) * h - W, 0, ceil_div(H, g) * g - H))
    x = x.unflatten(2, (-1, h)).unflatten(1, (-1, g)).transpose(2, 3)  # (B, rows, columns, g, h, C)
    return contiguous(x).flatten(3, 4).flatten(0, 2)  # (B windows, g h, C)


def from_windows(x: Tensor, window: tuple[int, int], size: tuple[int, int]) -> Tensor:
    """Put windows back into maps of `size` (H, W), without the padding (Eq. 8).

    `(b rows columns) (g h) c -> b (rows g) (columns h) c`, the inverse of `to_windows`.
    """
    (H, W), (g, h) = size, window
    rows, columns = ceil_div(H, g), ceil_div(W, h)
    x = x.unflatten(1, window).unflatten(0, (-1, rows, columns)).transpose(2, 3)  # (B, rows, g, columns, h, C)
    x = contiguous(x).flatten(3, 4).flatten(1, 2)  # (B, rows g, columns h, C)
    if divides(window, size):
        return x
    x = x.narrow(1, 0, H).narrow(2, 0, W)
    return contiguous(x) if torch.compiler.is_compiling() else x  # where strides must not depend on unknown sizes


def window_mask(x: Tensor, window: tuple[int, int]) -> Tensor | None:
    """A mask of the keys of each window that are on the map, (B windows, 1, 1, g h); None if all are."""
    B, H, W, _ = x.shape
    g, h = window
    if divides(window, (H, W)):
        return None
    down = torch.arange(ceil_div(H, g) * g, device=x.device) < H  # (rows g)
    right = torch.arange(ceil_div(W, h) * h, device=x.device) < W  # (columns h)
    present = (
        down.unflatten(0, (-1, g))[:, None, :, None] & right.unflatten(0, (-1, h))[:, None]
    )  # (rows, columns, g, h)
    return present.flatten(2).flatten(0, 1)[:, None, None].repeat(B, 1, 1, 1)


for _function in ("full_window", "to_windows", "window_mask", "from_windows"):
    wrap(_function)  # one operation for torch.fx, which cannot record conditions on the size of a map


class LocalAttention(nn.Module):
    """The near half of H-MHSA: attention inside each window, Eq. 6-8. `heads` must divide `channels`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        channels, heads = require_heads(channels, heads)
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels)  # rows: W_1^q, W_1^k, W_1^v  D4

    def forward(self, x: Tensor, grid_size: int, trace: Trace = NO_TRACE) -> Tensor:
        """A1 of Eq. 8, (B, H, W, C) -> (B, H, W, C), in windows of G1 x G1 tokens."""
        B, H, W, _ = x.shape
        window = full_window(grid_size, (H, W))
        mask = window_mask(x, window)  # D6
        X1 = to_windows(x, window)  # (B windows, g h, C)  Eq. 6
        Q1, K1, V1 = self.qkv(X1).chunk(3, dim=-1)  # (B windows, g h, C) each  Eq. 7
        name = full_name(trace, "local_weights")
        A1 = multi_head_attention(Q1, K1, V1, self.heads, mask, name)  # (B windows, g h, C)  Eq. 2
        if records(trace):
            weights = attention_weights(Q1, K1, self.heads, mask)  # (B windows, heads, g h, g h)
            if mask is not None:
                weights = weights * mask.mT  # zero the rows of padding queries, too
            trace["local_weights"] = weights.unflatten(0, (B, ceil_div(H, window[0]), ceil_div(W, window[1])))
        return from_windows(A1, window, (H, W))  # (B, H, W, C)  Eq. 8


class Merge(nn.Module):
    """The merging of Eq. 10: average pooling, then a norm that the paper does not mention (D3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = GroupNorm(channels)

    def forward(self, A1: Tensor, pool_size: int) -> Tensor:
        """The merged tokens, one per cell of G2 x G2 tokens: (B, H, W, C) -> (B, H / G2, W / G2, C), rounded up."""
        return self.norm(average_pool(A1, pool_size))  # Eq. 10, D3


class GlobalAttention(nn.Module):
    """The far half of H-MHSA: every token attends to all merged tokens, Eq. 11-13. `heads` must divide `channels`."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        channels, heads = require_heads(channels, heads)
        self.heads = heads
        self.q = nn.Linear(channels, channels)  # W_2^q
        self.kv = nn.Linear(channels, 2 * channels)  # rows: W_2^k, W_2^v

    def forward(self, A1: Tensor, merged: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        """A2 of Eq. 13, (B, H, W, C) and (B, H', W', C) -> (B, H, W, C)."""
        Q2 = self.q(A1.flatten(1, 2))  # (B, HW, C)  Eq. 11, 12
        K2, V2 = self.kv(merged.flatten(1, 2)).chunk(2, dim=-1)  # (B, H'W', C) each  Eq. 11, 12
        name = full_name(trace, "global_weights")
        A2 = multi_head_attention(Q2, K2, V2, self.heads, name=name)  # (B, HW, C)  Eq. 2
        if records(trace):
            trace["global_weights"] = attention_weights(Q2, K2, self.heads)
        return A2.unflatten(1, A1.shape[1:3])  # (B, H, W, C)  Eq. 13


class HMHSA(nn.Module):
    """Hierarchical multi-head self-attention: Eq. 6-14, except for the last `+ X`, which the block adds.

    `grid_size` (G1) and `pool_size` (G2) do not affect the parameters and may be changed at any time. Inside a
    `HATNet`, pass them to `create_model` instead, so that the model's `config` stays correct; the same weights load.
    Raises ValueError if `heads` does not divide `channels`, or G1 or G2 is below 1.
    """

    def __init__(self, channels: int, heads: int, grid_size: int, pool_size: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        channels, heads = require_heads(channels, heads)
        self.grid_size = require_whole("grid_size", grid_size, 1, MOST["grid_sizes"])  # G1, in tokens
        self.pool_size = require_whole("pool_size", pool_size, 1, MOST["pool_sizes"])  # G2, in tokens
        self.norm = GroupNorm(channels)  # D1
        self.local_attention = LocalAttention(channels, heads)
        self.local_norm = GroupNorm(channels)  # D2
        self.merge = Merge(channels)
        self.global_attention = GlobalAttention(channels, heads)
        self.projection = nn.Linear(channels, channels)  # W^p
        self.drop = ChannelDropout(drop_rate)
        accept_former_names(self)

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C). Raises as `require_map` does."""
        require_map(x, self.local_attention.qkv.weight)
        A1 = self.local_attention(self.norm(x), self.grid_size, trace)  # (B, H, W, C)  Eq. 6-8
        A1 = self.local_norm(A1 + x)  # + X, not + its norm  Eq. 9, D2
        merged = self.merge(A1, self.pool_size)  # (B, H / G2, W / G2, C)  Eq. 10
        A2 = self.global_attention(A1, merged, trace)  # (B, H, W, C)  Eq. 11-13
        trace["local"], trace["merged"], trace["global"] = A1, merged, A2
        return self.aggregate(A1, A2)  # Eq. 14

    def aggregate(self, A1: Tensor, A2: Tensor) -> Tensor:
        """Near and far together, (A1 + A2) W^p: (B, H, W, C) -> (B, H, W, C)."""
        return self.drop(self.projection(A1 + A2))  # Eq. 14

    def extra_repr(self) -> str:
        return f"heads={self.local_attention.heads}, grid_size={self.grid_size}, pool_size={self.pool_size}"
