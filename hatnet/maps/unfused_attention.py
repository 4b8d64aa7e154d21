"""Attention by its formula instead of a fused kernel, so that its weights take part in the gradient."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from hatnet.attention import attention_kernel, attention_weights, join_heads, split_heads


@contextmanager
def unfused_attention(frozen: bool = False) -> Iterator[dict[str, Tensor]]:
    """Inside the `with` block, compute every attention as Softmax(Q K^T / sqrt(d)) V, and keep its weights.

    The results equal those of the fused kernel up to rounding, and the model itself does not change. The weights,
    (..., N, M), have their names in a trace. If `frozen`, gradients flow through the values alone.

        with unfused_attention() as weights:
            logits = model(image.requires_grad_())
        torch.autograd.grad(logits[0, label], list(weights.values()))
    """
    kept: dict[str, Tensor] = {}

    def unfused(Q: Tensor, K: Tensor, V: Tensor, heads: int, mask: Tensor | None, name: str) -> Tensor:
        weights = attention_weights(Q, K, heads, mask)  # (B, heads, N, M)
        kept[name] = weights.detach() if frozen else weights
        return join_heads(kept[name] @ split_heads(V, heads))  # (B, N, C)  Eq. 2

    with attention_kernel(unfused):
        yield kept
