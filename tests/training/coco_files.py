"""Small data sets in COCO's format: rectangles and ellipses of two colours."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from pycocotools import mask as coding

CATEGORIES = [{"id": 3, "name": "box"}, {"id": 7, "name": "disc"}]  # ids that are no labels


def write_coco(folder: Path, train: int = 12, val: int = 5, side: int = 64, seed: int = 0) -> str:
    """Write images and annotations; return the name of the data set. One training image has no object."""
    random = np.random.default_rng(seed)
    (folder / "annotations").mkdir(parents=True)
    for part, count in (("train", train), ("val", val)):
        (folder / part).mkdir()
        images, annotations = [], []
        for number in range(count):
            pixels = random.integers(0, 90, (side, side, 3)).astype(np.uint8)
            for _ in range(0 if (part, number) == ("train", 1) else random.integers(1, 4)):
                category, mask = draw(random, side)
                pixels[mask] = (220, 60, 60) if category == 3 else (60, 60, 220)
                code = coding.encode(np.asfortranarray(mask.astype(np.uint8)))
                annotations.append(
                    {
                        "id": len(annotations) + 1, "image_id": 10 + number, "category_id": category, "iscrowd": 0,
                        "bbox": coding.toBbox(code).tolist(), "area": int(mask.sum()),
                        "segmentation": {"size": [side, side], "counts": code["counts"].decode()},
                    }
                )  # fmt: skip
            Image.fromarray(pixels).save(folder / part / f"{number}.png")
            images.append({"id": 10 + number, "file_name": f"{number}.png", "height": side, "width": side})
        content = {"images": images, "annotations": annotations, "categories": CATEGORIES}
        (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content))
    return f"coco:{folder}"


def draw(random: np.random.Generator, side: int) -> tuple[int, np.ndarray]:
    """The category of one object, and its pixels (side, side)."""
    height, width = random.integers(side // 4, side // 2, 2)
    top, left = random.integers(0, side - height), random.integers(0, side - width)
    y, x = np.mgrid[:side, :side]
    if random.random() < 0.5:
        return 3, (y >= top) & (y < top + height) & (x >= left) & (x < left + width)
    return 7, ((y - top - height / 2) / height) ** 2 + ((x - left - width / 2) / width) ** 2 <= 0.25
