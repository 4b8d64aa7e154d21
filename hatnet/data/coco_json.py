"""Read and check an annotation file in COCO's format (https://cocodataset.org/#format-data).

A file whose structure is wrong is refused. Single annotations that cannot be used are left out, counted and named.
"""

from __future__ import annotations

import os
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any, TypeGuard

from hatnet.checks import is_number, require_type, shown
from hatnet.data.images import DataError, too_many
from hatnet.files import read_json

Record = dict[str, Any]
Bounds = tuple[float, float, float, float]  # left, top, right, bottom

LARGEST_FILE = 2**32  # bytes; COCO's own training annotations have 450 MB
LARGEST_SIDE = 2**16
NAMED = 5  # faulty annotations, by their ids
THINNEST = 0.01  # pixels: thinner boxes have no area in float32, which detectors refuse in the middle of a training


@dataclass(frozen=True)
class Faults:
    """Annotations that are left out, with the reasons."""

    lines: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, which: object, reason: str, found: object) -> None:
        self.reasons[reason] += 1
        if len(self.lines) < NAMED:
            self.lines.append(f"annotation {which}: {reason} ({shown(found)})")

    @property
    def count(self) -> int:
        return self.reasons.total()

    def __str__(self) -> str:
        reasons = ", ".join(f"{count:,} x {reason}" for reason, count in self.reasons.most_common())
        return f"{reasons}. Such as {'; '.join(self.lines)}"


@dataclass(frozen=True)
class Annotations:
    """What a file holds, checked: images in ascending order of their ids, and the annotations of each image.

    Boxes are (x, y, width, height) in pixels, inside their image. Polygons are arrays of x and y in turn. `categories`
    maps ids to names, in ascending order.
    """

    path: Path
    images: list[Record]
    of_image: list[list[Record]]
    categories: dict[int, str]
    note: str  # annotations that were left out; empty if none were


def read_annotations(path: Path, masks: bool) -> Annotations:
    """Read and check a file. `masks`: annotations without a usable mask are left out.

    Raises DataError if the file is missing, is no JSON, lacks a part, holds an id or an image file twice, an image
    without name or size, or crowds only, and if more than a quarter of the annotations, or all, are faulty;
    ModuleNotFoundError for masks without pycocotools.
    """
    path = Path(path)
    require_type("masks", masks, bool, "True or False")
    content = _read(path)
    images, categories = _images(path, content["images"]), _categories(path, content["categories"])
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    of_image: dict[int, list[Record]] = {image["id"]: [] for image in images}
    faults, seen = Faults(), set()
    for index, annotation in enumerate(content["annotations"]):
        number = annotation.get("id") if isinstance(annotation, dict) else None
        if not _is_id(number):
            raise DataError(f"{path}: annotations[{index}] has no whole number as its id: {shown(annotation)}")
        if number in seen:
            raise DataError(f"{path}: the annotation id {number} is used twice; every annotation needs its own")
        seen.add(number)
        fault = _fault(annotation, sizes, categories, masks)
        if fault:
            faults.add(number, *fault)
        else:
            of_image[annotation["image_id"]].append(_checked(annotation, *sizes[annotation["image_id"]], masks))
    note = _verdict(path, faults, len(seen))
    if all(record["iscrowd"] for records in of_image.values() for record in records):
        raise DataError(f"{path} has crowds (iscrowd 1) only, so there is no object to learn or to find")
    return Annotations(path, images, list(of_image.values()), categories, note)


def _read(path: Path) -> Record:
    try:
        content = read_json(path, most=LARGEST_FILE)
    except FileNotFoundError as error:
        raise DataError(f"no file {path}") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}. Write or fetch it again") from error
    for part in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or not isinstance(content.get(part), list):
            raise DataError(f"{path} has no list {part!r}; COCO's format has images, annotations and categories")
    return content


