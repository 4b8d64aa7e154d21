"""Measure what the networks for scenes in the package get wrong, classes or outlines, on known and unknown scenes.

`python -m tests.measure_errors --record docs/measurements/scenes-errors` tests the segmenter and Mask R-CNN on four
parts: scenes of the first training; new scenes of its objects and photos; others with plain photos only; and the test
scenes, which have other objects, other photos and no clutter. Each part is also scored with one kind of error removed.
For the segmenter, all pixels of objects that it found get their class, or exactly the pixels of objects are found. For
Mask R-CNN, classes are ignored, or a mask counts from an IoU of 0.1 on.
"""

from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import date
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import tyro
from pycocotools.cocoeval import COCOeval
from rich.progress import track
from torch import Tensor
from torchvision.ops import nms

from hatnet.data import Images, open_data
from hatnet.data.scenes.cutouts import Garments
from hatnet.data.scenes.writer import Settings, write_scenes
from hatnet.files import json_bytes, write_whole
from hatnet.machine import cpu_model, software
from hatnet.training.average_precision import Found, found_objects
from hatnet.training.batches import batches_for_testing
from hatnet.training.checkpoint_evaluation import recipe_for_testing
from hatnet.training.distributed import Processes
from hatnet.training.segmentation import SegmentationResult
from hatnet.training.tasks import task_of
from hatnet.training.trained_weights import AnySource, find_weights, normalised_as

SAME_OBJECT = 0.5  # IoU of two boxes above which the less certain one is dropped when classes are ignored
LITTLE = 0.1  # IoU of masks from which a mask counts as the object's, however wrong its outline
NEW_SEED = 1_000_003  # of the new scenes
PARTS = {"known": "known", "new": "new", "plain": "plain<br>photos", "test": "test"}
Scores = dict[str, float]

AS_IS, CLASSES, OUTLINES = "as it is", "without wrong classes", "without wrong outlines"
LABELS = {
    "segmentation": {
        AS_IS: "**mean IoU**",
        CLASSES: "with all classes right",
        OUTLINES: "with all outlines right",
    },
    "instances": {
        AS_IS: "**AP50 of masks**",
        CLASSES: "classes ignored",
        OUTLINES: "an IoU of 0.1 is enough",
    },
}


def with_classes_right(confusion: Tensor) -> Tensor:
    """Counts of pixels (true, predicted) if every pixel found on an object had its class; 0 is the background."""
    right = torch.zeros_like(confusion)
    right[0], right[:, 0] = confusion[0], confusion[:, 0]
    right.diagonal()[1:] = confusion[1:, 1:].sum(dim=1)
    return right


def with_outlines_right(confusion: Tensor) -> Tensor:
    """Counts of pixels (true, predicted) if exactly the objects' pixels were found, with classes confused as often."""
    right = torch.zeros_like(confusion)
    right[0, 0] = confusion[0].sum()
    objects = confusion[1:]
    right[1:, 1:] = objects[:, 1:] * objects.sum(dim=1, keepdim=True) / objects[:, 1:].sum(dim=1, keepdim=True)
    return right


def segmented(source: AnySource, batches: Any, images: Images) -> Scores:
    """Mean IoU as it is, and with each kind of error removed."""
    found = task_of(recipe_for_testing(source)).evaluate(source.model, batches, CPU, images)
    confusion = found.confusion.double()
    parts = {
        AS_IS: confusion,
        CLASSES: with_classes_right(confusion),
        OUTLINES: with_outlines_right(confusion),
    }
    return {name: SegmentationResult(part, 0.0, found.images).mean_iou for name, part in parts.items()}


def of_one_class(truth: Any) -> Any:
    """Give all objects class 1, in place."""
    for record in truth.dataset["annotations"]:
        record["category_id"] = 1
    truth.dataset["categories"] = [{"id": 1, "name": "object"}]
    with redirect_stdout(StringIO()):
        truth.createIndex()
    return truth


def without_classes(prediction: dict[str, Tensor]) -> dict[str, Tensor]:
    """The prediction with all objects in class 1, and without overlapping duplicates."""
    kept = nms(prediction["boxes"], prediction["scores"], SAME_OBJECT)
    found = {name: values[kept] for name, values in prediction.items()}
    return found | {"labels": torch.ones_like(found["labels"])}


