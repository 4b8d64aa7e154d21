"""Images in folders: one folder per class, in parts for training, validation and test, or all together."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import compress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hatnet.data.image_file import open_image
from hatnet.data.images import DataError, Split
from hatnet.data.photo import MEAN, STD
from hatnet.data.split_off import split_off

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff"})
TEST_FRACTION = 0.2  # split off for the test where a folder has no parts
IMAGENET_MEAN, IMAGENET_STD = tuple(MEAN.tolist()), tuple(STD.tolist())


class ImageFolder:
    """Image files, read on request, with labels, (files,) int64. `left_out`: positions among all of the folder."""

    def __init__(self, paths: Iterable[Path], labels: Tensor, left_out: Iterable[int] = ()) -> None:
        self.paths = list(paths)
        self.labels = labels
        self.left_out = sorted(left_out)

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Tensor:
        """One image, (3, H, W), uint8; raises as `read_image` does."""
        return read_image(self.paths[index])

    def label(self, index: int) -> Tensor:
        return self.labels[index]

    def content(self) -> bytes:
        """The names of all files with their class folders, without the path of the root folder."""
        return b"\n".join(os.fsencode(Path(*path.parts[-2:])) for path in self.paths)

    def part(self, indices: Tensor) -> ImageFolder:
        """The images at `indices`, in that order, as a folder of their own."""
        return ImageFolder([self.paths[index] for index in indices.tolist()], self.labels[indices])

    def without(self, broken: Collection[Path]) -> ImageFolder:
        places = zip(self._places(), self.paths, strict=True)
        return self.without_places(place for place, path in places if path in broken)

    def without_places(self, places: Iterable[int]) -> ImageFolder:
        """The same images without the files at `places`, counted among all files. Files left out before stay out."""
        gone = set(places)
        kept = [place not in gone for place in self._places()]
        return ImageFolder(compress(self.paths, kept), self.labels[kept], gone.union(self.left_out))

    def _places(self) -> list[int]:
        gone = set(self.left_out)
        return [place for place in range(len(self.paths) + len(gone)) if place not in gone]


def left_out(data: Split) -> dict[str, list[int]]:
    """Positions of the files that were left out, for each part in files. `leave_out` takes them."""
    parts = {"train": data.train, "validation": data.validation, "test": data.test}
    return {name: images.left_out for name, images in parts.items() if isinstance(images, ImageFolder)}


def leave_out(data: Split, places: Mapping[str, Sequence[int]]) -> Split:
    """Leave out the files at `places`, as returned by `left_out`, whether they can be read now or not."""
    return replace(data, **{part: getattr(data, part).without_places(indices) for part, indices in places.items()})


def open_folder(root: Path) -> Split:
    """Open a folder of images with one folder per class: in parts, or directly in `root`.

    Parts are `train` and `test` or `val`, which is then the test part too. With all three, `val` is the validation
    part. Without parts, a fifth of each class is split off for the test, the same one at every call.

    Raises DataError if a folder is missing, the parts differ in their classes, or a class has too few images.
    """
    found = {part: root / part for part in ("train", "val", "test") if (root / part).is_dir()}
    if not found and root.is_dir() and _classes(root):
        return _open_without_parts(root)
    tests = [found[part] for part in ("val", "test") if part in found]
    for part in (root / "train", tests[-1] if tests else root / "test"):
        if not part.is_dir():
            raise DataError(
                f"no folder {part}: {root} must hold train and val (or test), each with one folder of images per "
                "class, or such class folders alone"
            )
    train, classes = found["train"], _classes(found["train"])
    for part in tests:
        different = sorted(set(classes) ^ set(_classes(part)))
        if different:
            raise DataError(
                f"{train} and {part} must have the same class folders; only in one of them ({len(different)}): "
                + ", ".join(different[:10])
            )
    training, *tested = [_images(part, classes) for part in (train, *tests)]
    validation = tested[0] if len(tested) == 2 else None
    return Split(f"folder:{root}", training, tested[-1], classes, IMAGENET_MEAN, IMAGENET_STD, validation)


def _open_without_parts(root: Path) -> Split:
    classes = _classes(root)
    if len(classes) < 2:
        raise DataError(f"{root} has one class folder, {classes[0]}: a classifier needs at least two")
    train, test = split_off(_images(root, classes), TEST_FRACTION, 0, classes, "the test")
    note = (
        f"{root} has no train and test folders: {len(test):,} of its images, a fifth of each class, are split off for "
        "the test, always the same ones. Images of one scene may be in both parts, which makes the test too easy."
    )
    return Split(f"folder:{root}", train, test, classes, IMAGENET_MEAN, IMAGENET_STD, note=note)


def read_image(path: Path) -> Tensor:
    """Read a file as (3, H, W), uint8, rotated upright. Raises DataError if it cannot be read as an image."""
    try:
        pixels = np.array(open_image(path, "RGB"))
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _classes(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")))


def _images(folder: Path, classes: Sequence[str]) -> ImageFolder:
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = [path for path in sorted((folder / name).rglob("*")) if path.suffix.lower() in SUFFIXES]
        if not found:
            raise DataError(f"no images in {folder / name}; supported file extensions: {', '.join(sorted(SUFFIXES))}")
        paths += found
        labels += [label] * len(found)
    return ImageFolder(paths, torch.tensor(labels))