def _images(path: Path, given: Sequence[Any]) -> list[Record]:
    """The images, in ascending order of their ids."""
    found: dict[int, Record] = {}
    files: dict[PurePosixPath, int] = {}
    for index, image in enumerate(given):
        where = f"{path}: images[{index}]"
        if not isinstance(image, dict) or not _is_id(image.get("id")):
            raise DataError(f"{where} has no whole number as its id: {shown(image)}")
        number, name = image["id"], image.get("file_name")
        if number in found:
            raise DataError(f"{path}: the image id {number} is used twice; every image needs its own")
        if not isinstance(name, str) or not _is_inside(name):
            raise DataError(f"{where} (id {number}): file_name={shown(name)} must be a path in the folder of images")
        other = files.setdefault(PurePosixPath(name), number)
        if other != number:  # each would lack the objects of the other
            raise DataError(f"{path}: the images {other} and {number} are the same file, {shown(name)}; make them one")
        for side in ("height", "width"):
            if not _is_id(image.get(side)) or not 0 < image[side] <= LARGEST_SIDE:
                raise DataError(
                    f"{where} (id {number}): {side}={shown(image.get(side))} must be a whole number of pixels"
                )
        found[number] = {key: image[key] for key in ("id", "file_name", "height", "width")}
    if not found:
        raise DataError(f"{path} has no images")
    return [found[number] for number in sorted(found)]


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    try:
        os.fsencode(name)
    except UnicodeEncodeError:  # JSON can hold halves of characters
        return False
    return bool(path.name) and "\0" not in name and not path.is_absolute() and ".." not in path.parts


def _categories(path: Path, given: Sequence[Any]) -> dict[int, str]:
    found: dict[int, str] = {}
    for index, category in enumerate(given):
        number = category.get("id") if isinstance(category, dict) else None
        name = category.get("name") if isinstance(category, dict) else None
        if not _is_id(number) or not isinstance(name, str) or not name or not name.isprintable():
            raise DataError(
                f"{path}: categories[{index}] needs a whole number as id and a printable name, got {shown(category)}"
            )
        if number in found or name in found.values():
            twice = f"id {number}" if number in found else f"name {name!r}"
            raise DataError(f"{path}: the category {twice} is used twice")
        found[number] = name
    if not found:
        raise DataError(f"{path} has no categories")
    return dict(sorted(found.items()))


def _is_id(value: object) -> TypeGuard[int]:
    return type(value) is int and -(2**63) <= value < 2**63


def _fault(
    annotation: Record, sizes: Mapping[int, tuple[int, int]], categories: Mapping[int, str], masks: bool
) -> tuple[str, object] | None:
    """The reason to leave an annotation out, and what was found; None for a good one."""
    image, category, box = (annotation.get(key) for key in ("image_id", "category_id", "bbox"))
    if not _is_id(image) or image not in sizes:
        return "unknown image_id", image
    if not _is_id(category) or category not in categories:
        return "unknown category_id", category
    if type(annotation.get("iscrowd", 0)) not in (int, bool) or annotation.get("iscrowd", 0) not in (0, 1):
        return "iscrowd is neither 0 nor 1", annotation["iscrowd"]
    height, width = sizes[image]
    reason = _box_fault(box, height, width)
    if reason:
        return f"its box {reason}", box
    reason = _mask_fault(annotation.get("segmentation"), box, height, width) if masks else None
    return (f"its mask {reason}", annotation.get("segmentation")) if reason else None


def _box_fault(box: object, height: int, width: int) -> str | None:
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(value) for value in box) or not _finite(box):
        return "is not four finite numbers"
    x, y, w, h = box
    if w <= 0 or h <= 0:
        return "has no area"
    inside_w, inside_h = min(x + w, width) - max(x, 0), min(y + h, height) - max(y, 0)
    if inside_w <= 0 or inside_h <= 0:
        return "is outside the image"
    if min(x, y) > -1 and x + w <= 1 and y + h <= 1:
        return "is within the first pixel, so its numbers are fractions instead of pixels"
    if min(inside_w, inside_h) < THINNEST:
        return "has no area"
    if 2 * inside_w * inside_h < w * h:  # (x1, y1, x2, y2) instead of (x, y, width, height) ends like this
        return "is mostly outside the image"
    return None


def _mask_fault(segmentation: object, box: Any, height: int, width: int) -> str | None:
    if isinstance(segmentation, list) and segmentation:
        faults = (_polygon_fault(polygon, height, width) for polygon in segmentation)
        fault = next(filter(None, faults), None)
        if not fault and not _meet(map(_polygon_bounds, segmentation), box):
            fault = "is outside its box"
        return fault or (None if _have_pixels(segmentation, height, width) else "covers no pixel")
    if not isinstance(segmentation, dict) or not segmentation:
        return "is missing"
    if segmentation.get("size") != [height, width]:
        return f"has another size than its image, {height} x {width}"
    counts = segmentation.get("counts")
    try:
        runs = list(decoded_counts(counts)) if isinstance(counts, str) else counts
    except (ValueError, IndexError):
        return "has run lengths that cannot be decoded"
    if not isinstance(runs, list) or not all(_is_id(run) and run >= 0 for run in runs):
        return "has run lengths that are not whole numbers"
    if sum(runs) != height * width:
        return f"has run lengths that do not add up to the {height} x {width} pixels of its image"
    if not any(runs[1::2]):
        return "is empty"
    return None if _meet(_run_bounds(runs, height), box) else "is outside its box"


