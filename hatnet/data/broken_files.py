"""Find image files that cannot be read, before a long training meets them."""

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from itertools import chain
from pathlib import Path

from hatnet.data.image_folder import ImageFolder
from hatnet.data.images import DataError
from hatnet.files import json_bytes, read_json, write_whole

CHECKS = 3  # version: it changes if a file that passed may fail now, so that all files are read again
Step = Callable[[str], None]  # called after each file, for a progress bar


def broken_files(images: ImageFolder, cache: Path, workers: int = 8, step: Step = lambda _: None) -> list[Path]:
    """Decode every image once, with its label if that is in a file, and return the images that fail.

    The result is kept in the folder `cache`, in the file `result_file`, as long as the files keep their names, sizes
    and times, however their folder is spelled, and are checked for the same. Files recorded as broken are tried again,
    since their disk may have been away. Raises OSError if `cache` cannot be written, before any image is read.
    """
    record = result_file(images, cache)
    known = _kept(record, len(images))
    if known is not None:
        broken = _unreadable(images, known, workers)
    else:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=cache):  # an hour of reading must not end in a result that cannot be kept
            pass
        broken = _unreadable(images, range(len(images)), workers, step)
    paths = [images.paths[index] for index in broken]
    if broken != known:  # a later run reads the indices; the paths, which it may spell differently, are for people
        facts = {"images": len(images), "broken": broken, "files": [str(path) for path in paths]}
        write_whole(record, json_bytes(facts))
    return paths


def _kept(record: Path, count: int) -> list[int] | None:
    """The indices in a record; None if there is none, or it is damaged, so that all files are read again."""
    try:
        found = read_json(record, most=2**30)["broken"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    wanted = isinstance(found, list) and all(type(index) is int and 0 <= index < count for index in found)
    return found if wanted else None


def result_file(images: ImageFolder, cache: Path) -> Path:
    """The JSON file in which `broken_files` keeps its result for these files."""
    digest = blake2b(f"{CHECKS} {images.checked_as()}".encode(), digest_size=8)
    for path in chain.from_iterable(images.files(index) for index in range(len(images))):
        try:
            status = path.stat()
            size, time = status.st_size, status.st_mtime_ns
        except OSError:  # a dangling link is a broken file like others
            size, time = -1, 0
        digest.update(os.fsencode(os.path.realpath(path)) + f" {size} {time}\n".encode())
    return cache / f"broken-files-{digest.hexdigest()}.json"


def why_broken(images: ImageFolder, path: Path) -> str:
    """The reason why the image at `path` is left out, with its path; the path alone if it can be read by now."""
    try:
        images.check(images.paths.index(path))
    except DataError as error:
        reason = str(error) if str(path) in str(error) else f"{path}: {error}"
        return reason.encode(errors="backslashreplace").decode()  # names on disk need not be valid Unicode
    return str(path)


def _unreadable(images: ImageFolder, indices: Sequence[int], workers: int, step: Step = lambda _: None) -> list[int]:
    def is_readable(index: int) -> bool:
        try:
            images.check(index)
        except DataError:
            return False
        return True

    broken = []
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(indices), 1000):  # a million waiting files would take gigabytes
            some = indices[start : start + 1000]
            for index, readable in zip(some, pool.map(is_readable, some), strict=True):
                if not readable:
                    broken.append(index)
                step(images.paths[index].name)
    return broken
