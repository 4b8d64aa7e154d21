"""Attention by its formula instead of a fused kernel, so that its weights take part in the gradient."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Any

from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


@contextmanager
def unfused_attention(frozen: bool = False) -> Iterator[list[Tensor]]:
    """Within it, each attention of HAT-Net is computed as Softmax(Q K^T / sqrt(d)) V, and its weights kept.

    The results are those of the fused kernel but for rounding. The model does not have to know of it:

        with unfused_attention() as weights:
            logits = model(image.requires_grad_())
        torch.autograd.grad(logits[0, label], weights)

    Args:
        frozen: whether to hold the weights fixed, so that gradients flow through the values alone.

    Yields:
        a list that receives the weights of every call in turn, (..., N, M).
    """
    weights: list[Tensor] = []
    with _Explicit(weights, frozen):
        yield weights


class _Explicit(TorchFunctionMode):
    def __init__(self, weights: list[Tensor], frozen: bool) -> None:
        super().__init__()
        self.weights, self.frozen = weights, frozen

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function is F.scaled_dot_product_attention:
            function = self.attend
        return function(*args, **(kwargs or {}))

    def attend(self, Q: Tensor, K: Tensor, V: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        """The kernel's formula, for the arguments that `hatnet.attention` gives it."""
        scores = Q @ K.transpose(-2, -1) / sqrt(Q.shape[-1])  # (..., N, M)
        if attn_mask is not None:
            scores = scores.masked_fill(~attn_mask, float("-inf"))
        weights = scores.softmax(dim=-1)
        if self.frozen:
            weights = weights.detach()
        self.weights.append(weights)
        return weights @ V  # Eq. 2
