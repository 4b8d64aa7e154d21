"""The command `hatnet scenes`: write scenes of cut-outs on photos, with exact masks, in COCO's format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from hatnet.cli.console import console, format_duration, plain, print_path, progress
from hatnet.cli.output_files import run_folder
from hatnet.data.coco import open_coco
from hatnet.data.scenes.sheet import contact_sheet
from hatnet.data.scenes.writer import Settings, expected_seconds, open_objects, require_new, write_scenes
from hatnet.files import absolute_path
from hatnet.training.progress import Monitor, stoppable

SHEET = "scenes.png"


def scenes(
    out: Annotated[Path, tyro.conf.Positional],
    objects: Path | None = None,
    size: int = 128,
    train: int = 2_000,
    val: int = 200,
    seed: int = 0,
    plain_photos: float = 0.0,
) -> None:
    """Write scenes: cut-outs on photo textures, with exact masks, in COCO's format.

    Training and validation scenes share no object and no texture. `hatnet train --data coco:OUT` reads them.

    Args:
        out: a new folder for images, annotations and a picture, scenes.png, that shows scenes with masks and boxes.
        objects: a folder of PNG files with transparent surroundings, in one folder per class; by default the garments
            of the package.
        size: height and width of the scenes in pixels, 64 to 512.
        train: training scenes.
        val: validation scenes.
        seed: of objects, places and colours.
        plain_photos: fraction of the background textures of training scenes that are plain photos, as in validation
            scenes; the others are varied photos, noise, gradients and blends in random colours.
    """
    folder = "" if objects is None else str(absolute_path(objects))
    settings = Settings(folder, size, train, val, seed, plain_photos)
    out = absolute_path(run_folder(out))
    require_new(out)
    known = open_objects(settings)
    if known.note:
        console.print(plain(known.note), soft_wrap=True)
    duration = format_duration(expected_seconds(settings, known))
    console.print(
        f"Writing {settings.scenes:,} scenes of {size} x {size} pixels with {len(known.classes)} classes, "
        f"in about {duration}"
    )
    monitor = Monitor()
    with stoppable(monitor), progress("scenes", settings.scenes) as advance:

        def step(name: str) -> None:
            advance(name)
            end_if_stopped()

        def draw_sheet(folder: Path) -> None:
            data = open_coco(folder, "instances")
            contact_sheet(data.test, data.classes).save(folder / SHEET)
            end_if_stopped()

        def end_if_stopped() -> None:
            if monitor.stop:
                raise monitor.interruption()

        write_scenes(out, settings, known, step, draw_sheet)
    print_path(out / SHEET)
