"""Times of the arms: a forward pass and a training step, measured in turns."""

import time
from collections.abc import Callable, Sequence

import torch
from torch.nn import functional as F

from hatnet.studies.ablation.matching import build
from hatnet.studies.ablation.questions import SIDE, TOKEN
from hatnet.studies.ablation.record import Settings, Times
from hatnet.studies.common.machine import synchronise
from hatnet.studies.common.statistics import schedule
from hatnet.training import Monitor
from hatnet.training.preparation import precision_of

ROUNDS = 15
BATCH = 64  # images per timed call


def measure_times(
    settings: Settings, arms: Sequence[str], device: torch.device, monitor: Monitor, rounds: int = ROUNDS
) -> list[Times] | None:
    """Time a forward pass and a training step of every arm, in the precision of the training.

    Each round times every arm once, in a new random order, so that a slow minute of the machine affects all arms
    alike. With one CPU thread the processor time counts, which excludes waiting for other programs. Returns the times
    of the forward pass and of the step, or None if `monitor.stop` ended the measurement.
    """
    bench = Bench(settings, arms, device)
    one_thread = device.type == "cpu" and torch.get_num_threads() == 1
    clock, now = ("cpu", time.process_time) if one_thread else ("wall", time.perf_counter)
    found = [Times(what, clock, BATCH, {arm: [] for arm in arms}) for what in ("forward", "step")]
    orders = iter(schedule(len(arms), len(found) * (rounds + 1), seed=0))
    for number in range(rounds + 1):  # round 0 is a warm-up
        for times in found:
            for arm in (arms[index] for index in next(orders)):
                if monitor.stop:
                    return None
                seconds = bench.seconds(times.what, arm, now)
                if number > 0:
                    times.seconds[arm].append(float(f"{seconds / BATCH:.4g}"))
    return found


class Bench:
    """The networks of all arms, and one batch of random images to time them on."""

    def __init__(self, settings: Settings, arms: Sequence[str], device: torch.device) -> None:
        self.device = device
        self.precision = precision_of(settings.recipe(0), device)
        self.models = {
            arm: build(settings.matched(arm)).to(device).to(memory_format=torch.channels_last) for arm in arms
        }
        self.optimisers = {arm: torch.optim.AdamW(self.models[arm].parameters(), lr=1e-6, fused=True) for arm in arms}
        generator, data = torch.Generator().manual_seed(0), settings.data_set
        self.images = torch.randn(BATCH, data.channels, data.size, data.size, generator=generator).to(device)
        answers = () if data.question is None else (SIDE // TOKEN, SIDE // TOKEN)  # of one image
        self.labels = torch.randint(data.classes, (BATCH, *answers), generator=generator).to(device)

    def seconds(self, what: str, arm: str, now: Callable[[], float]) -> float:
        """Time one call by the clock `now`: `what` is forward or step."""
        synchronise(self.device)
        start = now()
        self._forward(arm) if what == "forward" else self._step(arm)
        synchronise(self.device)
        return now() - start

    def _forward(self, arm: str) -> None:
        with torch.inference_mode(), self._autocast():
            self.models[arm].eval()(self.images)

    def _step(self, arm: str) -> None:
        with self._autocast():
            loss = F.cross_entropy(self.models[arm].train()(self.images), self.labels)
        loss.backward()
        self.optimisers[arm].step()
        self.optimisers[arm].zero_grad()

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.precision, enabled=self.precision is not torch.float32)
