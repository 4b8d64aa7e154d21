"""What an ablation found, as data: one JSON file with every network, every run and every time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

from hatnet.config import nearest
from hatnet.studies.ablation.arms import ARMS, check_arms
from hatnet.studies.ablation.matching import Fitted, fit
from hatnet.studies.common.records import RecordFormat
from hatnet.training.recipes import Recipe


@dataclass(frozen=True)
class Images:
    """What the ablation has to know of a data set before it is opened."""

    size: int  # side in pixels
    channels: int
    classes: int
    epochs: int  # where none are given
    words: str  # as printed


DATA = {
    "fashion-subset": Images(28, 1, 10, 2, "the embedded part of Fashion-MNIST (12,000 training, 2,500 test images)"),
    "fashion-mnist": Images(28, 1, 10, 20, "the whole of Fashion-MNIST (60,000 training, 10,000 test images)"),
    "cifar10": Images(32, 3, 10, 40, "CIFAR-10 (50,000 training, 10,000 test images)"),
    "cifar100": Images(32, 3, 100, 40, "CIFAR-100 (50,000 training, 10,000 test images)"),
}


@dataclass(frozen=True)
class Settings:
    """What every run of an ablation shares. Raises ValueError, naming the domain, for anything outside it."""

    data: str
    epochs: int
    batch_size: int = 64
    lr: float = 2e-3
    warmup_epochs: float = 0.5
    weight_decay: float = 0.05
    clip: float = 1.0
    ema: float = 0.98
    flip: bool = True
    initial_weights: Literal["authors", "fan-in"] = "fan-in"

    def __post_init__(self) -> None:
        if self.data not in DATA:
            raise ValueError(f"unknown data {self.data!r}{nearest(self.data, DATA)}; known here: {', '.join(DATA)}")
        if not isinstance(self.epochs, int) or isinstance(self.epochs, bool) or not 1 <= self.epochs <= 100_000:
            raise ValueError(f"epochs={self.epochs!r} must be a whole number from 1 to 100000")

    @property
    def images(self) -> Images:
        """Of the data."""
        return DATA[self.data]

    def recipe(self, seed: int) -> Recipe:
        """The recipe of one run; its variant is only what the network of an arm is built in place of."""
        return Recipe(
            data=self.data, variant="micro", image_size=self.images.size, epochs=self.epochs, seed=seed,
            batch_size=self.batch_size, slice_size=self.batch_size, lr=self.lr, warmup_epochs=self.warmup_epochs,
            weight_decay=self.weight_decay, clip=self.clip, ema=self.ema, crop_padding=0, flip=self.flip,
            initial_weights=self.initial_weights,
        )  # fmt: skip

    def fit(self, arm: str) -> Fitted:
        """An arm, matched for these images."""
        return fit(ARMS[arm], self.images.size, self.images.classes, self.images.channels)


@dataclass(frozen=True)
class Network:
    """The network of an arm, and what it costs."""

    arm: str
    grid_sizes: list[int]
    pool_sizes: list[int]
    widths: list[int]  # of the MLPs, a stage each
    parameters: int
    macs: int  # of one image, products of attention included
    attention_macs: int  # products of attention alone

    @staticmethod
    def of(fitted: Fitted) -> Network:
        """The facts of a matched arm."""
        cost = fitted.cost
        return Network(
            fitted.arm.name, list(fitted.arm.grid_sizes), list(fitted.arm.pool_sizes), list(fitted.widths),
            cost.parameters, cost.total_macs, cost.attention_macs,
        )  # fmt: skip


@dataclass
class Run:
    """One network, trained once."""

    arm: str
    seed: int
    accuracy: list[float]  # on the test images, after each epoch; the last one counts
    train_loss: list[float]  # mean of each epoch, in nats
    seconds: float  # of the training steps by the wall clock
    date: str


@dataclass
class Times:
    """Seconds an image, a value a round, in which every arm was timed once."""

    what: str  # forward, or step
    clock: str  # cpu: the processor's time of one thread; wall
    batch: int
    seconds: dict[str, list[float]]  # by arm


@dataclass
class Record:
    """Everything that an ablation has found so far."""

    date: str
    machine: dict[str, str | int]
    settings: Settings
    networks: list[Network]
    runs: list[Run] = field(default_factory=list)
    times: list[Times] = field(default_factory=list)

    def network(self, arm: str) -> Network:
        """Of an arm."""
        return next(network for network in self.networks if network.arm == arm)

    def run(self, arm: str, seed: int) -> Run | None:
        """One run, or None where it is not finished."""
        return next((run for run in self.runs if (run.arm, run.seed) == (arm, seed)), None)

    @property
    def arms(self) -> list[str]:
        """Those that have runs, in the order of `ARMS`."""
        return [arm for arm in ARMS if any(run.arm == arm for run in self.runs)]

    def accuracies(self, arm: str) -> dict[int, float]:
        """The last epoch's test accuracy by seed."""
        return {run.seed: run.accuracy[-1] for run in sorted(self.runs, key=lambda run: run.seed) if run.arm == arm}


FORMAT = RecordFormat("hatnet ablation", 1, Record, Settings, lists={"networks": Network, "runs": Run, "times": Times})
write = FORMAT.write


def read(path: Path) -> Record:
    """Read a record.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is something else, or holds an arm that is not known.
    """
    record = FORMAT.read(path)
    for network in record.networks:
        check_arms([network.arm])
    return record


MACHINE = ("cpu", "gpu", "device", "threads", "torch")  # what accuracies and times stand on


def differences(record: Record, settings: Settings, machine: Mapping[str, str | int]) -> list[str]:
    """In what an earlier record was of something else, or made elsewhere; the arms and seeds may grow."""
    found = [
        f"{name}: {machine.get(name)} here, {record.machine.get(name)} there"
        for name in MACHINE
        if machine.get(name) != record.machine.get(name)
    ]
    found += [
        f"{entry.name}: {getattr(settings, entry.name)} here, {getattr(record.settings, entry.name)} there"
        for entry in fields(Settings)
        if getattr(settings, entry.name) != getattr(record.settings, entry.name)
    ]
    if not found:
        found = [
            f"the network {network.arm}: {now} here, {network} there"
            for network in record.networks
            if (now := Network.of(settings.fit(network.arm))) != network
        ]
    return found
