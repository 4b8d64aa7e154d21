"""Detection and instances: boxes of objects, and their masks. The losses are torchvision's, the metrics COCO's."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from hatnet.config import HATNetConfig
from hatnet.data import DataError, Images, Split
from hatnet.data.transforms import Statistics, Transform
from hatnet.training.average_precision import Precision, average_precision, found_objects, from_bytes, to_bytes
from hatnet.training.classification import NO_IMAGES
from hatnet.training.distributed import Processes
from hatnet.training.recipes import Recipe
from hatnet.training.task import ClassTable, Metric

if TYPE_CHECKING:
    from hatnet.dense import MaskRCNN, RetinaNet


@dataclass(frozen=True)
class DetectionResult:
    """The average precision of a detector on some images."""

    images: int
    box: Precision
    mask: Precision | None  # None for a detector without masks


@torch.inference_mode()
def evaluate(
    model: "RetinaNet | MaskRCNN", batches: Iterable[tuple[Any, Any]], processes: Processes, images: Images
) -> DetectionResult:
    """Find the objects in this process's `batches`, and compare those of all processes with the truth in `images`.

    `model` is in evaluation mode; a batch is lists of images and of their objects. Raises DataError without images.
    """
    seen, found = [], []
    for batch, targets in batches:
        predictions = model([image.to(processes.device) for image in batch])
        for target, prediction in zip(targets, predictions, strict=True):
            seen.append(int(target["image_id"]))
            found += found_objects(seen[-1], prediction)
    seen, found = from_bytes(processes.gather(to_bytes(seen, found)))
    if not seen:
        raise DataError(NO_IMAGES)
    truth = images.ground_truth()  # type: ignore[attr-defined]  # `require_fit` checks that there is one
    box, mask = (
        average_precision(truth, seen, found, kind) if kind in model_kinds(model) else None for kind in ("box", "mask")
    )
    assert box is not None
    return DetectionResult(len(seen), box, mask)


def model_kinds(model: "RetinaNet | MaskRCNN") -> tuple[str, ...]:
    """What a detector finds: boxes, and perhaps masks."""
    return ("box", "mask") if hasattr(model, "roi_heads") else ("box",)


def _metric(kind: str, name: str) -> Metric:
    """One of COCO's statistics of boxes or masks."""
    meanings = {
        "AP": "mean over IoU 0.50 to 0.95", "AP50": "at IoU 0.50", "AP75": "at IoU 0.75",
        "AP_small": "of objects up to 32 x 32 pixels", "AP_medium": "of objects from 32 x 32 to 96 x 96 pixels",
        "AP_large": "of objects above 96 x 96 pixels",
    }  # fmt: skip

    def value(found: DetectionResult) -> float:
        precision: Precision | None = getattr(found, kind)
        return nan if precision is None else precision.overall[name]

    words = name.replace("_", " of ")
    return Metric(
        f"{kind}_{name}",
        value,
        description=f"average precision of the {kind}es in the {{part}} images, {meanings[name]}".replace(
            "maskes", "masks"
        ),
        title=f"{kind.capitalize()} {words} of the {{part}} images",
        axis=f"{kind} {words} in %",
        factor=100,
        format="{:.1f} %",
        sentence=f"{kind.capitalize()} {words} of {{images}} is {{value}}",
        drawn=name in ("AP", "AP50"),
    )


