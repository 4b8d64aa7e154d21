"""COCO's average precision of boxes and masks, by pycocotools."""

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import numpy as np
import torch
from torch import Tensor

Found = dict[str, Any]  # one predicted object, in COCO's format of results

# Where COCOeval keeps each number: averages over IoU 0.50 to 0.95, at 0.50, at 0.75, and over objects by their area,
# up to 32^2 pixels, up to 96^2, and above.
STATISTICS = {"AP": 0, "AP50": 1, "AP75": 2, "AP_small": 3, "AP_medium": 4, "AP_large": 5}
KINDS = {"box": "bbox", "mask": "segm"}


@dataclass(frozen=True)
class Precision:
    """Average precisions from 0 to 1; NaN without objects."""

    overall: dict[str, float]  # the statistics above
    of_class: list[float]  # AP of each class


def found_objects(number: int, prediction: dict[str, Tensor]) -> list[Found]:
    """The objects that a detector finds in the image with this id, as COCO's format of results has them."""
    from pycocotools import mask as coding

    boxes = prediction["boxes"].double().cpu()
    boxes[:, 2:] -= boxes[:, :2]  # x, y, width, height
    found = [
        {"image_id": number, "category_id": label, "bbox": box, "score": score}
        for label, box, score in zip(
            prediction["labels"].tolist(), boxes.tolist(), prediction["scores"].tolist(), strict=True
        )
    ]
    if "masks" in prediction:
        masks = (prediction["masks"][:, 0] > 0.5).byte().cpu().numpy()
        for entry, mask in zip(found, masks, strict=True):
            code = coding.encode(np.asfortranarray(mask))
            entry["segmentation"] = {"size": list(code["size"]), "counts": code["counts"].decode("ascii")}
    return found


def to_bytes(seen: Sequence[int], found: Sequence[Found]) -> bytes:
    """The ids of the images that were seen and all found objects, to send to other processes."""
    return json.dumps([list(seen), list(found)]).encode()


def from_bytes(parts: Sequence[bytes]) -> tuple[list[int], list[Found]]:
    """The inverse of `to_bytes`, of all processes."""
    pairs = [json.loads(part) for part in parts]
    return [number for seen, _ in pairs for number in seen], [entry for _, found in pairs for entry in found]


def average_precision(truth: Any, seen: Sequence[int], found: Sequence[Found], kind: str) -> Precision:
    """Compare the objects found in the images `seen`, by their ids, with a `pycocotools.coco.COCO`.

    `kind` is box or mask. Each image counts with its 100 best objects, as on COCO.
    """
    from pycocotools.cocoeval import COCOeval

    other = "bbox" if kind == "mask" else "segmentation"  # left out: loadRes takes an object's area from its box if any
    with redirect_stdout(StringIO()):
        results = truth.loadRes([{k: v for k, v in entry.items() if k != other} for entry in found]) if found else None
        evaluation = COCOeval(truth, results if found else _nothing(truth), KINDS[kind])
        evaluation.params.imgIds = sorted(seen)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    numbers = {name: _defined(float(evaluation.stats[index])) for name, index in STATISTICS.items()}
    precision = torch.from_numpy(evaluation.eval["precision"])[:, :, :, 0, -1]  # IoU, recall, class
    return Precision(numbers, [_defined(float(part.mean())) for part in precision.unbind(2)])


def _nothing(truth: Any) -> Any:
    """No predictions; `loadRes` fails on an empty list."""
    from pycocotools.coco import COCO

    empty = COCO()
    empty.dataset = {**truth.dataset, "annotations": []}
    empty.createIndex()
    return empty


def _defined(value: float) -> float:
    """NaN for COCO's -1, which means that there are no objects of this kind."""
    return float("nan") if value < 0 else value
