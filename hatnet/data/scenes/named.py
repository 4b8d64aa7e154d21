"""The data sets `scenes` and `scenes-SIZE`, which are written into the data folder when they are first opened."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from hatnet.data.coco import open_coco
from hatnet.data.images import DataError, Split
from hatnet.data.scenes.writer import SIZES, Settings, expected_seconds, is_complete, open_objects, replace_scenes

NAME = re.compile(r"scenes(?:-([1-9][0-9]*))?")


def open_scenes(name: str, folder: Path, task: str) -> Split:
    """Open `scenes` (128 pixels) or `scenes-SIZE` in `folder`, and write them first if they are not complete.

    Raises DataError for another name or size, and OSError if the scenes cannot be written.
    """
    matched = NAME.fullmatch(name)
    if not matched or (matched[1] and not SIZES[0] <= int(matched[1]) <= SIZES[1]):
        raise DataError(f"{name!r} must be scenes, or scenes-SIZE with {SIZES[0]} to {SIZES[1]} pixels")
    settings = Settings(size=int(matched[1])) if matched[1] else Settings()
    root = folder / f"scenes-{settings.size}-version-{settings.version}"
    if not is_complete(root, settings):
        objects = open_objects(settings)
        print(
            f"Writing {settings.scenes:,} scenes of {settings.size} x {settings.size} pixels to {root}, once, in about "
            f"{expected_seconds(settings, objects):.0f} s",
            flush=True,
        )
        replace_scenes(root, settings, objects)
    return replace(open_coco(root, task), name=name)
