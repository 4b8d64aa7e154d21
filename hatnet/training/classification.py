"""Classification: one class per image. Exact evaluation counts each test image once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import default_collate

from hatnet.config import HATNetConfig
from hatnet.data import DataError, Images, Split
from hatnet.data.transforms import Mixing, Statistics, Transform, for_testing, for_training, mixing, require_fit
from hatnet.network import HATNet
from hatnet.training.distributed import Processes
from hatnet.training.recipes import Recipe
from hatnet.training.task import ClassTable, Metric

NO_IMAGES = "not one test image can be read: the data is damaged, or its disk is away"


@dataclass(frozen=True)
class Evaluation:
    """The answers of a model on some images."""

    confusion: Tensor  # (classes, classes) counts: row the true class, column the predicted one
    loss: float  # mean cross-entropy, in nats
    top5: float = nan  # fraction of images whose class is among the five most probable; NaN with fewer than 6 classes

    @property
    def images(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The fraction of images that are classified right (top-1)."""
        return float(self.confusion.diagonal().sum()) / self.images

    @property
    def class_accuracy(self) -> list[float]:
        """The accuracy on the images of each true class; NaN for a class without images."""
        return (self.confusion.diagonal().double() / self.confusion.sum(1)).tolist()


@torch.inference_mode()
def evaluate(model: HATNet, batches: Iterable[tuple[Tensor, Tensor]], processes: Processes) -> Evaluation:
    """Classify every image in this process's `batches`, and sum over all processes.

    `model` is in evaluation mode; a batch is images (B, C_in, H, W) and labels (B,). Raises DataError without images.
    """
    classes = model.config.num_classes
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=processes.device)
    loss = torch.zeros((), dtype=torch.float64, device=processes.device)
    among_5 = torch.zeros((), dtype=torch.int64, device=processes.device)
    for images, labels in batches:
        labels = labels.to(processes.device)
        logits = model(images.to(processes.device))  # (B, classes)
        loss += F.cross_entropy(logits.float(), labels, reduction="sum")
        among_5 += (rank(logits, labels) < 5).sum()
        pairs = labels * classes + logits.argmax(dim=1)
        confusion += torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    processes.sum(confusion)
    processes.sum(loss)
    processes.sum(among_5)
    if not confusion.any():
        raise DataError(NO_IMAGES)
    images_seen = int(confusion.sum())
    top5 = int(among_5) / images_seen if classes > 5 else nan
    return Evaluation(confusion.cpu(), float(loss) / images_seen, top5)


def rank(logits: Tensor, labels: Tensor) -> Tensor:
    """The place of each image's class by its logit, (B, classes) -> (B,), from 0; the last one if a logit is NaN.

    Of equal logits, the class with the lower number comes first, as for `argmax`.

    >>> rank(torch.tensor([[0.1, 0.7, 0.7]]), torch.tensor([2]))
    tensor([1])
    """
    true = logits.gather(1, labels[:, None])
    earlier = torch.arange(logits.shape[1], device=logits.device) < labels[:, None]
    before = (logits > true) | ((logits == true) & earlier) | logits.isnan().any(1, keepdim=True)
    return before.sum(1)


LOSS = Metric(
    "loss",
    lambda evaluation: evaluation.loss,
    description="cross-entropy of the {part} images, in nats",
    title="Loss",
    axis="cross-entropy in nats",
    higher_is_better=False,
)
ACCURACY = Metric(
    "accuracy",
    lambda evaluation: evaluation.accuracy,
    description="fraction of the {part} images classified right",
    title="Accuracy on the {part} images",
    axis="classified right in %",
    factor=100,
    format="{:.2f} %",
    sentence="{value} of {images} are classified right",
)
TOP5 = Metric(
    "top5",
    lambda evaluation: evaluation.top5,
    description="fraction of the {part} images whose class is among the five most probable",
    title="Top-5 accuracy",
    axis="among the first five in %",
    factor=100,
    format="{:.2f} %",
    sentence="The class of {value} of {images} is among the five most probable",
)


@dataclass(frozen=True)
class Classification:
    """Classification. Add a metric to `metrics`; everything that shows metrics follows."""

    kind = "classification"
    metrics: tuple[Metric, ...] = (LOSS, ACCURACY, TOP5)
    selection: Metric = ACCURACY
    build = HATNet  # from a configuration

    def config(self, recipe: Recipe, data: Split) -> HATNetConfig:
        """One output per class."""
        return recipe.config(len(data.classes), data.channels)

    def mixing(self, recipe: Recipe, data: Split) -> Mixing | None:
        """Mixup and CutMix, which make labels distributions over the classes."""
        return mixing(recipe, len(data.classes))

    def for_training(self, recipe: Recipe, data: Split) -> Transform:
        """Augmented, normalised images."""
        return for_training(recipe, data)

    def for_testing(self, recipe: Recipe, data: Statistics) -> Transform:
        """Normalised images."""
        return for_testing(recipe, data)

    def require_fit(self, recipe: Recipe, data: Split) -> None:
        """Raise a DataError unless images are resized or have the recipe's size."""
        require_fit(recipe, data)

    def collate(self, items: list[Any]) -> Any:
        """Stack images and labels."""
        return default_collate(items)

    def loss(self, network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
        """Cross-entropy of logits (B, classes), in nats. Labels are (B,) classes or (B, classes) distributions."""
        return F.cross_entropy(network(images), labels, label_smoothing=recipe.label_smoothing)

    def evaluate(self, model: Any, batches: Iterable[Any], processes: Processes, images: Images) -> Evaluation:
        """Count right and wrong answers; see the function `evaluate`."""
        return evaluate(model, batches, processes)

    def by_class(self, evaluation: Evaluation, classes: Sequence[str]) -> ClassTable:
        """The accuracy of every class, and the class that it is most often mistaken for."""
        return by_class(evaluation, classes)

    def draw(self, evaluation: Evaluation, classes: Sequence[str], data: str, path: Path) -> None:
        """Draw the confusion matrix and the accuracy of every class."""
        from hatnet.training.figures import Bars, draw_confusion

        everything = f"All: {100 * evaluation.accuracy:.2f} % (dashed)"
        bars = Bars(evaluation.class_accuracy, evaluation.accuracy, everything, "classified right in %")
        draw_confusion(evaluation.confusion, classes, f"{evaluation.images:,} test images of {data}", bars, path)


def by_class(evaluation: Evaluation, classes: Sequence[str]) -> ClassTable:
    """`Classification.by_class`."""
    confusion, rows = evaluation.confusion, []
    for index in sorted(range(len(classes)), key=lambda index: evaluation.class_accuracy[index]):
        wrong = confusion[index].clone()
        wrong[index] = 0
        other = f"{classes[int(wrong.argmax())]} ({int(wrong.max())})" if wrong.any() else "-"
        right = f"{100 * evaluation.class_accuracy[index]:.1f} %"
        rows.append((classes[index], str(int(confusion[index].sum())), right, other))
    return ClassTable(
        "Accuracy by class, worst first",
        {
            "class accuracy": dict(zip(classes, evaluation.class_accuracy, strict=True)),  # null without images
            "confusion (rows true, columns predicted)": confusion.tolist(),
        },
        ("class", "images", "right", "most often mistaken for"),
        rows,
    )


CLASSIFICATION = Classification()
