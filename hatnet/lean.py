"""Lean inference: the same network on a CPU, computed in pieces that stay in its cache.

The widest maps of a network are those inside the MLP, E C channels wide. For eight images of 224 x 224 pixels, one in
stage 0 of HAT-Net Small takes 51 MB, so it has left the cache before the next layer reads it. Worse, the C library
returns memory of this size to the system when it is freed, and gets it back in pages that the system clears one by one.

Where no gradient is needed, a stage therefore computes a few images at a time, an MLP a few hidden channels at a time,
and SiLU overwrites its input. Images do not affect each other, and the depthwise convolution and SiLU keep channels
apart, so results change by rounding only. `HATStage` and `MLP` ask `is_lean`; nothing else in the network knows.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules import module as all_modules

from hatnet.attention import is_fused
from hatnet.checks import require_whole
from hatnet.layers import Conv2d

LARGEST = 8 * 2**20  # bytes of a hidden map of some images, and of two maps of some channels
FEWEST = 64  # hidden channels at a time: matrix products with fewer are slower than the memory that they save

_limits: ContextVar[tuple[int, int] | None] = ContextVar("lean inference", default=(LARGEST, FEWEST))


@contextmanager
def lean_inference(largest: int | None = LARGEST, fewest: int = FEWEST) -> Iterator[None]:
    """Set the bytes of the `largest` hidden map and the `fewest` hidden channels at a time; None computes whole maps.

    An image is not divided, so the map of one with `fewest` hidden channels may be larger. Raises ValueError
    for a limit that is no whole number of at least 1.

    >>> from hatnet import create_model
    >>> model, images = create_model("micro").eval(), torch.randn(5, 3, 32, 32)
    >>> with torch.inference_mode(), lean_inference(None):
    ...     whole = model(images)
    >>> with torch.inference_mode(), lean_inference(largest=1):  # one image and 64 hidden channels at a time
    ...     torch.allclose(model(images), whole, atol=1e-6)
    True
    """
    if largest is not None:
        largest = require_whole("largest", largest, 1)
    fewest = require_whole("fewest", fewest, 1)
    token = _limits.set(None if largest is None else (largest, fewest))
    try:
        yield
    finally:
        _limits.reset(token)


def is_lean(module: nn.Module, x: Tensor) -> bool:
    """Return whether `module` may compute `x` in pieces: only the clock and the memory can tell the difference."""
    return (
        not torch.compiler.is_compiling()  # a compiler chooses its own pieces
        and not torch.is_grad_enabled()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and type(x) is Tensor
        and x.device.type == "cpu"  # a GPU's memory stays with the process, and its kernels need large maps
        and x.dtype in (torch.float32, torch.float64)  # sums over groups would be rounded to 16 bits
        and not torch.is_autocast_enabled("cpu")
        and is_fused()
        and _limits.get() is not None
        and _is_unobserved(module)
    )


def _is_unobserved(module: nn.Module) -> bool:
    """Return whether no hook sees a call of the module or its parts, and none is in training or has another forward."""
    if all_modules._global_forward_hooks or all_modules._global_forward_pre_hooks:
        return False
    return not any(
        part.training or part._forward_hooks or part._forward_pre_hooks or "forward" in vars(part)
        for part in module.modules()
    )


def by_images(function: Callable[[Tensor], Tensor], x: Tensor, hidden: int) -> Tensor:
    """`function(x)` for maps (B, H, W, C), of as many images at a time as their `hidden` channels allow."""
    largest, _ = _limits.get() or (LARGEST, FEWEST)
    image = x.shape[1] * x.shape[2] * hidden * x.element_size()  # bytes of its hidden map
    pieces = -(-len(x) // max(1, largest // image))
    return function(x) if pieces <= 1 else torch.cat([function(piece) for piece in x.tensor_split(pieces)])


def can_split(expand: nn.Module, depthwise: nn.Module, contract: nn.Module) -> bool:
    """Return whether these are layers whose channels can be split: not quantised or adapted, and without a bias."""
    layers = (expand, depthwise, contract)
    return (
        [type(layer) for layer in layers] == [nn.Linear, Conv2d, nn.Linear]
        and all(layer.bias is None and type(layer.weight) in (nn.Parameter, Tensor) for layer in layers)
        and depthwise.groups == depthwise.out_channels
    )


def by_hidden_channels(x: Tensor, expand: nn.Linear, depthwise: Conv2d, contract: nn.Linear) -> Tensor:
    """The MLP between its norms, (B, H, W, C) -> (B, H, W, C): the sum over groups of hidden channels."""
    largest, fewest = _limits.get() or (LARGEST, FEWEST)
    wide = len(expand.weight)  # E C
    pairs = 2 * wide * x[..., 0].nbytes  # bytes of two hidden maps, which are alive at once
    groups = max(1, min(-(-pairs // largest), wide // fewest))
    parts = zip(
        expand.weight.tensor_split(groups),
        depthwise.weight.tensor_split(groups),
        contract.weight.tensor_split(groups, dim=1),
        strict=True,
    )
    total = None
    for rows, taps, columns in parts:
        hidden = F.silu(F.linear(x, rows), inplace=True)  # (B, H, W, E C / groups)
        hidden = F.conv2d(
            hidden.permute(0, 3, 1, 2), taps, None, depthwise.stride, depthwise.padding, depthwise.dilation, len(taps)
        )
        hidden = F.silu(hidden, inplace=True).permute(0, 2, 3, 1)  # (B, H, W, E C / groups)
        part = F.linear(hidden, columns)  # (B, H, W, C)
        total = part if total is None else total.add_(part)
    assert total is not None
    return total
