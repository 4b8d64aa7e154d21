"""The record of an ablation: one JSON file with every network, every run and every time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from hatnet.studies.ablation.answers import Answers
from hatnet.studies.ablation.arms import ARMS, MATCHED
from hatnet.studies.ablation.matching import MatchedArm, match_cost
from hatnet.studies.ablation.one_stage import match_macs
from hatnet.studies.ablation.questions import QUESTIONS, SIDE, TESTS, TRAINING
from hatnet.studies.common.records import RecordFormat
from hatnet.studies.common.settings import require_known, require_whole_numbers
from hatnet.training.classification import CLASSIFICATION
from hatnet.training.recipes import Recipe
from hatnet.training.task import Task


@dataclass(frozen=True)
class DataSet:
    """A data set of the ablation, described before it is opened."""

    title: str  # as printed
    size: int  # side of an image, in pixels
    channels: int
    classes: int
    epochs: int  # the default
    question: str | None = None  # one of QUESTIONS: a class for each disc that is asked, instead of one for each image
    arms: tuple[str, ...] = MATCHED  # the default


DATA = {
    "fashion-subset": DataSet("the embedded part of Fashion-MNIST (12,000 training, 2,500 test images)", 28, 1, 10, 2),
    "fashion-mnist": DataSet("the whole of Fashion-MNIST (60,000 training, 10,000 test images)", 28, 1, 10, 20),
    "cifar10": DataSet("CIFAR-10 (50,000 training, 10,000 test images)", 32, 3, 10, 40),
    "cifar100": DataSet("CIFAR-100 (50,000 training, 10,000 test images)", 32, 3, 100, 40),
    **{
        f"question-{question}": DataSet(
            f"images of the question {question!r} ({TRAINING:,} training, {TESTS} test images)", SIDE, 3, 2, 1,
            question, ("h-mhsa", "local", "global", "pvt", "none"),
        )
        for question in QUESTIONS
    },
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """Settings that all runs of an ablation share. Raises ValueError if a value is out of range."""

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
        require_known("data", [self.data], DATA)
        require_whole_numbers(self, epochs=(1, 100_000))

    @classmethod
    def of(cls, data: str, epochs: int | None = None) -> Settings:
        """The settings for a data set. Images of the questions are all different, so they are not flipped."""
        require_known("data", [data], DATA)
        epochs = DATA[data].epochs if epochs is None else epochs
        return cls(data, epochs, batch_size=32, flip=False) if DATA[data].question else cls(data, epochs)

    @property
    def data_set(self) -> DataSet:
        """Description of the data set."""
        return DATA[self.data]

    @property
    def task(self) -> Task:
        """The kind of answers."""
        return Answers() if self.data_set.question else CLASSIFICATION

    def recipe(self, seed: int) -> Recipe:
        """The recipe of one run. Its variant does not matter, because the network of an arm replaces the variant's."""
        return Recipe(
            **asdict(self), variant="micro", image_size=self.data_set.size, seed=seed, slice_size=self.batch_size,
            crop_padding=0,
        )  # fmt: skip

    def matched(self, arm: str) -> MatchedArm:
        """An arm, matched for the images of the data set."""
        if self.data_set.question:
            return match_macs(ARMS[arm], self.data_set.size)
        return match_cost(ARMS[arm], self.data_set.size, self.data_set.classes, self.data_set.channels)


@dataclass(frozen=True)
class Network:
    """Sizes and cost of the network of an arm."""

    arm: str
    grid_sizes: list[int]
    pool_sizes: list[int]
    widths: list[int]  # of the MLPs, one per stage
    parameters: int
    macs: int  # of one image, products of attention included
    attention_macs: int  # products of attention alone

    @staticmethod
    def of(matched: MatchedArm) -> Network:
        """Describe a matched arm."""
        cost = matched.cost
        return Network(
            matched.arm.name, list(matched.config.grid_sizes), list(matched.config.pool_sizes), list(matched.widths),
            cost.parameters, cost.total_macs, cost.attention_macs,
        )  # fmt: skip


@dataclass
class Run:
    """One network, trained once."""

    arm: str
    seed: int
    accuracy: list[float]  # on the test images, after each epoch; the last one counts
    train_loss: list[float]  # mean of each epoch, in nats
    seconds: float  # wall-clock time of the training steps
    date: str


@dataclass
class Times:
    """Seconds per image, with one value per round. Every round times each arm once."""

    what: str  # forward, or step
    clock: str  # cpu (processor time of one thread) or wall
    batch: int
    seconds: dict[str, list[float]]  # by arm


@dataclass
class Record:
    """Results of an ablation so far."""

    date: str
    machine: dict[str, str | int]
    settings: Settings
    networks: list[Network]
    runs: list[Run] = field(default_factory=list)
    times: list[Times] = field(default_factory=list)

    def network(self, arm: str) -> Network:
        """The network of an arm."""
        return next(network for network in self.networks if network.arm == arm)

    @property
    def arms(self) -> list[str]:
        """The arms that have runs, in the order of `ARMS`."""
        return [arm for arm in ARMS if any(run.arm == arm for run in self.runs)]

    def accuracies(self, arm: str) -> dict[int, float]:
        """Test accuracy after the last epoch, by seed."""
        return {run.seed: run.accuracy[-1] for run in sorted(self.runs, key=lambda run: run.seed) if run.arm == arm}

    def times_of(self, what: str) -> Times | None:
        """The times of a forward pass or a training step; None if they were not measured."""
        return next((times for times in self.times if times.what == what), None)


FORMAT = RecordFormat("hatnet ablation", 1, Record, Settings, lists={"networks": Network, "runs": Run, "times": Times})
write = FORMAT.write


def read(path: Path) -> Record:
    """Read a record. Raises as `RecordFormat.read` does, and ValueError for an unknown arm."""
    record = FORMAT.read(path)
    for network in record.networks:
        require_known("arm", [network.arm], ARMS)
    return record


MACHINE = ("cpu", "gpu", "device", "threads", "torch")  # the facts on which accuracies and times depend


def mismatches(record: Record, settings: Settings, machine: Mapping[str, str | int]) -> list[str]:
    """Reasons why an earlier record cannot be continued here. More arms and more seeds are no reason."""
    here = {name: machine.get(name) for name in MACHINE} | asdict(settings)
    there = {name: record.machine.get(name) for name in MACHINE} | asdict(record.settings)
    found = [f"{name}: {here[name]} here, {there[name]} there" for name in here if here[name] != there[name]]
    return found or [
        f"the network {network.arm}: {now} here, {network} there"
        for network in record.networks
        if (now := Network.of(settings.matched(network.arm))) != network
    ]
