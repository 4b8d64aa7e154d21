"""A network with its images, ready to be timed: steps of inference or of training, their times and their memory."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hatnet.device import full_precision
from hatnet.machine import peak_memory_mb
from hatnet.network import Backbone
from hatnet.studies.bench.authors import AuthorsFormulation
from hatnet.studies.bench.networks import NETWORKS
from hatnet.studies.common.machine import synchronise

STEADY = 0.1  # warm when two batches in a row differ by less
FEWEST, MOST = 3, 8  # batches of the warm-up

Step = Callable[[], None]


@dataclass(frozen=True)
class Task:
    """The work of one process; its fields are those of the settings."""

    network: str
    size: int
    batch: int
    dtype: str
    device: str
    training: bool
    compile: bool
    threads: int
    seconds: float
    seed: int
    throughput: bool  # time batches
    latency: bool  # time single images
    roofline: bool  # time the parts of the network and the peak rates of the machine


class Runner:
    """Builds the network of a task, and makes steps that a clock can time."""

    def __init__(self, task: Task) -> None:
        self.task, self.device = task, torch.device(task.device)
        torch.set_num_threads(task.threads)
        torch.backends.cudnn.benchmark = True
        network = NETWORKS[task.network]
        dtype = torch.float32 if task.dtype == "autocast" else getattr(torch, task.dtype)
        self.format = torch.channels_last if network.channels_last else torch.contiguous_format
        self.network = network.build(task.size, task.seed).train(task.training).to(self.device, dtype)
        self.network.to(memory_format=self.format)
        self.dtype, self.channels = dtype, _image_channels(self.network)
        self.optimiser = torch.optim.AdamW(self.network.parameters()) if task.training else None
        # One graph per batch size: a graph for any size would be slower.
        self.model = torch.compile(self.network, dynamic=False) if task.compile else self.network

    def step(self, batch: int) -> Step:
        """A function that computes one batch of random images, and returns when the device is done."""
        shape = (batch, self.channels, self.task.size, self.task.size)
        generator = torch.Generator().manual_seed(self.task.seed)
        images = torch.randn(shape, generator=generator).to(self.device, self.dtype)
        images = images.contiguous(memory_format=self.format)
        run = self._train if self.task.training else self._infer

        def step() -> None:
            run(images)
            synchronise(self.device)

        return step

    def precision(self) -> AbstractContextManager[object]:
        """Autocast to bfloat16 if the task says so; else the full precision of the weights' type, without TF32."""
        if self.task.dtype == "autocast":
            return torch.autocast(self.device.type, torch.bfloat16)
        return full_precision()

    def _infer(self, images: Tensor) -> None:
        with torch.inference_mode(), self.precision():
            self.model(images)

    def _train(self, images: Tensor) -> None:
        assert self.optimiser is not None
        with self.precision():
            logits = self.model(images)
            labels = torch.arange(len(images), device=self.device) % logits.shape[1]
            loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)


def _image_channels(network: nn.Module) -> int:
    model = network.model if isinstance(network, AuthorsFormulation) else network
    return model.config.in_channels if isinstance(model, Backbone) else 3


def timed(step: Step) -> float:
    """The seconds of one step."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def warm_up(step: Step) -> None:
    """Run steps until two in a row take the same time."""
    times: list[float] = []
    while len(times) < MOST:
        times.append(timed(step))
        if len(times) >= FEWEST and abs(times[-1] - times[-2]) <= STEADY * times[-2]:
            return


def times_of(step: Step, seconds: float, fewest: int = 3) -> list[float]:
    """The seconds of each step, for `seconds` in all and for at least `fewest` steps."""
    times: list[float] = []
    while sum(times) < seconds or len(times) < fewest:
        times.append(float(f"{timed(step):.5g}"))
    return times


@dataclass
class Memory:
    """Bytes of memory: of the process before the network was built, and what its work added at the peak."""

    before: int = 0
    added: int = 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Memory]:
    """Yield a `Memory` that is filled at the end of the block. On a GPU only PyTorch's tensors count."""
    memory = Memory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        memory.before = torch.cuda.memory_allocated(device)
        yield memory
        memory.added = torch.cuda.max_memory_allocated(device) - memory.before
        return
    memory.before = _start_peak()
    yield memory
    memory.added = max(_peak() - memory.before, 0)


def forget_trials(device: torch.device) -> None:
    """On a GPU, forget the peak so far: the first steps try algorithms of cuDNN, with workspace that is then freed."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _start_peak() -> int:
    """Forget the peak of main memory so far where the system allows it, and return the bytes in use or that peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return _peak()
    return _status("VmRSS")


def _peak() -> int:
    """The peak of main memory. Linux: of this program, where `ru_maxrss` may be that of the one that started it."""
    return _status("VmHWM") if sys.platform == "linux" else int(1e6 * peak_memory_mb(torch.device("cpu")))


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name + ":"))
