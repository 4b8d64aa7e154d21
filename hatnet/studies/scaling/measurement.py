"""The measurement: modules and sizes taken in turn, in an order drawn anew every round."""

from __future__ import annotations

import math
import os
import platform
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from hatnet.device import full_precision, out_of_memory
from hatnet.studies.common.machine import cpu_model, format_gib, free_memory, load_average
from hatnet.studies.scaling.memory import predicted_bytes
from hatnet.studies.scaling.modules import Contender
from hatnet.studies.scaling.record import Point, Record, Settings

SHORTEST = 0.02  # seconds that one timing lasts at least: faster modules are called several times in a row
MOST_CALLS = 50

Watch = Callable[[str, float, float | None], None]  # what comes next, seconds done, seconds expected (None: unknown)
Keep = Callable[[Record], None]


class Bench:
    """Builds modules and inputs once, and times calls of them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.device, self.dtype = torch.device(settings.device), getattr(torch, settings.dtype)
        self.modules: dict[str, nn.Module] = {}
        self.inputs: dict[int, Tensor] = {}

    def seconds(self, contender: Contender, size: int, calls: int) -> float:
        """The time of one call, from `calls` in a row."""
        module, x = self._module(contender), self._input(size)
        clock = time.process_time if self.settings.clock == "cpu" else time.perf_counter
        run = self._forward_backward if self.settings.backward else self._forward
        with self._kernels(), full_precision():
            self._synchronise()
            start = clock()
            for _ in range(calls):
                run(module, x)
            self._synchronise()  # a GPU answers before it is done
            return (clock() - start) / calls

    def available_bytes(self) -> int:
        """Memory that may be used: what is free, less a tenth."""
        if self.device.type == "cuda":
            return int(0.9 * torch.cuda.mem_get_info(self.device)[0])
        return int(0.9 * free_memory())

    def release(self) -> None:
        """Give back what a failed call has left."""
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

    def _module(self, contender: Contender) -> nn.Module:
        if contender.name not in self.modules:
            torch.manual_seed(self.settings.seed)
            self.modules[contender.name] = contender.build().eval().to(self.device, self.dtype)
        return self.modules[contender.name]

    def _input(self, size: int) -> Tensor:
        if size not in self.inputs:
            side = self.settings.side(size)
            shape = (self.settings.batch, side, side, self.settings.channels)
            generator = torch.Generator(self.device).manual_seed(self.settings.seed)
            x = torch.randn(shape, generator=generator, device=self.device, dtype=torch.float32)
            self.inputs[size] = x.to(self.dtype)
        return self.inputs[size]

    def _kernels(self) -> AbstractContextManager[object]:
        """PyTorch chooses among its kernels, or has to form the scores."""
        if self.settings.attention == "explicit":
            return sdpa_kernel(SDPBackend.MATH)
        return nullcontext()

    def _synchronise(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type != "cpu":
            torch.accelerator.synchronize()


def measure(
    settings: Settings,
    memory: int | None = None,
    watch: Watch | None = None,
    keep: Keep | None = None,
    bench: Bench | None = None,
) -> Record:
    """Time every module at every size, `settings.rounds` times.

    First each is called once or twice, from small to large, which warms it up and tells how long it takes; what would
    not fit in memory or take too long is left out, with the reason. Then come the rounds. Every round takes each
    module at each size once, in an order drawn from the seed, so that a slow minute of the machine hits all alike.

    Args:
        settings: what to measure.
        memory: bytes that may be used; what is free where none is given.
        watch: told what comes next, for a progress bar.
        keep: receives the record after each round and at the end, to write it.
        bench: does the timing.

    Returns:
        The record; `complete` is False where Ctrl-C ended it, and then it holds the times up to there.
    """
    bench = bench or Bench(settings)
    record = _plan(settings)
    record.machine["load at start"] = load_average()
    watch = watch or (lambda *_: None)
    try:
        with threads(settings.threads):
            estimates = _warm_up(record, bench, bench.available_bytes() if memory is None else memory, watch)
            _rounds(record, bench, estimates, watch, keep)
        record.complete = True
    except KeyboardInterrupt:
        pass
    record.machine["load at end"] = load_average()
    if keep is not None:
        keep(record)
    return record


def schedule(count: int, rounds: int, seed: int) -> list[list[int]]:
    """For every round, an order of `count` things, each in it once.

    >>> schedule(3, rounds=2, seed=1)
    [[0, 2, 1], [0, 1, 2]]
    """
    generator = random.Random(seed)
    return [generator.sample(range(count), count) for _ in range(rounds)]


def _plan(settings: Settings) -> Record:
    """The record before anything is measured."""
    points = []
    for name, contender in settings.contenders().items():
        for size in sorted(settings.sizes):
            side = settings.side(size)
            cost = contender.cost(side, side)
            memory = predicted_bytes(settings, cost, side * side)
            points.append(Point(name, size, side * side, settings.batch * cost.total_macs, memory))
    return Record(datetime.now(UTC).isoformat(timespec="seconds"), machine(settings), settings, points)


def _warm_up(record: Record, bench: Bench, memory: int, watch: Watch) -> dict[int, float]:
    """Call each point, small ones first, and refuse what can't be measured; the seconds a call takes, by index."""
    settings, contenders, longest = record.settings, record.settings.contenders(), record.settings.longest
    estimates: dict[int, float] = {}
    last: dict[str, tuple[int, float]] = {}  # of each module, the MACs and seconds of the largest size so far
    for index in sorted(range(len(record.points)), key=lambda index: record.points[index].size):
        point = record.points[index]
        watch(f"warm-up: {point.module} {point.size}", 0, None)
        macs, seconds = last.get(point.module, (1, 0.0))
        expected = seconds * point.macs / macs
        if point.memory > memory:
            point.refused = f"needs {format_gib(point.memory)} by prediction, {format_gib(memory)} may be used"
        elif expected > longest:
            point.refused = f"about {expected:.0f} s a call by the formula, more than {longest:g} s"
        else:
            try:
                seconds = bench.seconds(contenders[point.module], point.size, calls=1)
                if seconds < 0.5 or settings.device != "cpu":  # the first call also allocates and chooses kernels
                    seconds = bench.seconds(contenders[point.module], point.size, calls=1)
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                point.refused = f"ran out of memory, though {format_gib(point.memory)} was predicted"
                bench.release()
            else:
                last[point.module] = (point.macs, seconds)
                if seconds > longest:
                    point.refused = f"{seconds:.1f} s a call, more than {longest:g} s"
                else:
                    estimates[index] = seconds
                    point.calls = min(max(math.ceil(SHORTEST / max(seconds, 1e-9)), 1), MOST_CALLS)
    return estimates


def _rounds(record: Record, bench: Bench, estimates: dict[int, float], watch: Watch, keep: Keep | None) -> None:
    contenders, settings, indices = record.settings.contenders(), record.settings, list(estimates)
    total, done = settings.rounds * sum(estimates[index] * record.points[index].calls for index in indices), 0.0
    for number, order in enumerate(schedule(len(indices), settings.rounds, settings.seed), start=1):
        for position in order:
            point = record.points[indices[position]]
            watch(f"round {number} of {settings.rounds}: {point.module} {point.size}", done, total)
            seconds = bench.seconds(contenders[point.module], point.size, point.calls)
            point.seconds.append(float(f"{seconds:.5g}"))
            done += estimates[indices[position]] * point.calls
        if keep is not None:
            keep(record)
    watch("done", total, total)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """PyTorch on this many threads of the CPU, and as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def machine(settings: Settings) -> dict[str, str | int]:
    """What the times stand on; no names of hosts or people."""
    facts: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.device(settings.device).type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(settings.device)
    return facts
