"""Images in folders: one folder per class, in parts for training, validation and test, or all together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from hatnet.data.image_file import open_image
from hatnet.data.images import DataError, Split
from hatnet.data.photo import MEAN, STD
from hatnet.data.split_off import split_off

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff"})
PARTS = ("train", "val", "test")
MOST_ELONGATED = 50  # longer side over shorter side; resizing the shorter side of more could exhaust memory
LIKE_PARTS = frozenset({*PARTS, "training", "valid", "validation", "testing"})  # in any case, unlikely as classes
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
        """One image, (3, H, W), uint8; raises what `read_image` raises, and DataError if it is too elongated."""
        pixels = read_image(self.paths[index])
        height, width = pixels.shape[1:]
        if max(height, width) > MOST_ELONGATED * min(height, width):
            raise DataError(
                f"{self.paths[index]} has {height} x {width} pixels, one side more than {MOST_ELONGATED} times the "
                "other; crop it"
            )
        return pixels

    def label(self, index: int) -> Tensor:
        return self.labels[index]

    def content(self) -> bytes:
        """The names of all files with their class folders, without the path of the root folder."""
        return b"\n".join(os.fsencode(Path(*path.parts[-2:])) for path in self.paths)

    def files(self, index: int) -> tuple[Path, ...]:
        """The files that one image and its label are read from."""
        return (self.paths[index],)

    def check(self, index: int) -> None:
        """Read one image, and its label if that is in a file. Raises DataError if one of them cannot be read."""
        self.image(index)

    def checked_as(self) -> str:
        """What `check` depends on, besides the files."""
        return ""

    def part(self, indices: Tensor) -> Self:
        """The images at `indices`, in that order, as a folder of their own."""
        return self._chosen(indices.tolist(), ())

    def _chosen(self, indices: Sequence[int], left_out: Iterable[int]) -> Self:
        return type(self)([self.paths[index] for index in indices], self.labels[list(indices)], left_out)

    def without(self, broken: Collection[Path]) -> Self:
        places = zip(self._places(), self.paths, strict=True)
        return self.without_places(place for place, path in places if path in broken)

    def without_places(self, places: Iterable[int]) -> Self:
        """The same images without the files at `places`, counted among all files. Files left out before stay out."""
        gone = set(places)
        kept = [index for index, place in enumerate(self._places()) if place not in gone]
        return self._chosen(kept, gone.union(self.left_out))

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
    part. Without parts, a fifth of each class is split off for the test, the same one at every call. The note says what
    is not used: other folders, and files that are no images.

    Raises DataError if a folder is missing, the parts differ in their classes, there are fewer than two classes, or a
    class has too few images.
    """
    _require_folder(root)
    found = {part: root / part for part in PARTS if (root / part).is_dir()}
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
    _require_names(root, classes)
    (training, *tested), others = zip(*(_images(part, classes) for part in (train, *tests)), strict=True)
    validation = tested[0] if len(tested) == 2 else None
    note = _not_used(root, (train, *tests), [*chain(*others)], [name for name in _classes(root) if name not in found])
    return Split(f"folder:{root}", training, tested[-1], classes, IMAGENET_MEAN, IMAGENET_STD, validation, note)


def open_test_folder(root: Path) -> Split:
    """Open only what is to be tested: all images of `root/test`, else of `root/val`, else of class folders in `root`.

    The training images, which may be many or elsewhere, are not looked for; `train` is the test part. Raises as
    `open_folder` does.
    """
    _require_folder(root)
    part = next((root / name for name in ("test", "val") if (root / name).is_dir()), root)
    if not _classes(part):
        raise DataError(f"no class folders in {part}: give a folder with one folder of images per class, or val in it")
    classes = _classes(part)
    _require_names(part, classes)
    images, others = _images(part, classes)
    note = _not_used(part, [part], others)
    return Split(f"folder:{root}", images, images, classes, IMAGENET_MEAN, IMAGENET_STD, note=note)