def _meet(parts: Iterable[Bounds], box: list[float]) -> bool:
    """True if one of the parts of a mask reaches into the box."""
    x, y, w, h = box
    return any(left < x + w and right > x and top < y + h and bottom > y for left, top, right, bottom in parts)


def _polygon_bounds(polygon: list[float]) -> Bounds:
    return min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2])


def _have_pixels(polygons: list[list[float]], height: int, width: int) -> bool:
    """False for polygons between the middles of the pixels, or outside the image, by the decoder's own rules."""
    from pycocotools import mask

    return bool(mask.area(mask.frPyObjects(polygons, height, width)).any())


def _run_bounds(runs: list[int], height: int) -> Iterator[Bounds]:
    """The bounds of each run of a mask's pixels. Runs go down the columns, and continue at the top of the next one."""
    end = 0
    for skipped, covered in zip(runs[::2], runs[1::2], strict=False):
        start = end + skipped
        end = start + covered
        if covered:
            (left, top), (right, bottom) = divmod(start, height), divmod(end - 1, height)
            yield (left, top, right + 1, bottom + 1) if left == right else (left, 0, right + 1, height)


def _polygon_fault(polygon: object, height: int, width: int) -> str | None:
    if is_number(polygon):
        return "is one list of numbers instead of a list of polygons"
    if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
        return "has a polygon without three corners"
    if not _finite(polygon):
        return "has a polygon with values that are not finite numbers"
    xs, ys = polygon[::2], polygon[1::2]
    # pycocotools takes memory for every pixel along the edges
    if min(xs) < -width or max(xs) > 2 * width or min(ys) < -height or max(ys) > 2 * height:
        return "has a polygon outside the image"
    return None


def _finite(values: list[Any]) -> bool:
    """True if all values are finite numbers that a float can hold: JSON has integers of any size."""
    try:
        return all(map(isfinite, values))
    except (TypeError, OverflowError):
        return False


def decoded_counts(text: str) -> Iterator[int]:
    """The run lengths in COCO's compressed text: 5 bits per character, and differences to the run before the last.

    pycocotools decodes too short ones to pixels that it never writes, so that their sum must be checked before.

    >>> list(decoded_counts("j026000>"))
    [26, 2, 6, 2, 6, 2, 20]
    """
    data, position = text.encode("ascii"), 0
    runs: list[int] = []
    while position < len(data):
        value, shift, more = 0, 0, True
        while more:
            bits = data[position] - 48
            if not 0 <= bits < 64:
                raise ValueError(f"{text[position]!r} is not in the alphabet of run lengths")
            value |= (bits & 31) << shift
            more, position, shift = bool(bits & 32), position + 1, shift + 5
            if not more and bits & 16:
                value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        yield runs[-1]


def _checked(annotation: Record, height: int, width: int, masks: bool) -> Record:
    """The annotation, its box cut to the image, and its area from the box where it has none."""
    x, y, w, h = annotation["bbox"]
    left, top = max(x, 0), max(y, 0)
    box = [left, top, min(x + w, width) - left, min(y + h, height) - top]
    area = annotation.get("area")
    if not is_number(area) or not _finite([area]) or area <= 0:
        area = box[2] * box[3]
    wanted = {key: annotation[key] for key in ("id", "image_id", "category_id")}
    if masks:
        wanted["segmentation"] = _compact(annotation["segmentation"])
    return wanted | {"bbox": box, "area": area, "iscrowd": int(annotation.get("iscrowd", 0))}


def _compact(segmentation: Any) -> Any:
    """Polygons as arrays: COCO has 40 million coordinates, and worker processes would copy each number of Python."""
    return [array("d", polygon) for polygon in segmentation] if isinstance(segmentation, list) else segmentation


def _verdict(path: Path, faults: Faults, count: int) -> str:
    """A sentence about the annotations that are left out. Raises DataError if there are too many."""
    if not count:
        raise DataError(f"{path} has no annotations, so there is nothing to learn or to test")
    if too_many(faults.count, count):
        raise DataError(f"{path}: {faults.count:,} of {count:,} annotations are faulty: {faults}. Correct the file")
    if not faults.count:
        return ""
    return f"{path}: {faults.count:,} of {count:,} annotations are faulty and are left out: {faults}."
