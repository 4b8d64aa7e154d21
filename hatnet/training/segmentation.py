"""Segmentation: one class per pixel. Pixels of unknown class, 255, count neither in the loss nor in a metric."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hatnet.config import HATNetConfig
from hatnet.data import DataError, Images, Split
from hatnet.data.images import UNKNOWN
from hatnet.data.transforms import Statistics, Transform
from hatnet.training.classification import NO_IMAGES
from hatnet.training.distributed import Processes
from hatnet.training.recipes import Recipe
from hatnet.training.task import ClassTable, Metric

if TYPE_CHECKING:
    from hatnet.dense import SemanticFPN


@dataclass(frozen=True)
class SegmentationResult:
    """The predicted classes of all pixels of some images."""

    confusion: Tensor  # (classes, classes) counts of pixels: row the true class, column the predicted one
    loss: float  # mean cross-entropy per pixel, in nats
    images: int

    @property
    def pixel_accuracy(self) -> float:
        """The fraction of pixels whose class is predicted right."""
        return float(self.confusion.diagonal().sum()) / float(self.confusion.sum())

    @property
    def class_iou(self) -> list[float]:
        """Intersection over union of each class; NaN for a class that is neither there nor predicted."""
        right = self.confusion.diagonal().double()
        return (right / (self.confusion.sum(0) + self.confusion.sum(1) - right)).tolist()

    @property
    def class_accuracy(self) -> list[float]:
        """The fraction of each class's pixels that are predicted right; NaN for a class without pixels."""
        return (self.confusion.diagonal().double() / self.confusion.sum(1)).tolist()

    @property
    def mean_iou(self) -> float:
        """The mean of `class_iou` over the classes that have one."""
        return float(torch.tensor(self.class_iou).nanmean())


@torch.inference_mode()
def evaluate(model: "SemanticFPN", batches: Iterable[tuple[Any, Any]], processes: Processes) -> SegmentationResult:
    """Predict every pixel of the images in this process's `batches`, and sum over all processes.

    `model` is in evaluation mode; a batch is images and masks, stacked, or lists if their sizes differ. Logits are
    resized to the mask. Raises DataError without images.
    """
    classes, device = model.config.num_classes, processes.device
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)
    loss = torch.zeros((), dtype=torch.float64, device=device)
    count = torch.zeros((), dtype=torch.int64, device=device)
    for images, masks in _stacked(batches):
        masks = masks.to(device)
        logits = model(images.to(device)).float()
        if logits.shape[2:] != masks.shape[1:]:
            logits = F.interpolate(logits, size=masks.shape[1:], mode="bilinear", align_corners=False)
        loss += F.cross_entropy(logits, masks, ignore_index=UNKNOWN, reduction="sum")
        known = masks != UNKNOWN
        pairs = masks[known] * classes + logits.argmax(dim=1)[known]
        confusion += torch.bincount(pairs, minlength=classes**2).view(classes, classes)
        count += len(images)
    for sums in (confusion, loss, count):
        processes.sum(sums)
    if not count:
        raise DataError(NO_IMAGES)
    if not confusion.any():
        raise DataError("no test image has a pixel of known class, so there is nothing to compare with")
    return SegmentationResult(confusion.cpu(), float(loss) / int(confusion.sum()), int(count))


def _stacked(batches: Iterable[tuple[Any, Any]]) -> Iterator[tuple[Tensor, Tensor]]:
    """The same images as (B, C, H, W) and (B, H, W); one by one where their sizes differ."""
    for images, masks in batches:
        if isinstance(images, Tensor):
            yield images, masks
        else:
            yield from ((image[None], mask[None]) for image, mask in zip(images, masks, strict=True))


LOSS = Metric(
    "loss",
    lambda found: found.loss,
    description="cross-entropy per pixel of the {part} images, in nats",
    title="Loss",
    axis="cross-entropy in nats",
    higher_is_better=False,
)
MEAN_IOU = Metric(
    "mean_IoU",
    lambda found: found.mean_iou,
    description="intersection over union, mean over the classes, of the {part} images",
    title="Mean IoU of the {part} images",
    axis="mean IoU in %",
    factor=100,
    format="{:.2f} %",
    sentence="The mean IoU of {images} is {value}",
)
PIXEL_ACCURACY = Metric(
    "pixel_accuracy",
    lambda found: found.pixel_accuracy,
    description="fraction of the pixels of the {part} images classified right",
    title="Pixel accuracy",
    axis="pixels right in %",
    factor=100,
    format="{:.2f} %",
    sentence="{value} of the pixels of {images} are classified right",
)


