"""A task: the part of training that depends on the kind of label.

The loop uses it only through the protocol in this file, which `classification.py`, `segmentation.py` and `detection.py`
beside it implement. Another task is another such file. A metric is one entry in its task's `metrics`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

from hatnet.config import HATNetConfig
from hatnet.data import Images, Split
from hatnet.data.transforms import Mixing, Statistics, Transform
from hatnet.training.batches import Batch
from hatnet.training.distributed import Processes
from hatnet.training.networks import Network
from hatnet.training.recipes import Recipe

Row = dict[str, float]  # one epoch: one row of metrics.csv


@dataclass(frozen=True)
class Metric:
    """A number that measures a trained network, in metrics.csv, curves, console and evaluation.json.

    It is computed on the test images, or after every epoch on the validation images if there are any. `{part}` in
    description and title is replaced by that name.
    """

    name: str
    value: Callable[[Any], float]  # from what the task's `evaluate` returns
    description: str  # of the column in metrics.csv
    title: str  # of its panel in the curves
    axis: str  # the panel's vertical axis, with the unit
    factor: float = 1.0  # to the unit that is drawn and printed; 100 for per cent
    format: str = "{:.4f}"  # of the value in that unit
    higher_is_better: bool = True
    sentence: str = ""  # with {value} and {images}, such as "{value} of {images} are classified right"
    drawn: bool = True  # in the curves

    def column(self, part: str = "test") -> str:
        """The column in metrics.csv for a part of the data: test or validation."""
        return f"{part}_{self.name}"

    def text(self, value: float) -> str:
        """Format a value with its unit."""
        return self.format.format(self.factor * value)

    def best(self, rows: Sequence[Row], part: str = "test") -> Row:
        """The row with the best value; the first one of equals. Rows without this metric come last."""
        sign = 1 if self.higher_is_better else -1
        return max(rows, key=lambda row: sign * row.get(self.column(part), -sign * float("inf")))


@dataclass(frozen=True)
class ClassTable:
    """The result of every class, for evaluation.json and the console."""

    title: str  # of the printed table
    facts: Mapping[str, Any]  # for evaluation.json; numbers, by class
    columns: tuple[str, ...]  # the class, then its results
    rows: Sequence[tuple[str, ...]]  # texts, the worst class first


class Task(Protocol):
    """Everything that training needs from a task."""

    @property
    def kind(self) -> str:
        """The kind of data that it needs, `Split.kind`."""

    @property
    def metrics(self) -> Sequence[Metric]:
        """All metrics, in the order of the columns."""

    @property
    def selection(self) -> Metric:
        """The metric that picks `best.safetensors`."""

    def config(self, recipe: Recipe, data: Split) -> HATNetConfig:
        """The configuration of the network for this data."""

    def build(self, config: HATNetConfig) -> Network:
        """The network of a configuration."""

    def for_training(self, recipe: Recipe, data: Split) -> Transform:
        """Augment an image and its label, as the network takes them."""

    def for_testing(self, recipe: Recipe, data: Statistics) -> Transform:
        """Prepare an image and its label for a test."""

    def require_fit(self, recipe: Recipe, data: Split) -> None:
        """Raise a DataError, naming the first image, unless all images have a size that training can use."""

    def collate(self, items: list[Any]) -> Batch:
        """Pairs of an image and its label to a batch."""

    def mixing(self, recipe: Recipe, data: Split) -> Mixing | None:
        """Mix the images of a slice, and their labels; None to leave them as they are."""

    def loss(self, network: nn.Module, images: Any, labels: Any, recipe: Recipe) -> Tensor:
        """Mean loss of a slice, a scalar. `network` is the model, perhaps compiled or wrapped for several processes."""

    def evaluate(self, model: Any, batches: Iterable[Batch], processes: Processes, images: Images) -> Any:
        """Test the model on this process's batches, sum over all processes, and return what the metrics read.

        `images` are all that are tested. The result has `images`, the number of those that could be read.
        """

    def by_class(self, evaluation: Any, classes: Sequence[str]) -> ClassTable:
        """The result of every class."""

    def draw(self, evaluation: Any, classes: Sequence[str], data: str, path: Path) -> None:
        """Draw the result as an SVG file. `data` is the name of the data set, for the title."""


def row_of(task: Task, evaluation: Any, part: str = "test") -> Row:
    """The values of all metrics, by column. A metric that is not defined for this data, NaN, is left out."""
    values = {metric: metric.value(evaluation) for metric in task.metrics}
    return {
        metric.column(part): value for metric, value in values.items() if metric == task.selection or not isnan(value)
    }


def words_of(task: Task, row: Mapping[str, float], part: str = "test") -> str:
    """The values of all metrics in one line."""
    values = {metric: row[metric.column(part)] for metric in task.metrics if metric.column(part) in row}
    return "  ".join(f"{part} {metric.name} {metric.text(value)}" for metric, value in values.items())
