"""Data sets in COCO's format: images in folders, and a JSON file with boxes and masks for each part."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from hashlib import blake2b
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hatnet.checks import require_choice
from hatnet.data.coco_json import Annotations, Record, read_annotations
from hatnet.data.image_folder import IMAGENET_MEAN, IMAGENET_STD, ImageFolder
from hatnet.data.images import BACKGROUND, KINDS, UNKNOWN, DataError, Split

DENSE = ("segmentation", "detection", "instances")
TURNED = (
    "If the image's EXIF data turn it, it is read upright: annotate it upright, with its height and width exchanged in "
    "the JSON file, or remove the EXIF data from the image, for example with exiftool -Orientation= FILE."
)
LOOKED_AT = 100  # images: if none of the first is there, the folder is the wrong one


class CocoImages(ImageFolder):
    """Image files with the annotations of one part; `label` is what `task` needs, as `Images.label` describes."""

    def __init__(
        self, folder: Path, annotations: Annotations, task: str, chosen: Sequence[int] | None = None,
        left_out: Iterable[int] = (),
    ) -> None:  # fmt: skip
        """`chosen`: positions in `annotations`; None for all."""
        require_choice("task", task, DENSE)
        self.folder, self.annotations, self.task = folder, annotations, task
        self.chosen = list(range(len(annotations.images)) if chosen is None else chosen)
        paths = [folder / annotations.images[place]["file_name"] for place in self.chosen]
        super().__init__(paths, torch.zeros(len(paths), dtype=torch.int64), left_out)
        self._labels = {number: label for label, number in enumerate(annotations.categories, start=1)}

    def image(self, index: int) -> Tensor:
        """One image, (3, H, W), uint8. Raises DataError if it cannot be read, or has not the size in the JSON file."""
        pixels, expected = super().image(index), self._size(index)
        if tuple(pixels.shape[1:]) != expected:
            height, width = pixels.shape[1:]
            turned = f" {TURNED}" if (width, height) == expected else ""
            raise DataError(
                f"{self.paths[index]} has {height} x {width} pixels, but {self.annotations.path} gives "
                f"{expected[0]} x {expected[1]} for its id {self.image_id(index)}.{turned}"
            )
        return pixels

    def label(self, index: int) -> Any:
        """A mask of classes, or the objects of one image without its crowds. Detection has no masks.

        Raises DataError, naming the annotation, if a mask cannot be decoded.
        """
        return self._segmentation(index) if self.task == "segmentation" else self._objects(index)

    def image_id(self, index: int) -> int:
        """The image's id in the JSON file."""
        number: int = self.annotations.images[self.chosen[index]]["id"]
        return number

    def objects(self, index: int) -> list[Record]:
        """The checked annotations of one image, crowds included."""
        return self.annotations.of_image[self.chosen[index]]

    def ground_truth(self) -> Any:
        """A `pycocotools.coco.COCO` with these images and all their annotations, crowds included, for `COCOeval`.

        Annotations are numbered from 1, because COCOeval counts a match with the id 0 as a miss. Categories have the
        numbers that `label` uses.
        """
        from pycocotools.coco import COCO

        annotations = [record for index in range(len(self)) for record in self.objects(index)]
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": [self.annotations.images[place] for place in self.chosen],
            "annotations": [
                _as_in_json(record) | {"id": number, "category_id": self._labels[record["category_id"]]}
                for number, record in enumerate(annotations, start=1)
            ],
            "categories": [
                {"id": self._labels[id_], "name": name} for id_, name in self.annotations.categories.items()
            ],
        }
        with redirect_stdout(StringIO()):
            coco.createIndex()
        return coco

    def files(self, index: int) -> tuple[Path, ...]:
        return self.paths[index], self.annotations.path

    def check(self, index: int) -> None:
        self.image(index)
        self.label(index)

    def checked_as(self) -> str:
        return self.task

    def content(self) -> bytes:
        """Names, sizes and annotations of the images, without the path of the folder."""
        digest = blake2b(digest_size=16)
        for index in range(len(self)):
            digest.update(repr((self.annotations.images[self.chosen[index]], self.objects(index))).encode())
        return digest.digest()

    def _chosen(self, indices: Sequence[int], left_out: Iterable[int]) -> CocoImages:
        chosen = [self.chosen[index] for index in indices]
        return CocoImages(self.folder, self.annotations, self.task, chosen, left_out)

    def _size(self, index: int) -> tuple[int, int]:
        image = self.annotations.images[self.chosen[index]]
        return image["height"], image["width"]

    def _objects(self, index: int) -> dict[str, Tensor]:
        from torchvision import tv_tensors

        records = [record for record in self.objects(index) if not record["iscrowd"]]
        masks = self._masks(index, records) if self.task == "instances" else None
        boxes = torch.tensor([record["bbox"] for record in records], dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]  # in float64, so that no box ends outside its image
        found: dict[str, Tensor] = {
            "boxes": tv_tensors.BoundingBoxes(boxes.float(), format="XYXY", canvas_size=self._size(index)),
            "labels": torch.tensor([self._labels[record["category_id"]] for record in records], dtype=torch.int64),
            "image_id": torch.tensor(self.image_id(index)),
        }
        return found if masks is None else found | {"masks": tv_tensors.Mask(torch.from_numpy(masks))}

    def _segmentation(self, index: int) -> Tensor:
        """Class k for the objects of category k, 0 for the background, UNKNOWN where classes overlap.

        A crowd stands for objects that are not annotated one by one: UNKNOWN, except where an object is annotated.
        """
        from torchvision import tv_tensors

        records = self.objects(index)
        painted, crowds = np.zeros(self._size(index), np.int64), np.zeros(self._size(index), bool)
        for record, mask in zip(records, self._masks(index, records).astype(bool), strict=True):
            label = self._labels[record["category_id"]]
            if record["iscrowd"]:
                crowds |= mask
            else:
                painted[mask] = np.where((painted[mask] == 0) | (painted[mask] == label), label, UNKNOWN)
        painted[crowds & (painted == 0)] = UNKNOWN
        return tv_tensors.Mask(torch.from_numpy(painted))

    def _masks(self, index: int, records: Sequence[Record]) -> NDArray[np.uint8]:
        """(N, H, W), zeros and ones."""
        height, width = self._size(index)
        masks = np.zeros((len(records), height, width), np.uint8)
        for record, mask in zip(records, masks, strict=True):
            try:
                mask[:] = decode(record["segmentation"], height, width)
            except (ValueError, TypeError, MemoryError, IndexError) as error:
                raise DataError(
                    f"{self.annotations.path}: the mask of annotation {record['id']} cannot be decoded: {error}"
                ) from error
        return masks


