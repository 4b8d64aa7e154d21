"""Attention: Eq. 1-3 of the paper, batched, with PyTorch's fused kernels.

Tags such as D1 are explained in docs/paper-vs-code.md.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import sqrt
from typing import Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from hatnet.checks import require_whole
from hatnet.config import MOST
from hatnet.layers import ChannelDropout, GroupNorm, require_map
from hatnet.trace import NO_TRACE, Trace, full_name, records


def require_heads(channels: int, heads: int) -> tuple[int, int]:
    """Return the channels and heads of an attention. Raises a ValueError unless `heads` divides `channels`."""
    channels, heads = require_whole("channels", channels, 1, MOST["channels"]), require_whole("heads", heads, 1)
    if channels % heads:
        raise ValueError(f"{heads} heads do not divide {channels} channels; each head has channels / heads of them")
    return channels, heads


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, C) -> (B, heads, N, d), a view: a head is d = C / heads neighbouring channels."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def join_heads(x: Tensor) -> Tensor:
    """(B, heads, N, d) -> (B, N, C), the inverse of `split_heads`."""
    return x.transpose(1, 2).flatten(2)


def multi_head_attention(
    Q: Tensor, K: Tensor, V: Tensor, heads: int, mask: Tensor | None = None, name: str = ""
) -> Tensor:
    r"""Attention in every head: $A = \operatorname{Softmax}(Q K^T / \sqrt{d})\, V$ (Eq. 2).

    Q (B, N, C), K and V (B, M, C) -> A (B, N, C); `heads` divides C. `mask` is true for keys that exist and broadcasts
    to (B, heads, N, M); a mask of floats is added to the scores. `name` is that of the weights in a trace, for kernels
    that keep them. Every attention of HAT-Net and of its relatives is computed here, by `fused_attention` or by another
    kernel within `attention_kernel`.
    """
    kernel = fused_attention if is_fused() else _kernel.get()  # before 2.14, PyTorch cannot compile `get`
    return kernel(Q, K, V, heads, mask, name)


class Kernel(Protocol):
    """Computes `multi_head_attention`, with the same arguments."""

    def __call__(self, Q: Tensor, K: Tensor, V: Tensor, heads: int, mask: Tensor | None, name: str, /) -> Tensor: ...


def fused_attention(Q: Tensor, K: Tensor, V: Tensor, heads: int, mask: Tensor | None, name: str) -> Tensor:
    """The default kernel: PyTorch's fused attention, which never forms the weights.

    On CPUs it has no second derivatives and no forward-mode ones, and raises an error; within
    `torch.nn.attention.sdpa_kernel(SDPBackend.MATH)` it has both.
    """
    q, k, v = split_heads(Q, heads), split_heads(K, heads), split_heads(V, heads)  # (B, heads, N or M, d)
    A = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # divides by sqrt(d) itself  Eq. 2
    return join_heads(A)  # (B, N, C)


_kernel: ContextVar[Kernel] = ContextVar("attention kernel", default=fused_attention)
_replaced: list[Kernel] = []  # those in use now, by any thread


def is_fused() -> bool:
    """Return whether the default kernel computes every attention: no thread is inside `attention_kernel`."""
    return not _replaced


@contextmanager
def attention_kernel(kernel: Kernel) -> Iterator[None]:
    """Compute every attention inside the `with` block with `kernel`.

    This one forms the weights and keeps them by name, so that gradients with respect to them can be taken:

    >>> import torch
    >>> kept = {}
    >>> def unfused(Q, K, V, heads, mask, name):
    ...     kept[name] = attention_weights(Q, K, heads, mask)
    ...     return join_heads(kept[name] @ split_heads(V, heads))
    >>> layer, x = MHSA(channels=6, heads=2), torch.randn(1, 4, 5, 6)
    >>> with attention_kernel(unfused):
    ...     output = layer(x)
    >>> torch.allclose(output, layer(x), atol=1e-6)
    True
    >>> gradients = torch.autograd.grad(output.sum(), kept.values())
    >>> {name: weights.shape for name, weights in kept.items()}  # in a network stages.3.blocks.0.attention.weights
    {'weights': torch.Size([1, 2, 20, 20])}
    """
    token = _kernel.set(kernel)
    _replaced.append(kernel)
    try:
        yield
    finally:
        _replaced.remove(kernel)
        _kernel.reset(token)


def attention_weights(Q: Tensor, K: Tensor, heads: int, mask: Tensor | None = None) -> Tensor:
    r"""The weights $\operatorname{Softmax}(Q K^T / \sqrt{d})$ of Eq. 2, (B, heads, N, M); `mask` is boolean."""
    q, k = split_heads(Q, heads), split_heads(K, heads)  # (B, heads, N, d), (B, heads, M, d)
    scores = q @ k.mT / sqrt(q.shape[-1])  # (B, heads, N, M)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1)


class MHSA(nn.Module):
    """Attention over all tokens of a map, Eq. 1-3; the block adds the `+ X`.

    Raises ValueError if `heads` does not divide `channels`, or `drop_rate` is not a probability.
    """

    def __init__(self, channels: int, heads: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        channels, heads = require_heads(channels, heads)
        self.heads = heads
        self.norm = GroupNorm(channels)  # D1
        self.qkv = nn.Linear(channels, 3 * channels)  # rows: W^q, W^k, W^v  D4
        self.projection = nn.Linear(channels, channels)  # W^p
        self.drop = ChannelDropout(drop_rate)

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C). Raises as `require_map` does."""
        require_map(x, self.qkv.weight)
        X = self.norm(x).flatten(1, 2)  # (B, HW, C)
        Q, K, V = self.qkv(X).chunk(3, dim=-1)  # (B, HW, C) each  Eq. 1
        A = multi_head_attention(Q, K, V, self.heads, name=full_name(trace, "weights"))  # (B, HW, C)  Eq. 2
        if records(trace):
            trace["weights"] = attention_weights(Q, K, self.heads)
        A = A.unflatten(1, x.shape[1:3])  # (B, H, W, C)  Eq. 3
        return self.drop(self.projection(A))  # A W^p  Eq. 3