def _require_folder(root: Path) -> None:
    if not root.is_dir():
        raise DataError(
            f"no folder {root}: folder: needs the path of a folder with class folders in it, or train and val"
        )


def _open_without_parts(root: Path) -> Split:
    classes = _classes(root)
    parts = [name for name in classes if name.lower() in LIKE_PARTS]
    if len(parts) > 1:  # a network would learn to tell the parts apart
        raise DataError(
            f"{root} has the folders {', '.join(parts)}, which look like parts: call them train and val (or test), "
            "in small letters"
        )
    _require_names(root, classes)
    images, others = _images(root, classes)
    train, test = split_off(images, TEST_FRACTION, 0, classes, "the test")
    note = (
        f"{root} has no train and test folders: {len(test):,} of its images, a fifth of each class, are split off for "
        "the test, always the same ones. Images of one scene may be in both parts, which makes the test too easy."
    )
    note = "\n".join(filter(None, (note, _not_used(root, [root], others))))
    drawn_from = blake2b(images.content(), digest_size=8).hexdigest()
    name = f"folder:{root}"
    return Split(name, train, test, classes, IMAGENET_MEAN, IMAGENET_STD, note=note, drawn_from=drawn_from)


def read_image(path: Path) -> Tensor:
    """Read a file as (3, H, W), uint8, rotated upright. Raises DataError if it cannot be read as an image."""
    try:
        pixels = np.array(open_image(path, "RGB"))
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _classes(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")))


def _require_names(root: Path, classes: Sequence[str]) -> None:
    """Raise a DataError unless there are two classes, with names that a weights file can hold."""
    bad = [name for name in classes if not name.isprintable()]  # control characters, or no Unicode at all
    if bad:
        raise DataError(f"{root} has a class folder with unprintable characters in its name, {bad[0]!r}: rename it")
    if len(classes) < 2:
        raise DataError(f"{root} has one class folder, {', '.join(classes)}: a classifier needs at least two")


def files_in(folder: Path) -> list[Path]:
    """All files in a folder and its subfolders, sorted. Links are followed, each folder is taken once, hidden are not.

    Hidden files are those whose names, or the names of their folders, start with a dot.
    """
    found, seen = [], set()
    for where, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(where)
        folders[:] = [] if real in seen else [name for name in folders if not name.startswith(".")]
        if real not in seen:
            found += [Path(where, name) for name in names if not name.startswith(".")]
        seen.add(real)
    return sorted(found)


def is_image_name(path: Path) -> bool:
    """Whether the file extension is that of a supported format."""
    return path.suffix.lower() in SUFFIXES


def _not_used(root: Path, parts: Iterable[Path], others: Sequence[Path], folders: Sequence[str] = ()) -> str:
    """A sentence about images beside the class folders, other files in them, and other folders; empty without any."""
    beside = [path for part in parts for path in part.iterdir() if path.is_file() and is_image_name(path)]
    kinds = Counter(path.suffix.lower() or "without extension" for path in others).most_common(5)
    unused = [
        f"the folders {', '.join(folders[:10])}" if folders else "",
        f"{len(beside):,} images outside class folders, such as {beside[0].name}" if beside else "",
        f"{len(others):,} other files ({', '.join(kind for kind, _ in kinds)})" if others else "",
    ]
    return f"Not used in {root}: {'; '.join(filter(None, unused))}." if any(unused) else ""


def _images(folder: Path, classes: Sequence[str]) -> tuple[ImageFolder, list[Path]]:
    """The images of all classes, and the files in their folders that are no images."""
    paths, labels, others = [], [], []
    for label, name in enumerate(classes):
        found = files_in(folder / name)
        images = [path for path in found if is_image_name(path)]
        if not images:
            raise DataError(f"no images in {folder / name}; supported file extensions: {', '.join(sorted(SUFFIXES))}")
        paths += images
        labels += [label] * len(images)
        others += [path for path in found if not is_image_name(path)]
    return ImageFolder(paths, torch.tensor(labels)), others
