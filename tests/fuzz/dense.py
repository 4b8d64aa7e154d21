"""Files for both suites: annotations and folders in COCO's and ADE20K's formats, and folders of cut-outs."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from hatnet.data.image_folder import ImageFolder
from hatnet.data.images import DataError, Split
from tests.data.dense_files import annotation, columns, content, run_lengths, write_ade20k, write_coco, write_cutouts

GOOD = content(
    annotation(1),
    annotation(2, 2, 7, segmentation=run_lengths(4, 2, 5, 6)),
    annotation(3, 2, iscrowd=1),
    annotation(4, 3, segmentation={"size": [20, 30], "counts": "b26>0000000R="}),
    *(annotation(number) for number in range(5, 12)),
)


def annotations(folder: Path, junk: Callable[[object, random.Random], object], generator: random.Random) -> list[Path]:
    """An annotation file, the same with one or more values replaced or left out, and as other text."""
    texts = [json.dumps(GOOD)]
    for count in (1, 1, 1, 2, 4) * 16:
        changed = json.loads(texts[0])
        for _ in range(count):  # junk at any depth mostly replaces whole lists
            part = generator.choice(("images", "annotations", "annotations", "annotations", "categories"))
            place = generator.randrange(len(changed[part]))
            changed[part][place] = junk(changed[part][place], generator)
        texts.append(json.dumps(changed))
    texts += [json.dumps(junk(GOOD, generator)) for _ in range(20)]
    texts += ["", "{", "[" * 5000, "\x00", texts[0][: len(texts[0]) // 2]]
    paths = []
    for index, text in enumerate(texts):
        paths.append(folder / f"annotations-{index}.json")
        paths[-1].write_text(text)
    return paths


def coco_folders(folder: Path, files: list[Path]) -> list[Path]:
    """A folder in COCO's format, the same with other annotations, and with images that are missing or damaged."""
    found = [write_coco(folder / "coco" / "good", GOOD, GOOD)]
    for index, file in enumerate(files[1:80:4]):
        found.append(write_coco(folder / "coco" / str(index), GOOD, GOOD))
        (found[-1] / "annotations" / "instances_train.json").write_bytes(file.read_bytes())
    for name, change in {
        "gone": lambda path: path.unlink(), "cut": lambda path: path.write_bytes(path.read_bytes()[:50]),
        "other size": lambda path: Image.new("RGB", (7, 9)).save(path),
        "grey": lambda path: Image.new("L", (30, 20)).save(path),
    }.items():  # fmt: skip
        found.append(write_coco(folder / "coco" / name, GOOD, GOOD))
        change(found[-1] / "train" / "2.png")
    crowds = GOOD | {"annotations": [each | {"iscrowd": 1} for each in GOOD["annotations"]]}
    twice = GOOD | {"images": [*GOOD["images"], GOOD["images"][0] | {"id": 99}]}
    inside = GOOD | {"images": [each | {"file_name": f"train/{each['file_name']}"} for each in GOOD["images"]]}
    for name, train, val in (
        ("crowds", crowds, GOOD),
        ("val", GOOD, crowds),
        ("twice", twice, GOOD),
        ("in", inside, GOOD),
    ):
        found.append(write_coco(folder / "coco" / name, train, val))
    (folder / "coco" / "empty").mkdir()
    return [*found, folder / "coco" / "empty", folder / "no-such-folder", files[0]]


def ade20k_folders(folder: Path) -> list[Path]:
    """Folders of images and class numbers: the good one, then with annotations of other modes, sizes and numbers."""
    found = [write_ade20k(folder / "ade20k" / "good")]
    for mode in ("1", "LA", "P", "RGB", "RGBA", "I;16"):
        found.append(write_ade20k(folder / "ade20k" / mode))
        Image.new(mode, (30, 20)).save(found[-1] / "annotations" / "training" / "2.png")
    for name, numbers in {
        "other size": np.ones((9, 7), np.uint8), "high": np.full((20, 30), 9, np.uint8),
        "unknown": np.full((20, 30), 255, np.uint8),
    }.items():  # fmt: skip
        found.append(write_ade20k(folder / "ade20k" / name))
        (found[-1] / "classes.txt").write_text("a\nb\nc\nd")
        Image.fromarray(numbers).save(found[-1] / "annotations" / "training" / "2.png")
    found.append(write_ade20k(folder / "ade20k" / "nothing known"))
    (found[-1] / "classes.txt").write_text("a\nb")
    for path in (found[-1] / "annotations" / "validation").iterdir():
        Image.fromarray(255 * (columns() > 2).astype(np.uint8)).save(path)
    for name, text in {"names": b"a\nb", "bytes": b"\xff\xff", "one": b"a", "twice": b"a\na\nb\nc"}.items():
        found.append(write_ade20k(folder / "ade20k" / name))
        (found[-1] / "classes.txt").write_bytes(text)
    return [*found, folder / "no-such-folder", folder]


def cutout_folders(folder: Path, pictures: list[Path]) -> list[Path]:
    """Folders of cut-outs: the good one, then with few, without any, and with damaged and odd pictures."""
    found = [write_cutouts(folder / "cutouts" / "good")]
    found.append(write_cutouts(folder / "cutouts" / "few", count=1))
    found.append(write_cutouts(folder / "cutouts" / "flat", classes=(".",)))
    found.append(write_cutouts(folder / "cutouts" / "odd"))
    for picture in pictures[::3]:
        (found[-1] / "fish" / picture.name).write_bytes(picture.read_bytes())
    (folder / "cutouts" / "empty" / "fish").mkdir(parents=True)
    found.append(write_cutouts(folder / "cutouts" / "background", classes=("background", "fish")))
    return [*found, folder / "cutouts" / "empty", folder / "no-such-folder", pictures[0]]


def read_all(data: Split) -> None:
    """Read every image and label that the search for broken files leaves in a data set."""
    for images in data.parts.values():
        assert isinstance(images, ImageFolder)
        for index in range(len(images)):
            try:
                images.check(index)
            except DataError:
                continue
            height, width = images.image(index).shape[1:]
            label = images.label(index)
            if data.kind == "objects":
                boxes = label["boxes"]
                assert len(boxes) == len(label["labels"]) == len(label["masks"])
                assert ((boxes[:, 2:] > boxes[:, :2]).all() and boxes.min() >= 0) or not len(boxes)
                assert (boxes <= boxes.new_tensor([width, height, width, height])).all()
                assert label["masks"].shape[1:] == (height, width)
                assert set(label["masks"].unique().tolist()) <= {0, 1}
                assert set(label["labels"].tolist()) <= set(range(1, len(data.classes) + 1))
            else:
                assert label.shape == (height, width)
                assert set(label.unique().tolist()) <= {*range(len(data.classes)), 255}
