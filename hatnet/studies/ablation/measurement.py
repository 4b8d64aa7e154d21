"""The ablation itself: seed by seed, every arm is trained; then all are timed in turns."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch
from torch.nn import functional as F

from hatnet.data import Split
from hatnet.studies.ablation.arms import ARMS, check_arms
from hatnet.studies.ablation.network import build, builder
from hatnet.studies.ablation.record import Network, Record, Run, Settings, Times, differences, read, write
from hatnet.studies.scaling import measurement as scaling
from hatnet.studies.scaling import record as scaling_record
from hatnet.training import Monitor as Watch
from hatnet.training import Processes as World
from hatnet.training import Training
from hatnet.training.preparation import precision_of

ROUNDS = 15  # of timing
BATCH = 64  # images of a timed call

Train = Callable[[str, int, Path, Watch], list[dict[str, float]] | None]  # rows an epoch, or None where stopped


class Ablation:
    """Arms and seeds to run, and the record of what is done; a record in `folder` is gone on from.

    Raises ValueError, before anything is written, for unknown arms, for fewer than one seed, and where the record in
    `folder` is of another ablation.
    """

    def __init__(self, settings: Settings, arms: Sequence[str], seeds: int, folder: Path, device: torch.device) -> None:
        check_arms(arms)
        if not isinstance(seeds, int) or isinstance(seeds, bool) or not 1 <= seeds <= 1000:
            raise ValueError(f"seeds={seeds!r} must be a whole number from 1 to 1000")
        self.settings, self.arms, self.seeds, self.folder, self.device = settings, arms, seeds, folder, device
        self.path = folder / "ablation.json"
        here = machine(device)
        if self.path.exists():
            self.record = read(self.path)
            different = differences(self.record, settings, here)
            if different:
                raise ValueError(f"{self.path} is of another ablation; give another --out:\n" + "\n".join(different))
        else:
            self.record = Record(_now(), here, settings, [])

    @property
    def missing(self) -> list[tuple[str, int]]:
        """Arms and seeds that are not finished: all arms of one seed, then those of the next."""
        return [(arm, seed) for seed in range(self.seeds) for arm in self.arms if self.record.run(arm, seed) is None]

    def run(self, train: Train, watch: Watch, next_run: Callable[[str, int], None] = lambda *_: None) -> bool:
        """Train what is missing, then time every arm that was not timed.

        The record is written after each run. A run that is stopped keeps its state, and the next call goes on from it.

        Args:
            train: trains one network, given arm, seed, folder and watch.
            watch: set its `stop`, and this ends soon after.
            next_run: told what comes next.

        Returns:
            Whether all is done.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        known = {network.arm for network in self.record.networks}
        self.record.networks += [Network.of(self.settings.fit(arm)) for arm in self.arms if arm not in known]
        write(self.record, self.path)
        for arm, seed in self.missing:
            if watch.stop:
                return False
            next_run(arm, seed)
            folder = self.folder / "runs" / f"{arm}-{seed}"
            rows = train(arm, seed, folder, watch)
            if rows is None:
                return False
            self._finish(arm, seed, rows, folder)
        if watch.stop:
            return False
        if any(set(self.arms) - set(times.seconds) for times in self.record.times) or not self.record.times:
            next_run("times", 0)
            arms = [network.arm for network in self.record.networks]
            times = measure_times(self.settings, arms, self.device, watch)
            if times is None:
                return False
            self.record.times = times
            write(self.record, self.path)
        return True

    def _finish(self, arm: str, seed: int, rows: list[dict[str, float]], folder: Path) -> None:
        """Enter a run in the record. Its weights go, since no variant describes the network; curves and facts stay."""
        accuracy = [round(row["test_accuracy"], 6) for row in rows]
        loss = [round(row["train_loss"], 5) for row in rows]
        seconds = round(sum(row["seconds"] for row in rows), 1)
        self.record.runs.append(Run(arm, seed, accuracy, loss, seconds, _now()))
        write(self.record, self.path)
        for file in folder.glob("*.safetensors"):
            file.unlink()


def trainer(settings: Settings, data: Split, device: torch.device, workers: int) -> Train:
    """What `Ablation.run` takes: the project's own training."""

    def train(arm: str, seed: int, folder: Path, watch: Watch) -> list[dict[str, float]] | None:
        build_arm = builder(ARMS[arm], settings.images.size)
        world = World(0, 1, device)
        training = Training(
            settings.recipe(seed), data, folder, world, resume=True, workers=workers, save_every=20, build=build_arm
        )
        rows = training.run(watch)
        return None if training.step < training.steps else rows

    return train


def measure_times(
    settings: Settings, arms: Sequence[str], device: torch.device, watch: Watch, rounds: int = ROUNDS
) -> list[Times] | None:
    """Time a forward pass and a step of training for every arm, in turns: a slow minute of the machine hits all alike.

    A round takes each arm once, in an order drawn anew, in the precision of the training. With one thread of a CPU the
    processor's time counts, so that waiting for other programs does not. None where `watch` stopped it.
    """
    precision = precision_of(settings.recipe(0), device)
    autocast = torch.autocast(device.type, precision, enabled=precision is not torch.float32)
    models = {arm: build(settings.fit(arm)).to(device).to(memory_format=torch.channels_last) for arm in arms}
    optimisers = {arm: torch.optim.AdamW(models[arm].parameters(), lr=1e-6, fused=True) for arm in arms}
    generator = torch.Generator().manual_seed(0)
    size, channels = settings.images.size, settings.images.channels
    images = torch.randn(BATCH, channels, size, size, generator=generator).to(device)
    labels = torch.randint(settings.images.classes, (BATCH,), generator=generator).to(device)

    def forward(arm: str) -> None:
        with torch.inference_mode(), autocast:
            models[arm].eval()(images)

    def step(arm: str) -> None:
        with autocast:
            loss = F.cross_entropy(models[arm].train()(images), labels)
        loss.backward()
        optimisers[arm].step()
        optimisers[arm].zero_grad()

    clock_name = "cpu" if device.type == "cpu" and torch.get_num_threads() == 1 else "wall"
    clock = time.process_time if clock_name == "cpu" else time.perf_counter
    order = random.Random(0)
    calls: dict[str, Callable[[str], None]] = {"forward": forward, "step": step}
    found = [Times(what, clock_name, BATCH, {arm: [] for arm in arms}) for what in calls]
    for number in range(rounds + 1):  # the first warms up
        for times in found:
            for arm in order.sample(list(arms), len(arms)):
                if watch.stop:
                    return None
                _synchronise(device)
                start = clock()
                calls[times.what](arm)
                _synchronise(device)
                if number:
                    times.seconds[arm].append(float(f"{(clock() - start) / BATCH:.4g}"))
    return found


def machine(device: torch.device) -> dict[str, str | int]:
    """What the runs stand on; no names of hosts or people."""
    import torchvision

    facts = scaling.machine(scaling_record.Settings(device=str(device)))
    return facts | {"torchvision": torchvision.__version__, "device": device.type, "threads": torch.get_num_threads()}


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
