"""Folders of images, one folder a class, checked before they are trained on."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import blake2b
from itertools import compress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hatnet.data.image_file import open_image
from hatnet.data.images import DataError, Split
from hatnet.files import write_whole

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff"})


class ImageFolder:
    """Image files with labels; a file is read when its image is asked for.

    Args:
        paths: of the files.
        labels: one a file.
        left_out: places of those that are not here, among all that there were.
    """

    def __init__(self, paths: Sequence[Path], labels: Tensor, left_out: Iterable[int] = ()) -> None:
        self.paths = list(paths)
        self.labels = labels
        self.left_out = sorted(left_out)

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Tensor:
        """One image, (3, H, W), uint8.

        Raises:
            DataError: if the file can't be read as an image.
        """
        return read_image(self.paths[index])

    def content(self) -> bytes:
        """The names of the files and of the folders they are in, wherever the whole may lie."""
        return b"\n".join(os.fsencode(Path(*path.parts[-2:])) for path in self.paths)

    def without(self, broken: Collection[Path]) -> ImageFolder:
        """The same images but for some files."""
        return self._keep([path not in broken for path in self.paths])

    def without_places(self, places: Iterable[int]) -> ImageFolder:
        """The same, by their places among all files that there were; those left out already stay so."""
        gone = set(places)
        return self._keep([place not in gone for place in self._places()])

    def _keep(self, which: Sequence[bool]) -> ImageFolder:
        left_out = {place for place, keep in zip(self._places(), which, strict=True) if not keep}
        return ImageFolder(list(compress(self.paths, which)), self.labels[list(which)], left_out.union(self.left_out))

    def _places(self) -> list[int]:
        gone = set(self.left_out)
        return [place for place in range(len(self.paths) + len(gone)) if place not in gone]


def left_out(data: Split) -> dict[str, list[int]]:
    """Of each part in files the places that it goes without, for `leave_out`."""
    parts = {"train": data.train, "test": data.test}
    return {name: images.left_out for name, images in parts.items() if isinstance(images, ImageFolder)}


def leave_out(data: Split, places: Mapping[str, Sequence[int]]) -> Split:
    """A data set that goes without the same files as the one `left_out` was asked about, whichever can be read now."""
    train, test = (
        images.without_places(places.get(name, ())) if isinstance(images, ImageFolder) else images
        for name, images in (("train", data.train), ("test", data.test))
    )
    return replace(data, train=train, test=test)


def open_folder(root: Path) -> Split:
    """Open `root/train` and `root/val` (or `root/test`), a folder of images for each class in both.

    Raises:
        DataError: if a folder is missing, the classes of the two differ, or a class has no images.
    """
    train = root / "train"
    test = root / "val" if (root / "val").is_dir() else root / "test"
    for part in (train, test):
        if not part.is_dir():
            raise DataError(
                f"no folder {part}: {root} must hold train and val (or test), each with a folder of images a class"
            )
    classes = _classes(train)
    different = sorted(set(classes) ^ set(_classes(test)))
    if different:
        raise DataError(
            f"{train} and {test} must have the same class folders; only in one of them ({len(different)}): "
            + ", ".join(different[:10])
        )
    return Split(
        f"folder:{root}",
        _images(train, classes),
        _images(test, classes),
        classes,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def read_image(path: Path) -> Tensor:
    """A file as (3, H, W), uint8, turned upright.

    Raises:
        DataError: if it can't be read as an image.
    """
    try:
        pixels = np.array(open_image(path, "RGB"))
    except (OSError, ValueError) as error:
        raise DataError(str(error)) from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def broken_files(
    images: ImageFolder, cache: Path, workers: int = 8, step: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """Decode every image once, and name the files that can't be.

    The answer is kept in the folder `cache`, in the file `answer_file`, for as long as the files have the same names,
    sizes and times. It counts for every way to spell the folder that they are in. Of its broken files each is looked at
    again, since a disk may have been away.

    Args:
        images: what to look at.
        cache: where answers are kept.
        workers: threads that decode.
        step: called after each file, for a progress bar.

    Raises:
        OSError: if nothing can be written to `cache`, before a file is read.
    """
    record = answer_file(images, cache)
    if record.is_file():
        known = json.loads(record.read_text())["broken"]
        broken = _unreadable(images.paths, known, workers)
        if broken != known:
            _keep_answer(record, images, broken)
        return [images.paths[index] for index in broken]
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=cache):  # an hour of reading should not end in an answer that can't be kept
        pass
    broken = _unreadable(images.paths, range(len(images)), workers, step)
    _keep_answer(record, images, broken)
    return [images.paths[index] for index in broken]


def answer_file(images: ImageFolder, cache: Path) -> Path:
    """Where `broken_files` keeps its answer about these files: JSON, with every broken file."""
    return cache / f"broken-files-{_fingerprint(images.paths)}.json"


def _unreadable(
    paths: Sequence[Path], indices: Sequence[int], workers: int, step: Callable[[str], None] = lambda _: None
) -> list[int]:
    """Those of the indices whose files can't be decoded."""
    broken = []
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(indices), 1000):  # a million waiting files would take gigabytes
            some = indices[start : start + 1000]
            for index, readable in zip(some, pool.map(_is_readable, (paths[index] for index in some)), strict=True):
                if not readable:
                    broken.append(index)
                step(paths[index].name)
    return broken


def _keep_answer(record: Path, images: ImageFolder, broken: Sequence[int]) -> None:
    """Places are read again, since another run may spell the paths in another way; paths are for people."""
    files = [str(images.paths[index]) for index in broken]
    write_whole(record, json.dumps({"images": len(images), "broken": broken, "files": files}, indent=2).encode())


def _is_readable(path: Path) -> bool:
    try:
        read_image(path)
    except DataError:
        return False
    return True


def _fingerprint(paths: Sequence[Path]) -> str:
    digest = blake2b(digest_size=8)
    for path in paths:
        try:
            status = path.stat()
            size, time = status.st_size, status.st_mtime_ns
        except OSError:  # a link that leads nowhere: a broken file like others
            size, time = -1, 0
        digest.update(f"{os.path.realpath(path)} {size} {time}\n".encode())
    return digest.hexdigest()


def _classes(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")))


def _images(folder: Path, classes: Sequence[str]) -> ImageFolder:
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = list(_image_files(folder / name))
        if not found:
            raise DataError(f"no images in {folder / name}; known endings: {', '.join(sorted(SUFFIXES))}")
        paths += found
        labels += [label] * len(found)
    return ImageFolder(paths, torch.tensor(labels))


def _image_files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES)
