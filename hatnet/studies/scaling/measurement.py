"""The measurement: modules and sizes take turns, in a new random order every round."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from hatnet.device import out_of_memory
from hatnet.studies.common.machine import format_gib, load_average, machine_details
from hatnet.studies.common.records import timestamp
from hatnet.studies.common.timing import schedule
from hatnet.studies.scaling.bench import Bench
from hatnet.studies.scaling.memory import predicted_bytes
from hatnet.studies.scaling.record import Point, Record
from hatnet.studies.scaling.settings import Settings

SHORTEST = 0.02  # seconds; a timing of a faster module covers several calls in a row
MOST_CALLS = 50

OnProgress = Callable[[str, float, float | None], None]  # what comes next, seconds done, seconds expected if known
OnRecord = Callable[[Record], None]


def measure(
    settings: Settings,
    memory: int | None = None,
    on_progress: OnProgress | None = None,
    on_record: OnRecord | None = None,
    bench: Bench | None = None,
) -> Record:
    """Time every module at every size, `settings.rounds` times.

    First comes the warm-up: each module is called once or twice at each size, from small to large, to learn how long a
    call takes. What would not fit in memory or take too long is left out, with the reason. Then come the rounds. Every
    round takes each module at each size once, in an order drawn from the seed, so that a slow minute of the machine
    affects all alike.

    Args:
        settings: what to measure.
        memory: bytes that may be used; by default nine tenths of the free memory.
        on_progress: called before each timing, for a progress bar.
        on_record: called with the record after each round and at the end, to save it.
        bench: does the timing.

    Returns:
        The record. If Ctrl-C stopped the run, `complete` is False and the record holds the times up to then.
    """
    bench = bench or Bench(settings)
    record = _plan(settings.resolved())
    record.machine["load at start"] = load_average()
    on_progress = on_progress or (lambda *_: None)
    on_record = on_record or (lambda _: None)
    try:
        with threads(settings.threads):
            estimates = _warm_up(record, bench, bench.available_bytes() if memory is None else memory, on_progress)
            _run_rounds(record, bench, estimates, on_progress, on_record)
        record.complete = True
    except KeyboardInterrupt:
        pass
    record.machine["load at end"] = load_average()
    on_record(record)
    return record


def _plan(settings: Settings) -> Record:
    """The record before anything is measured."""
    points = []
    for name, attention in settings.attentions().items():
        for size in sorted(settings.sizes):
            side = settings.side(size)
            cost = attention.cost(side, side)
            memory = predicted_bytes(settings, cost, side * side)
            points.append(Point(name, size, side * side, settings.batch * cost.total_macs, memory))
    return Record(timestamp(), machine_details(settings.device), settings, points)


def _warm_up(record: Record, bench: Bench, memory: int, on_progress: OnProgress) -> dict[int, float]:
    """Call each point, small sizes first, and refuse those that cannot be measured.

    Returns:
        Seconds per call, by the index of the point.
    """
    longest = record.settings.longest
    estimates: dict[int, float] = {}
    largest: dict[str, tuple[int, float]] = {}  # MACs and seconds of each module's largest size so far
    for index in sorted(range(len(record.points)), key=lambda index: record.points[index].size):
        point = record.points[index]
        on_progress(f"warm-up: {point.module} {point.size}", 0, None)
        macs, seconds = largest.get(point.module, (1, 0.0))
        point.refused = _refusal(point, memory, seconds * point.macs / macs, longest)
        if point.refused:
            continue
        try:
            seconds = _first_seconds(bench, record.settings, point)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            point.refused = f"ran out of memory, though {format_gib(point.memory)} was predicted"
            bench.release()
            continue
        largest[point.module] = (point.macs, seconds)
        if seconds > longest:
            point.refused = f"{seconds:.1f} s per call, more than {longest:g} s"
        else:
            estimates[index] = seconds
            point.calls = min(max(math.ceil(SHORTEST / max(seconds, 1e-9)), 1), MOST_CALLS)
    return estimates


def _refusal(point: Point, memory: int, expected: float, longest: float) -> str:
    """Why a point is not even tried; empty if it is."""
    if point.memory > memory:
        return f"needs {format_gib(point.memory)} by prediction, {format_gib(memory)} may be used"
    if expected > longest:
        return f"about {expected:.0f} s per call by the formula, more than {longest:g} s"
    return ""


def _first_seconds(bench: Bench, settings: Settings, point: Point) -> float:
    """Seconds of a first call; of a second one where the first is short, or on a GPU, and holds much set-up."""
    attention = settings.attentions()[point.module]
    seconds = bench.seconds(attention, point.size, calls=1)
    if seconds < 0.5 or settings.device != "cpu":  # the first call also allocates memory and chooses kernels
        seconds = bench.seconds(attention, point.size, calls=1)
    return seconds


def _run_rounds(
    record: Record, bench: Bench, estimates: dict[int, float], on_progress: OnProgress, on_record: OnRecord
) -> None:
    attentions, settings, indices = record.settings.attentions(), record.settings, list(estimates)
    total, done = settings.rounds * sum(estimates[index] * record.points[index].calls for index in indices), 0.0
    for number, order in enumerate(schedule(len(indices), settings.rounds, settings.seed), start=1):
        for position in order:
            point = record.points[indices[position]]
            on_progress(f"round {number} of {settings.rounds}: {point.module} {point.size}", done, total)
            seconds = bench.seconds(attentions[point.module], point.size, point.calls)
            point.seconds.append(float(f"{seconds:.5g}"))
            done += estimates[indices[position]] * point.calls
        on_record(record)
    on_progress("done", total, total)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let PyTorch use this many CPU threads, and afterwards as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
