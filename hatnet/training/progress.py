"""The progress of a training, and the monitor that receives it and may stop the training."""

from collections.abc import Callable
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


@dataclass
class Monitor:
    """Receives progress. If `stop` is set, the training saves its state soon after and ends."""

    report: Callable[[Progress], None] = lambda _: None
    stop: bool = False