def _as_in_json(record: Record) -> Record:
    polygons = record.get("segmentation")
    return record | {"segmentation": [list(each) for each in polygons]} if isinstance(polygons, list) else record


def decode(segmentation: Any, height: int, width: int) -> NDArray[np.uint8]:
    """A mask (H, W) of zeros and ones from polygons or run lengths that `read_annotations` has checked."""
    from pycocotools import mask

    if isinstance(segmentation, list):
        return mask.decode(mask.merge(mask.frPyObjects(segmentation, height, width)))
    if isinstance(segmentation["counts"], list):
        return mask.decode(mask.frPyObjects(segmentation, height, width))
    return mask.decode(segmentation)


def open_coco(root: Path, task: str) -> Split:
    """Open `root/annotations/instances_train*.json` and `instances_val*.json`, with images in `root/train*` and `val*`.

    Raises DataError if a file or folder is missing or there are several, if the parts differ in their categories, and
    as `read_annotations` does; ModuleNotFoundError without pycocotools.
    """
    train, test = (_part(root, part, task) for part in ("train", "val"))
    if train.annotations.categories != test.annotations.categories:
        different = set(train.annotations.categories.items()) ^ set(test.annotations.categories.items())
        raise DataError(
            f"{train.annotations.path} and {test.annotations.path} must have the same categories; only in one of them: "
            + ", ".join(f"{number} {name}" for number, name in sorted(different)[:10])
        )
    note = "\n".join(filter(None, (train.annotations.note, test.annotations.note)))
    return _split(root, task, train, test, note)


def open_test_coco(root: Path, task: str) -> Split:
    """Open only what is to be tested, `val`; `train` is the test part. Raises as `open_coco` does."""
    test = _part(root, "val", task)
    return _split(root, task, test, test, test.annotations.note)


def _split(root: Path, task: str, train: CocoImages, test: CocoImages, note: str) -> Split:
    names = tuple(train.annotations.categories.values())
    if task == "segmentation":
        if BACKGROUND in names:
            raise DataError(f"{train.annotations.path}: a category may not be called {BACKGROUND!r}; rename it")
        if len(names) >= UNKNOWN:
            raise DataError(f"{train.annotations.path} has {len(names)} categories; segmentation takes at most 254")
        names = (BACKGROUND, *names)
    return Split(f"coco:{root}", train, test, names, IMAGENET_MEAN, IMAGENET_STD, note=note, kind=KINDS[task])


def _part(root: Path, part: str, task: str) -> CocoImages:
    import pycocotools.mask  # noqa: F401 its absence should be an error now, not in the first batch

    root = Path(root)
    require_choice("task", task, DENSE)
    if not root.is_dir():
        raise DataError(f"no folder {root}: coco: needs the path of a folder with annotations, train and val in it")
    files = sorted((root / "annotations").glob(f"instances_{part}*.json"))
    if len(files) != 1:
        found = f"{len(files)} files: {', '.join(path.name for path in files)}" if files else "none"
        raise DataError(f"{root / 'annotations'} must hold one file instances_{part}*.json; found {found}")
    folder = root / files[0].stem.removeprefix("instances_")
    if not folder.is_dir():
        raise DataError(f"no folder {folder} with the images of {files[0]}")
    images = CocoImages(folder, read_annotations(files[0], masks=task != "detection"), task)
    if not any(os.path.lexists(path) for path in images.paths[:LOOKED_AT]):
        raise DataError(
            f"none of the first images of {files[0]} is there, such as {images.paths[0]}; a file_name must be a path "
            f"in {folder}"
        )
    return images
