"""The peak rates of a machine, measured with PyTorch's own operations on the shapes of a network.

Each rate is the best of many calls over several shapes, most of them so small that the data stay in the caches. Other
work of the same kind can therefore hardly be faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from hatnet.config import HATNetConfig
from hatnet.device import full_precision
from hatnet.studies.common.machine import synchronise

if TYPE_CHECKING:
    from hatnet.studies.bench.runner import Runner

SHORTEST, LONGEST = 0.02, 0.1  # seconds of one timing, which covers several calls, and of all timings of one shape
SQUARES = (512, 1024, 2048)  # sides of large matrices
ELEMENTS = (2**14, 2**16, 2**18, 2**20, 2**22)  # of SiLU
MEMORY = (2**20, 2**22, 2**24, 2**26)  # bytes that are copied
LARGER = 4  # sides of matrices for a GPU, which needs more work at a time; the other sizes grow with its square

Case = tuple[float, Callable[[], object]]  # amount of work, and a call that does it


def peak_rate(name: str, runner: Runner) -> float:
    """The best rate of one kind of work in its unit per second; see `PEAKS`."""
    network = runner.network
    config: HATNetConfig = network.config  # type: ignore[assignment]
    dtype = torch.bfloat16 if runner.task.dtype == "autocast" else runner.dtype
    maps = Maps(config, runner.task.size, runner.task.batch, runner.device, dtype)
    with torch.inference_mode(), full_precision():
        return float(f"{max(best_rate(*case, runner.device) for case in PEAKS[name](maps)):.5g}")


def best_rate(amount: float, call: Callable[[], object], device: torch.device) -> float:
    """The amount of work per second in the fastest of several timings."""

    def seconds(calls: int) -> float:
        synchronise(device)
        start = time.perf_counter()
        for _ in range(calls):
            call()
        synchronise(device)
        return (time.perf_counter() - start) / calls

    first = min(seconds(1), seconds(1))
    calls = max(int(SHORTEST / max(first, 1e-9)), 1)
    repeats = max(int(LONGEST / max(first * calls, 1e-9)), 3)
    return amount / min(first, *(seconds(calls) for _ in range(repeats)))


class Maps:
    """Random tensors with the shapes of a network's maps."""

    def __init__(self, config: HATNetConfig, size: int, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        self.batch, self.device, self.dtype = batch, device, dtype
        self.larger = 1 if device.type == "cpu" else LARGER
        self.stages = list(zip(config.stages, [layout.map for layout in config.layout(size, size)], strict=True))

    def random(self, *shape: int) -> Tensor:
        """A tensor of this shape."""
        return torch.randn(shape, dtype=torch.float32, device=self.device).to(self.dtype)

    def batches(self) -> tuple[int, ...]:
        """One image and the whole batch."""
        return tuple(sorted({1, self.batch}))


def _matrices(maps: Maps) -> Iterator[Case]:
    """MACs of products with matrices: large ones, those of the MLPs, and those of the convolutions between stages.

    PyTorch's convolutions are the faster ones on some processors.
    """
    shapes = [(side, side, side) for side in (maps.larger * square for square in SQUARES)]
    for stage, (H, W) in maps.stages:
        for batch in maps.batches():
            C, hidden = stage.channels, stage.expansion * stage.channels
            shapes += [(batch * H * W, C, hidden), (batch * H * W, hidden, C)]
    for rows, inputs, outputs in shapes:
        x, weight = maps.random(rows, inputs), maps.random(outputs, inputs)
        yield rows * inputs * outputs, lambda x=x, weight=weight: F.linear(x, weight)  # type: ignore[misc]
    for (before, (H, W)), (after, (h, w)) in pairwise(maps.stages):
        for batch in maps.batches():
            x = maps.random(batch, H, W, before.channels).permute(0, 3, 1, 2)
            weight = maps.random(after.channels, before.channels, 3, 3)
            yield (
                9 * batch * h * w * before.channels * after.channels,
                lambda x=x, weight=weight: F.conv2d(x, weight, stride=2, padding=1),  # type: ignore[misc]
            )


def _depthwise(maps: Maps) -> Iterator[Case]:
    """MACs of depthwise convolutions."""
    for stage, (H, W) in maps.stages:
        for batch in maps.batches():
            hidden, K = stage.expansion * stage.channels, stage.kernel_size
            x, weight = maps.random(batch, H, W, hidden).permute(0, 3, 1, 2), maps.random(hidden, 1, K, K)
            yield (
                x.numel() * K * K,
                lambda x=x, weight=weight, K=K: F.conv2d(x, weight, padding=K // 2, groups=len(weight)),  # type: ignore[misc]
            )


def _silu(maps: Maps) -> Iterator[Case]:
    """Elements of SiLU."""
    for count in ELEMENTS:
        x = maps.random(maps.larger**2 * count)
        y = torch.empty_like(x)  # written again and again; in place, the values would vanish
        yield x.numel(), lambda x=x, y=y: torch.ops.aten.silu.out(x, out=y)  # type: ignore[misc]


def _norm(maps: Maps) -> Iterator[Case]:
    """Elements of norms over whole maps."""
    for stage, (H, W) in maps.stages:
        for batch in maps.batches():
            x = maps.random(batch, H, W, stage.channels)
            yield x.numel(), lambda x=x: F.layer_norm(x, x.shape[1:])  # type: ignore[misc]


def _memory(maps: Maps) -> Iterator[Case]:
    """Bytes read and written by a copy."""
    for size in (maps.larger**2 * count for count in MEMORY):
        x = torch.zeros(size, dtype=torch.uint8, device=maps.device)
        y = torch.empty_like(x)
        yield 2 * size, lambda x=x, y=y: y.copy_(x)  # type: ignore[misc]


PEAKS: dict[str, Callable[[Maps], Iterator[Case]]] = {
    "matrices": _matrices,  # MAC/s
    "depthwise": _depthwise,  # MAC/s
    "silu": _silu,  # elements/s
    "norm": _norm,  # elements/s
    "memory": _memory,  # bytes/s
}
