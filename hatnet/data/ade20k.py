"""Segmentation data in folders like those of ADE20K (ADEChallengeData2016): images, and PNG files of class numbers."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hatnet.data.image_file import size_of_image
from hatnet.data.image_folder import IMAGENET_MEAN, IMAGENET_STD, ImageFolder, files_in, is_image_name
from hatnet.data.images import UNKNOWN, DataError, Split, too_many

if TYPE_CHECKING:
    from PIL import Image

NAMES = "objectInfo150.txt"  # of ADE20K: a header, then lines of index, ratio, train, val and name between tabs
OWN_NAMES = "classes.txt"  # of one's own: one name per line
PARTS = {"training": "training", "validation": "test"}  # folders, and the parts of a data set
MOST_CLASSES = UNKNOWN - 1
NO_CLASS = (0, UNKNOWN)  # class numbers in files that mean unknown
SCALES = {"L;2": 85, "L;4": 17}  # by which Pillow multiplies grey of 2 and 4 bits
NUMBERS = ("1", "L", "P", "I;16", "I;16B", "I")  # modes of Pillow that keep the numbers of a file


class SegmentationFolder(ImageFolder):
    """Image files with one PNG file of class numbers each: 1 to `classes`, and 0 or 255 where the class is unknown."""

    def __init__(
        self, paths: Iterable[Path], annotations: Iterable[Path], classes: int, left_out: Iterable[int] = ()
    ) -> None:
        paths = list(paths)
        super().__init__(paths, torch.zeros(len(paths), dtype=torch.int64), left_out)
        self.annotations, self.classes = list(annotations), classes

    def label(self, index: int) -> Tensor:
        """A `tv_tensors.Mask`, (H, W) int64: classes from 0, and UNKNOWN where the file has 0 or 255.

        Raises DataError if the file cannot be read, has a number above the classes, no class at all, or another size
        than its image.
        """
        from torchvision import tv_tensors

        path = self.annotations[index]
        numbers = read_numbers(path)
        highest = _highest_class(numbers)
        if highest > self.classes:
            raise DataError(f"{path} has the class number {highest}, but there are {self.classes} classes")
        try:
            size = size_of_image(self.paths[index])
        except (OSError, ValueError) as error:
            raise DataError(str(error)) from error
        if numbers.shape != size:
            (height, width), (expected, across) = numbers.shape, size
            turned = (
                ". If the image's EXIF data turn it, it is read upright: turn the PNG file, or remove the EXIF data"
                if (width, height) == size
                else ""
            )
            raise DataError(
                f"{path} has {height} x {width} pixels, but its image {self.paths[index]} {expected} x {across}{turned}"
            )
        unknown = np.isin(numbers, NO_CLASS)
        if unknown.all():
            raise DataError(f"{path} has no pixel of a known class: it has only 0 and 255, which mean unknown")
        return tv_tensors.Mask(torch.from_numpy(np.where(unknown, UNKNOWN, numbers - 1)))

    def files(self, index: int) -> tuple[Path, ...]:
        return self.paths[index], self.annotations[index]

    def check(self, index: int) -> None:
        self.image(index)
        self.label(index)

    def checked_as(self) -> str:
        return f"{self.classes} classes"

    def _chosen(self, indices: Sequence[int], left_out: Iterable[int]) -> SegmentationFolder:
        paths, annotations = ([files[index] for index in indices] for files in (self.paths, self.annotations))
        return SegmentationFolder(paths, annotations, self.classes, left_out)


def read_numbers(path: Path) -> NDArray[np.int64]:
    """The class numbers in a PNG file, (H, W), as they are stored. Raises DataError if it has colours instead."""
    from PIL import Image

    try:
        with Image.open(path) as file:
            _require_numbers(file)
            scale = SCALES.get(str(file.tile[0].args), 1)
            return np.array(file).astype(np.int64) // scale
    except MemoryError:
        raise
    except Exception as error:  # damaged files make decoders fail in any way
        raise DataError(f"{path} cannot be read as a file of class numbers: {error}") from error


def _require_numbers(file: Image.Image) -> None:
    if file.format != "PNG":
        raise ValueError(f"it is in the format {file.format}; save it as PNG, which keeps all numbers")
    if file.mode not in NUMBERS:
        raise ValueError(f"its pixels are colours (mode {file.mode}); save one class number per pixel, in grey")


def _highest_class(numbers: NDArray[np.int64]) -> int:
    return int(numbers.max(initial=0, where=numbers != UNKNOWN))


def open_ade20k(root: Path) -> Split:
    """Open `root/images/training` and `validation`, with PNG files of the same names in `root/annotations`.

    Names of classes come from `objectInfo150.txt` or, one per line, from `classes.txt` in `root`. Without them, classes
    are called by their numbers. Images without annotation are left out, and the note counts them. Raises DataError if a
    folder is missing, more than a quarter of a part has no annotation, or there are more than 254 classes.
    """
    root = Path(root)
    files, notes = {}, []
    for part in PARTS:
        files[part], note = _pairs(root, part)
        notes.append(note)
    names = _names(root)
    if names is None:
        highest = _highest([path for pairs in files.values() for _, path in pairs])
        names, source = tuple(map(str, range(1, highest + 1))), "the highest class number in its annotations"
    else:
        source = "its list of names"
    if not 2 <= len(names) <= MOST_CLASSES:
        raise DataError(f"{root} has {len(names)} classes ({source}); a segmentation takes 2 to {MOST_CLASSES}")
    train, test = (
        SegmentationFolder([image for image, _ in pairs], [mask for _, mask in pairs], len(names))
        for pairs in files.values()
    )
    note = "\n".join(filter(None, notes))
    return Split(f"ade20k:{root}", train, test, names, IMAGENET_MEAN, IMAGENET_STD, note=note, kind="segmentation")


def _pairs(root: Path, part: str) -> tuple[list[tuple[Path, Path]], str]:
    """Images and their annotations, sorted, and a sentence about images without one."""
    folders = root / "images" / part, root / "annotations" / part
    for folder in folders:
        if not folder.is_dir():
            raise DataError(
                f"no folder {folder}: {root} must hold images/training, images/validation, annotations/training and "
                "annotations/validation"
            )
    images = [path for path in files_in(folders[0]) if is_image_name(path)]
    if not images:
        raise DataError(f"no images in {folders[0]}")
    wanted: dict[Path, Path] = {}
    for path in images:
        annotation = folders[1] / path.relative_to(folders[0]).with_suffix(".png")
        if annotation in wanted:
            raise DataError(f"{wanted[annotation]} and {path} have the same annotation {annotation}; rename one image")
        wanted[annotation] = path
    pairs = [(path, annotation) for annotation, path in wanted.items() if os.path.lexists(annotation)]
    lacking = len(images) - len(pairs)
    if not lacking:
        return pairs, ""
    first = next(annotation for annotation in wanted if not os.path.lexists(annotation))
    beside = next((path.name for path in first.parent.glob(f"{glob.escape(first.stem)}.*")), None)
    other = "" if beside is None else f" (there is {beside}, but it must end in .png)"
    words = f"{lacking:,} of {len(images):,} images in {folders[0]} have no annotation, such as {first}{other}"
    if too_many(lacking, len(images)):
        raise DataError(f"{words}. Give them annotations, or remove them")
    return pairs, f"{words}. They are left out."


def _names(root: Path) -> tuple[str, ...] | None:
    """The names of the classes; None if no file lists them."""
    for file, column in ((NAMES, -1), (OWN_NAMES, 0)):
        path = root / file
        if not path.is_file():
            continue
        try:
            lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} cannot be read as text: {error}") from error
        names = tuple(line.split("\t")[column].strip() for line in lines[column == -1 :])
        bad = [name for name in names if not name or not name.isprintable()]
        if bad or len(set(names)) < len(names):
            twice = next((name for name in names if names.count(name) > 1), None)
            raise DataError(f"{path} must have one printable name per class, each once; look at {[*bad, twice][0]!r}")
        return names
    return None


def _highest(paths: Sequence[Path]) -> int:
    """The highest class number in files; those that cannot be read are reported later."""

    def highest(path: Path) -> int:
        try:
            return _highest_class(read_numbers(path))
        except DataError:
            return 0

    with ThreadPoolExecutor() as pool:
        return max(pool.map(highest, paths))
