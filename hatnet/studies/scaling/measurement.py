"""The measurement: modules and sizes take turns, in a new random order every round."""

import math
from collections.abc import Callable

import torch

from hatnet.device import out_of_memory
from hatnet.studies.common.machine import format_gib, free_memory, load_average, machine_details
from hatnet.studies.common.records import timestamp
from hatnet.studies.common.statistics import schedule
from hatnet.studies.scaling.bench import Bench, predicted_bytes
from hatnet.studies.scaling.record import Point, Record
from hatnet.studies.scaling.settings import Settings

SHORTEST = 0.02  # seconds; a timing of a faster module covers several calls in a row
MOST_CALLS = 50

OnProgress = Callable[[str, float, float | None], None]  # what comes next, seconds done, seconds expected if known
OnRecord = Callable[[Record], None]


def measure(
    settings: Settings,
    memory: int | None = None,
    on_progress: OnProgress = lambda *_: None,
    on_record: OnRecord = lambda _: None,
    bench: Bench | None = None,
) -> Record:
    """Time every module at every size, `settings.rounds` times, in at most `memory` bytes.

    First comes the warm-up: each module is called once or twice at each size, from small to large, to learn how long a
    call takes. A call that would not fit in memory or would take too long is skipped, and the reason is recorded. Then
    come the rounds. Every round times each module at each size once, in an order drawn from the seed, so that a slow
    minute of the machine affects all alike.

    `on_progress` is called before each timing, and `on_record` with the record after each round and at the end. If
    Ctrl-C stops the run, the record holds the times up to then, and `complete` is False.
    """
    bench = bench or Bench(settings)
    record = _plan(settings.resolved())
    record.machine["load at start"] = load_average()
    if memory is None:
        memory = int(0.9 * free_memory(settings.device))
    threads = torch.get_num_threads()
    torch.set_num_threads(settings.threads)
    try:
        _run_rounds(record, bench, _warm_up(record, bench, memory, on_progress), on_progress, on_record)
        record.complete = True
    except KeyboardInterrupt:
        pass
    finally:
        torch.set_num_threads(threads)
    record.machine["load at end"] = load_average()
    on_record(record)
    return record


def _plan(settings: Settings) -> Record:
    points = []
    for name, attention in settings.attentions().items():
        for size in sorted(settings.sizes):
            side = settings.side(size)
            cost = attention.cost(side, side)
            memory = predicted_bytes(settings, cost, side * side)
            points.append(Point(name, size, side * side, settings.batch * cost.total_macs, memory))
    return Record(timestamp(), machine_details(settings.device), settings, points)


def _warm_up(record: Record, bench: Bench, memory: int, on_progress: OnProgress) -> list[tuple[Point, float]]:
    """Call each point, small sizes first; refuse some, return the others with the expected seconds of one timing."""
    timings = []
    attentions, longest = record.settings.attentions(), record.settings.longest
    largest: dict[str, tuple[int, float]] = {}  # MACs and seconds of each module's largest size so far
    for point in sorted(record.points, key=lambda point: point.size):
        on_progress(f"warm-up: {point.module} {point.size}", 0, None)
        macs, seconds = largest.get(point.module, (1, 0.0))
        point.refused = _refusal(point, memory, seconds * point.macs / macs, longest)
        if point.refused:
            continue
        try:
            seconds = bench.seconds(attentions[point.module], point.size, calls=1)
            if seconds < 0.5 or record.settings.device != "cpu":  # the first call also allocates and chooses kernels
                seconds = bench.seconds(attentions[point.module], point.size, calls=1)
        except RuntimeError as error:
            if not out_of_memory(error):
                raise
            point.refused = f"ran out of memory, though {format_gib(point.memory)} was predicted"
            torch.cuda.empty_cache()
            continue
        largest[point.module] = (point.macs, seconds)
        if seconds > longest:
            point.refused = f"{seconds:.1f} s per call, more than {longest:g} s"
            continue
        point.calls = min(max(math.ceil(SHORTEST / max(seconds, 1e-9)), 1), MOST_CALLS)
        timings.append((point, seconds * point.calls))
    return timings


def _refusal(point: Point, memory: int, expected: float, longest: float) -> str:
    if point.memory > memory:
        return f"needs {format_gib(point.memory)} by prediction, {format_gib(memory)} may be used"
    if expected > longest:
        return f"about {expected:.0f} s per call by the formula, more than {longest:g} s"
    return ""


def _run_rounds(
    record: Record, bench: Bench, timings: list[tuple[Point, float]], on_progress: OnProgress, on_record: OnRecord
) -> None:
    attentions, settings = record.settings.attentions(), record.settings
    total, done = settings.rounds * sum(expected for _, expected in timings), 0.0
    for number, order in enumerate(schedule(len(timings), settings.rounds, settings.seed), start=1):
        for point, expected in (timings[index] for index in order):
            on_progress(f"round {number} of {settings.rounds}: {point.module} {point.size}", done, total)
            seconds = bench.seconds(attentions[point.module], point.size, point.calls)
            point.seconds.append(float(f"{seconds:.5g}"))
            done += expected
        on_record(record)
    on_progress("done", total, total)