def average_precision_at(iou: float, truth: Any, found: list[Found]) -> float:
    """AP of masks at one threshold of the IoU, averaged over the classes that have objects."""
    with redirect_stdout(StringIO()):
        results = truth.loadRes([{name: value for name, value in each.items() if name != "bbox"} for each in found])
        evaluation = COCOeval(truth, results, "segm")
        evaluation.params.iouThrs = np.array([iou])
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, -1]  # recall, class: all areas, 100 objects per image
    return float(precision[precision > -1].mean())


@torch.inference_mode()
def detected(source: AnySource, batches: Any, images: Any) -> Scores:
    """AP of masks at an IoU of 0.5, the same with classes ignored, and at an IoU of 0.1."""
    found: list[Found] = []
    alike: list[Found] = []
    for batch, targets in batches:
        for target, prediction in zip(targets, source.model(batch), strict=True):
            found += found_objects(int(target["image_id"]), prediction)
            alike += found_objects(int(target["image_id"]), without_classes(prediction))
    return {
        AS_IS: average_precision_at(0.5, images.ground_truth(), found),
        CLASSES: average_precision_at(0.5, of_one_class(images.ground_truth()), alike),
        OUTLINES: average_precision_at(LITTLE, images.ground_truth(), found),
    }


CPU = Processes(0, 1, torch.device("cpu"))
SCORES = {"segmentation": segmented, "instances": detected}


@dataclass(frozen=True)
class Options:
    """Which weights to test, on how many scenes, and where the record goes."""

    segmentation: str = "scenes-segmentation"
    instances: str = "scenes-instances"
    data_dir: Path = Path("data")
    scenes: int = 500  # known ones, and as many new ones
    record: Path = Path("errors")  # without suffix


def measure(task: str, options: Options, folder: Path) -> dict[str, Scores]:
    """The scores of each part; `folder` holds the new scenes, in `new` and in `plain`."""
    source: AnySource = find_weights(getattr(options, task))
    recipe = recipe_for_testing(source)
    names = ("scenes", f"coco:{folder / 'new'}", f"coco:{folder / 'plain'}")
    scenes, new, plain = (open_data(name, options.data_dir, task=task) for name in names)
    known = scenes.train.part(torch.arange(options.scenes))
    parts = {"known": known, "new": new.train, "plain": plain.train, "test": scenes.test}
    kind, found = task_of(recipe), {}
    transform = kind.for_testing(recipe, normalised_as(scenes, source.about))
    for part, images in parts.items():
        batches = batches_for_testing(images, transform, 0, 1, 16, 0, collate=kind.collate)
        shown = track(batches, f"{task}, {part} scenes", total=len(batches))
        found[part] = SCORES[task](source, shown, images)
    return found


def table(results: dict[str, dict[str, Scores]]) -> str:
    """The table for the site: a column for each part, and a row for each score."""
    lines = [f"| In %, on scenes | {' | '.join(PARTS.values())} |", f"| --- |{' ---: |' * len(PARTS)}"]
    for task, parts in results.items():
        for name, label in LABELS[task].items():
            cells = [f"{100 * parts[part][name]:.1f}" for part in PARTS]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main(options: Options) -> None:
    """Test both networks on all parts; write the record and its table."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for part, plain_photos in (("new", 0.0), ("plain", 1.0)):
            settings = Settings(train=options.scenes, val=1, seed=NEW_SEED, plain_photos=plain_photos)
            write_scenes(folder / part, settings, Garments())
        results = {task: measure(task, options, folder) for task in SCORES}
    facts = {
        "date": str(date.today()), "machine": cpu_model(), "software": software(), "scenes of a part": options.scenes,
        "new scenes": {"seed": NEW_SEED}, "results": results,
    }  # fmt: skip
    write_whole(options.record.with_suffix(".json"), json_bytes(facts))
    write_whole(options.record.with_suffix(".txt"), table(results).encode())
    print(table(results))


if __name__ == "__main__":
    main(tyro.cli(Options))