@dataclass(frozen=True)
class Segmentation:
    """Semantic FPN on images with one class per pixel. `width` is the number of channels of its pyramid."""

    width: int = 256
    metrics: tuple[Metric, ...] = (LOSS, MEAN_IOU, PIXEL_ACCURACY)
    selection: Metric = MEAN_IOU
    kind = "segmentation"

    def config(self, recipe: Recipe, data: Split) -> HATNetConfig:
        """One output per class. Raises DataError for so many classes that 255 would be one."""
        if len(data.classes) > UNKNOWN:
            raise DataError(
                f"{data.name} has {len(data.classes)} classes, at most {UNKNOWN} are possible: {UNKNOWN} marks pixels "
                "of unknown class"
            )
        return recipe.config(len(data.classes), data.channels)

    def build(self, config: HATNetConfig) -> "SemanticFPN":
        """Semantic FPN with fresh weights."""
        from hatnet.dense import SemanticFPN

        return SemanticFPN(config, width=self.width)

    def mixing(self, recipe: Recipe, data: Split) -> None:
        """Masks are not mixed."""

    def for_training(self, recipe: Recipe, data: Split) -> Transform:
        """Squares of `image_size` pixels, from images of a random scale."""
        from hatnet.training.dense_transforms import RandomViews

        return RandomViews(recipe, outside=UNKNOWN)

    def for_testing(self, recipe: Recipe, data: Statistics) -> Transform:
        """Whole images, whose shorter side is resized to `image_size` pixels; the mask keeps its size."""
        from hatnet.training.dense_transforms import WholeImage

        return WholeImage(recipe.image_size)

    def require_fit(self, recipe: Recipe, data: Split) -> None:
        """Images of any size can be cut."""

    def collate(self, items: list[tuple[Tensor, Tensor]]) -> tuple[Any, Any]:
        """Stack images and masks, or list them if their sizes differ."""
        images, masks = zip(*items, strict=True)
        alike = all(len({part.shape for part in parts}) == 1 for parts in (images, masks))
        return (torch.stack(images), torch.stack(masks)) if alike else (list(images), list(masks))

    def loss(self, network: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe) -> Tensor:
        """Mean cross-entropy of the pixels of known class, in nats; 0 if there are none."""
        logits = network(images)  # (B, classes, H, W)
        losses = F.cross_entropy(logits, labels, ignore_index=UNKNOWN, reduction="sum")
        return losses / (labels != UNKNOWN).sum().clamp(min=1)

    def evaluate(self, model: Any, batches: Iterable[Any], processes: Processes, images: Images) -> SegmentationResult:
        """Metrics of all pixels; see the function `evaluate`."""
        return evaluate(model, batches, processes)

    def by_class(self, evaluation: SegmentationResult, classes: Sequence[str]) -> ClassTable:
        """IoU and accuracy of every class."""
        iou, accuracy = evaluation.class_iou, evaluation.class_accuracy
        order = sorted(range(len(classes)), key=lambda index: (isnan(iou[index]), iou[index]))
        return ClassTable(
            "IoU by class, worst first",
            {
                "class IoU": dict(zip(classes, iou, strict=True)),  # null without pixels
                "class accuracy": dict(zip(classes, accuracy, strict=True)),
                "confusion of pixels (rows true, columns predicted)": evaluation.confusion.tolist(),
            },
            ("class", "IoU", "pixels right"),
            [(classes[k], f"{100 * iou[k]:.1f} %", f"{100 * accuracy[k]:.1f} %") for k in order],
        )

    def draw(self, evaluation: SegmentationResult, classes: Sequence[str], data: str, path: Path) -> None:
        """Draw the confusion matrix and the IoU of every class."""
        from hatnet.training.figures import Bars, draw_confusion

        mean = f"Mean: {100 * evaluation.mean_iou:.2f} % (dashed)"
        bars, title = (
            Bars(evaluation.class_iou, evaluation.mean_iou, mean, "IoU in %"),
            f"{evaluation.images:,} test images",
        )
        draw_confusion(evaluation.confusion, classes, f"Pixels of {title} of {data}", bars, path, counted=False)
