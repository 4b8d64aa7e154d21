"""Calls of attention modules: how long they take, and how much memory they need."""

import time
from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hatnet.complexity import Cost
from hatnet.device import full_precision
from hatnet.relatives import Attention
from hatnet.studies.common.machine import synchronise
from hatnet.studies.scaling.settings import Settings

# Maps of (N, C) alive at the peak: the input, normalised and cut into windows; Q, K and V; the attended values, put
# back into a map, projected. With the backward pass each is kept and gets a gradient. The measured peak of the process
# was 0.35 to 0.95 of the prediction for the modules here, lowest for PVT and highest for Swin (CPU, PyTorch 2.13.0,
# 2026-11-21).
MAPS, MAPS_BACKWARD = 12, 28
# Copies of the scores where they are in memory: the scores, their softmax, and the kernel's copy or their gradient.
SCORES = 3


class Bench:
    """Builds modules and inputs once, and times calls of them in turns, as `torch.utils.benchmark` cannot."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device, self.dtype = torch.device(settings.device), getattr(torch, settings.dtype)
        self.modules = {name: self._built(attention) for name, attention in settings.attentions().items()}
        self.inputs: dict[int, Tensor] = {}

    def seconds(self, attention: Attention, size: int, calls: int) -> float:
        """Seconds per call, measured over `calls` calls in a row."""
        module, x = self.modules[attention.name], self._input(size)
        clock = time.process_time if self.settings.clock == "cpu" else time.perf_counter
        run = self._forward_backward if self.settings.backward else self._forward
        explicit = self.settings.attention == "explicit"
        with sdpa_kernel(SDPBackend.MATH) if explicit else nullcontext(), full_precision():
            synchronise(self.device)
            start = clock()
            for _ in range(calls):
                run(module, x)
            synchronise(self.device)  # a GPU returns before it is done
            return (clock() - start) / calls

    def _forward(self, module: nn.Module, x: Tensor) -> None:
        with torch.inference_mode():
            module(x)

    def _forward_backward(self, module: nn.Module, x: Tensor) -> None:
        x = x.detach().requires_grad_()
        y = module(x)
        y.backward(x.detach())  # any gradient of the right shape will do
        module.zero_grad(set_to_none=True)

    def _built(self, attention: Attention) -> nn.Module:
        torch.manual_seed(self.settings.seed)
        return attention.build().eval().to(self.device, self.dtype)

    def _input(self, size: int) -> Tensor:
        if size not in self.inputs:
            side = self.settings.side(size)
            shape = (self.settings.batch, side, side, self.settings.C)
            generator = torch.Generator(self.device).manual_seed(self.settings.seed)
            x = torch.randn(shape, generator=generator, device=self.device, dtype=torch.float32)
            self.inputs[size] = x.to(self.dtype)
        return self.inputs[size]


def predicted_bytes(settings: Settings, cost: Cost, tokens: int) -> int:
    """Peak memory of one call on a map of `tokens` tokens: an upper estimate, to refuse a call before it fails."""
    # Fused kernels store no scores. Otherwise there is one per head and pair of a query and a key.
    fused = settings.attention == "fused" and not (settings.device.startswith("cuda") and settings.dtype == "float64")
    elements = (MAPS_BACKWARD if settings.backward else MAPS) * tokens * settings.C
    if not fused:
        elements += SCORES * settings.head_count * (cost.attention_macs // (2 * settings.C))
    dtype: torch.dtype = getattr(torch, settings.dtype)
    return settings.batch * elements * dtype.itemsize