BOX_METRICS = tuple(_metric("box", name) for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"))
MASK_METRICS = tuple(_metric("mask", name) for name in ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large"))


@dataclass(frozen=True)
class Detection:
    """RetinaNet, or Mask R-CNN for `name` instances, on images with objects.

    `width` is the number of channels of its pyramid, `image_size` the shorter side to which it resizes images. The
    longer side is at most 5/3 of that, as 1333 is of 800. `regions` train the heads of Mask R-CNN.
    """

    name: str = "detection"
    width: int = 256
    image_size: int = 800
    regions: int = 512
    kind = "objects"

    @property
    def masks(self) -> bool:
        """Whether objects have masks."""
        return self.name == "instances"

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """COCO's statistics of boxes, and of masks."""
        return (*BOX_METRICS, *MASK_METRICS) if self.masks else BOX_METRICS

    @property
    def selection(self) -> Metric:
        """AP over IoU 0.50 to 0.95, of masks if there are any."""
        return MASK_METRICS[0] if self.masks else BOX_METRICS[0]

    def config(self, recipe: Recipe, data: Split) -> HATNetConfig:
        """One output per class of objects; the background has none of its own."""
        return recipe.config(len(data.classes), data.channels)

    def build(self, config: HATNetConfig) -> "RetinaNet | MaskRCNN":
        """The detector with fresh weights."""
        from hatnet.dense import MaskRCNN, RetinaNet

        sizes: dict[str, Any] = {"min_size": self.image_size, "max_size": max(5 * self.image_size // 3, 1)}
        if self.masks:
            return MaskRCNN(config, width=self.width, box_batch_size_per_image=self.regions, **sizes)
        return RetinaNet(config, width=self.width, **sizes)

    def mixing(self, recipe: Recipe, data: Split) -> None:
        """Objects are not mixed."""

    def for_training(self, recipe: Recipe, data: Split) -> Transform:
        """Squares of `image_size` pixels from images of a random scale, or whole images."""
        from torchvision.transforms import v2

        from hatnet.training.dense_transforms import ObjectsToLearn, RandomViews, VisibleObjects

        last = (v2.SanitizeBoundingBoxes(min_size=1), VisibleObjects())
        return RandomViews(recipe, ObjectsToLearn(self.masks), last=last)

    def for_testing(self, recipe: Recipe, data: Statistics) -> Transform:
        """Whole images, which the detector itself resizes."""
        from hatnet.training.dense_transforms import WholeImage

        return WholeImage()

    def require_fit(self, recipe: Recipe, data: Split) -> None:
        """Raise a DataError unless the images have a ground truth that COCO's metrics can use."""
        for part, images in data.parts.items():
            if not hasattr(images, "ground_truth"):
                raise DataError(f"the {part} images of {data.name} have no ground_truth(), which COCO's metrics need")

    def collate(self, items: list[tuple[Tensor, dict[str, Tensor]]]) -> tuple[Any, Any]:
        """Lists of images and of targets, since their sizes and numbers of objects differ."""
        images, targets = zip(*items, strict=True)
        return list(images), list(targets)

    def loss(self, network: nn.Module, images: Any, labels: Any, recipe: Recipe) -> Tensor:
        """The sum of torchvision's losses."""
        losses: dict[str, Tensor] = network(images, labels)
        return torch.stack(list(losses.values())).sum()

    def evaluate(self, model: Any, batches: Iterable[Any], processes: Processes, images: Images) -> DetectionResult:
        """COCO's metrics; see the function `evaluate`."""
        return evaluate(model, batches, processes, images)

    def by_class(self, evaluation: DetectionResult, classes: Sequence[str]) -> ClassTable:
        """AP of every class."""
        found = {"box": evaluation.box, "mask": evaluation.mask}
        columns = {kind: precision.of_class for kind, precision in found.items() if precision is not None}
        main = columns["mask" if self.masks else "box"]
        order = sorted(range(len(classes)), key=lambda index: (isnan(main[index]), main[index]))
        return ClassTable(
            "AP by class, worst first",
            {f"class {kind} AP": dict(zip(classes, column, strict=True)) for kind, column in columns.items()},
            ("class", *(f"{kind} AP" for kind in columns)),
            [(classes[k], *(f"{100 * column[k]:.1f} %" for column in columns.values())) for k in order],
        )

    def draw(self, evaluation: DetectionResult, classes: Sequence[str], data: str, path: Path) -> None:
        """Draw the AP of every class."""
        from hatnet.training.figures import Bars, draw_bars

        kinds = {"Boxes": evaluation.box} | ({} if evaluation.mask is None else {"Masks": evaluation.mask})
        panels = [
            Bars(found.of_class, found.overall["AP"], f"{name}: {100 * found.overall['AP']:.1f} % (dashed)", "AP in %")
            for name, found in kinds.items()
        ]
        draw_bars(panels, classes, f"{evaluation.images:,} test images of {data}", path)
