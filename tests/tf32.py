"""TF32 on any device: products whose factors are rounded to 10 bits of mantissa and whose sums are float32.

GPUs of NVIDIA can multiply float32 matrices in this way. Here it is emulated by changing the operations themselves,
also those of the backward pass. Rounding is to nearest, ties to even; a GPU may break ties in another way.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from hatnet.attention import attention_kernel, attention_weights, join_heads, split_heads

aten = torch.ops.aten
DROPPED = 13  # of the 23 bits of mantissa in float32
INFINITE = 0x7F800000  # the exponent of infinity and NaN, which stay as they are
PRODUCTS = {aten.mm.default: (0, 1), aten.bmm.default: (0, 1), aten.addmm.default: (1, 2), aten.baddbmm.default: (1, 2)}
CONVOLUTIONS = {aten.convolution.default: (0, 1), aten.convolution_backward.default: (0, 1, 2)}
FUSED = "aten::_scaled_dot_product"  # attention in one operation, whose factors cannot be reached


def to_tf32(x: Tensor) -> Tensor:
    """Round float32 to the nearest number with 10 bits of mantissa, ties to even. The result is float32.

    >>> to_tf32(torch.tensor([1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-11 + 2**-20])) - 1 == torch.tensor([0, 2**-9, 2**-10])
    tensor([True, True, True])
    """
    if x.dtype != torch.float32:
        raise TypeError(f"x must be float32, got {x.dtype}")
    bits = x.contiguous().view(torch.int32)
    last = (bits >> DROPPED) & 1  # the last bit that is kept; a tie goes up if it is 1
    rounded = (bits + (1 << (DROPPED - 1)) - 1 + last) & -(1 << DROPPED)
    return torch.where((bits & INFINITE) == INFINITE, bits, rounded).view(torch.float32)


class _TF32(TorchDispatchMode):
    """Rounds the factors of matrix products and convolutions; biases and sums stay float32."""

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if function.name().startswith(FUSED):
            raise NotImplementedError(f"{function} would multiply in float32; use an attention kernel that does not")
        positions = PRODUCTS.get(function) or CONVOLUTIONS.get(function) or ()
        rounded = [to_tf32(arg) if index in positions else arg for index, arg in enumerate(args)]
        result = function(*rounded, **(kwargs or {}))
        if function is aten.convolution_backward.default and result[2] is not None:
            dbias = args[0].sum(dim=(0, *range(2, args[0].ndim)))  # a sum without factors
            return (*result[:2], dbias)
        return result


def _written_out(Q: Tensor, K: Tensor, V: Tensor, heads: int, mask: Tensor | None, name: str) -> Tensor:
    """Eq. 2 in single operations, so that its two products can be rounded."""
    return join_heads(attention_weights(Q, K, heads, mask) @ split_heads(V, heads))


@contextmanager
def emulated_tf32() -> Iterator[None]:
    """Multiply float32 as TF32 does, forward and backward: matrix products, attention and all convolutions."""
    with attention_kernel(_written_out), _TF32():
        yield
