"""Predictions of dense models in COCO's format, for pycocotools and annotation tools (extra `dense`)."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hatnet.dense.predicting import Objects, Segmentation


def coco_results(found: Objects | Segmentation, image_id: int) -> list[dict[str, Any]]:
    """Annotations of one image in COCO's result format.

    Objects have `category_id` (from 1), `bbox` (x, y, width and height in pixels), `score` and, with masks,
    `segmentation` (compressed RLE) and `area`. A segmentation has one entry per class that is present, with its
    `segmentation`, `bbox`, `area` in pixels and `share` of the pixels; `category_id` starts from 0.
    """
    if isinstance(found, Segmentation):
        return [
            {"image_id": image_id, "category_id": label, "share": share, **_region(found.labels == label)}
            for label, share in found.shares.items()
        ]
    entries = []
    for place, (label, score) in enumerate(zip(found.labels, found.scores, strict=True)):
        x1, y1, x2, y2 = (round(float(side), 3) for side in found.boxes[place])
        box = [x1, y1, round(x2 - x1, 3), round(y2 - y1, 3)]
        entry: dict[str, Any] = {"image_id": image_id, "category_id": label, "score": round(score, 6)}
        if found.masks is None:
            entry |= {"area": round(box[2] * box[3], 3)}
        else:
            entry |= _region(found.masks[place])
        entries.append(entry | {"bbox": box})
    return entries


def _region(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (H, W) as run lengths, its area and its box."""
    from pycocotools import mask as coco_mask

    run_lengths: Any = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {
        "segmentation": {"size": list(mask.shape), "counts": run_lengths["counts"].decode()},
        "area": int(mask.sum()),
        "bbox": [float(side) for side in coco_mask.toBbox(run_lengths)],
    }
