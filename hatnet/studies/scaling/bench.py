"""Timing calls of attention modules."""

import time
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hatnet.device import full_precision
from hatnet.relatives import SizedAttention
from hatnet.studies.common.machine import free_memory
from hatnet.studies.common.timing import synchronise
from hatnet.studies.scaling.settings import Settings


class Bench:
    """Builds modules and inputs once, and times calls of them.

    `torch.utils.benchmark` times one statement until it is done; here many modules must take turns.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device, self.dtype = torch.device(settings.device), getattr(torch, settings.dtype)
        self.modules: dict[str, nn.Module] = {}
        self.inputs: dict[int, Tensor] = {}

    def seconds(self, attention: SizedAttention, size: int, calls: int) -> float:
        """Seconds per call, measured over `calls` calls in a row."""
        module, x = self._module(attention), self._input(size)
        clock = time.process_time if self.settings.clock == "cpu" else time.perf_counter
        run = self._forward_backward if self.settings.backward else self._forward
        with self._kernels(), full_precision():
            synchronise(self.device)
            start = clock()
            for _ in range(calls):
                run(module, x)
            synchronise(self.device)  # a GPU returns before it is done
            return (clock() - start) / calls

    def available_bytes(self) -> int:
        """Bytes of memory that may be used: nine tenths of the free memory."""
        if self.device.type == "cuda":
            return int(0.9 * torch.cuda.mem_get_info(self.device)[0])
        return int(0.9 * free_memory())

    def release(self) -> None:
        """Free the memory that a failed call left behind."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _forward(self, module: nn.Module, x: Tensor) -> None:
        with torch.inference_mode():
            module(x)

    def _forward_backward(self, module: nn.Module, x: Tensor) -> None:
        x = x.detach().requires_grad_()
        y = module(x)
        y.backward(x.detach())  # any gradient of the right shape will do
        module.zero_grad(set_to_none=True)

    def _module(self, attention: SizedAttention) -> nn.Module:
        if attention.name not in self.modules:
            torch.manual_seed(self.settings.seed)
            self.modules[attention.name] = attention.build().eval().to(self.device, self.dtype)
        return self.modules[attention.name]

    def _input(self, size: int) -> Tensor:
        if size not in self.inputs:
            side = self.settings.side(size)
            shape = (self.settings.batch, side, side, self.settings.C)
            generator = torch.Generator(self.device).manual_seed(self.settings.seed)
            x = torch.randn(shape, generator=generator, device=self.device, dtype=torch.float32)
            self.inputs[size] = x.to(self.dtype)
        return self.inputs[size]

    def _kernels(self) -> AbstractContextManager[object]:
        """Let PyTorch choose its kernels, or make it compute the scores explicitly."""
        if self.settings.attention == "explicit":
            return sdpa_kernel(SDPBackend.MATH)
        return nullcontext()
