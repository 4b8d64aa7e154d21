"""The progress of a training, and the monitor that receives it and may stop the training, for instance on Ctrl-C."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Progress:
    """How far a training is."""

    step: int  # steps done
    steps: int
    epoch: int  # the current one, from 0
    loss: float  # mean over the epoch so far
    learning_rate: float
    images_per_second: float
    memory_mb: float
    evaluation: Any = None  # after an epoch: what the task's `evaluate` returned


class Terminated(KeyboardInterrupt):
    """SIGTERM stopped the work in order, as Ctrl-C does."""


@dataclass
class Monitor:
    """Receives progress. If `stop` is set, the training saves its state soon after and ends.

    `report` is called every few steps or seconds. `part` is called before each slice of a batch and before each batch
    of a test, so it shows progress however slow a step is, and it never waits for a GPU.
    """

    report: Callable[[Progress], None] = lambda _: None
    stop: bool = False
    part: Callable[[str, float, int], None] = lambda *_: None  # "training" or "testing", steps or batches done, of all
    stopped_by: int = signal.SIGINT  # the signal that set `stop`

    def interruption(self) -> KeyboardInterrupt:
        """The error that ends the command after the work was stopped."""
        return Terminated() if self.stopped_by == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def stoppable(monitor: Monitor) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM, from a scheduler) stops the work in order, the second one at once."""

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # harmless, since files are always whole
        monitor.stop, monitor.stopped_by = True, number

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
