"""Write scenes as a data set in COCO's format: a complete folder, or none."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from time import perf_counter, time
from typing import Any

import numpy as np

from hatnet.checks import require_between, require_whole
from hatnet.data.images import DataError
from hatnet.data.scenes.compose import PARTS, SMALLEST, Scene, compose
from hatnet.data.scenes.cutouts import Garments, Objects
from hatnet.data.scenes.pictures import Pictures
from hatnet.files import PARTIAL, json_bytes, read_json

VERSION = 2  # of the scenes: it changes if the same settings give other scenes
FACTS = "scenes.json"
QUALITY = 92  # of the JPEG files
SIZES = (64, 512)  # pixels
MOST = 1_000_000  # scenes of a part
TIMED = 5  # scenes, to estimate the time
OLD = 24 * 3600  # seconds after which a folder that a killed process left is removed

Step = Callable[[str], None]  # called after each scene, for a progress bar
Finish = Callable[[Path], None]  # called with the folder of all scenes, to add files before it gets its name


@dataclass(frozen=True)
class Settings:
    """What the scenes of a folder depend on. Raises ValueError for settings out of range."""

    objects: str = ""  # a folder; empty for the embedded garments
    size: int = 128  # pixels
    train: int = 6_000
    val: int = 500
    seed: int = 0
    plain_photos: float = 0.0  # fraction of the background textures of training scenes that are plain photos
    version: int = VERSION

    def __post_init__(self) -> None:
        require_whole("size", self.size, *SIZES)
        for part in PARTS:
            require_whole(part, getattr(self, part), 1, MOST)
        require_whole("seed", self.seed, 0, 2**63 - 1)
        require_between("plain_photos", self.plain_photos, 0, 1)

    @property
    def scenes(self) -> int:
        return self.train + self.val


def open_objects(settings: Settings) -> Objects:
    """The objects of scenes. Raises DataError as `Pictures` does."""
    return Pictures(Path(settings.objects)) if settings.objects else Garments()


def expected_seconds(settings: Settings, objects: Objects) -> float:
    """The time that `write_scenes` is likely to take, measured on a few scenes."""
    compose(objects, "train", TIMED, settings.size, settings.seed)  # reads photos and pictures
    start = perf_counter()
    for index in range(TIMED):
        compose(objects, "train", index, settings.size, settings.seed)
    return (perf_counter() - start) / TIMED * settings.scenes


def write_scenes(
    out: Path, settings: Settings, objects: Objects, step: Step = lambda _: None, finish: Finish = lambda _: None
) -> None:
    """Write training and validation scenes to the new folder `out`, as COCO's own folders are laid out.

    JPEG images in `train` and `val`, `annotations/instances_train.json` and `instances_val.json` with masks as
    compressed run lengths, and the settings in `scenes.json`. Everything is written to a folder beside `out`, which is
    renamed at the end, so `out` is complete or absent. Raises FileExistsError if `out` exists and is not empty,
    DataError if the scenes of a part have no objects, and OSError if nothing can be written.
    """
    require_new(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with _temporary(out) as temporary:
        folder = temporary / "scenes"
        (folder / "annotations").mkdir(parents=True)
        for part in PARTS:
            _write_part(folder, part, settings, objects, step)
        (folder / FACTS).write_bytes(json_bytes(asdict(settings) | {"content": _content(folder)}))
        finish(folder)
        require_new(out)
        with suppress(FileNotFoundError):
            out.rmdir()
        folder.rename(out)


def require_new(out: Path) -> None:
    """Raise FileExistsError unless `out` is a new name or an empty folder."""
    if os.path.lexists(out) and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"{out} exists already; remove it, or give the scenes another folder")


def is_complete(folder: Path, settings: Settings) -> bool:
    """True if a folder holds the scenes of these settings: unchanged annotations, and as many images of the same size.

    Number and bytes of the images are compared for each part; the images themselves are not read.
    """
    try:
        facts = read_json(folder / FACTS)
        if not isinstance(facts, dict):
            return False
        facts = {"plain_photos": 0.0} | facts  # folders written before this setting existed lack it
        return facts == asdict(settings) | {"content": _content(folder)}
    except (OSError, ValueError):
        return False


def _content(folder: Path) -> dict[str, list[int | str]]:
    """Number and bytes of the images of each part, and a hash of its annotations."""
    found: dict[str, list[int | str]] = {}
    for part in PARTS:
        sizes = [entry.stat().st_size for entry in os.scandir(folder / part)]
        text = (folder / "annotations" / f"instances_{part}.json").read_bytes()
        found[part] = [len(sizes), sum(sizes), blake2b(text, digest_size=8).hexdigest()]
    return found


def replace_scenes(out: Path, settings: Settings, objects: Objects, step: Step = lambda _: None) -> None:
    """Write a complete folder in the place of an incomplete one. Another process may do the same at the same time."""
    for left in out.parent.glob(f".{out.name[:100]}{PARTIAL}*"):  # by a killed process
        if time() - left.stat().st_mtime > OLD:
            shutil.rmtree(left, ignore_errors=True)
    if os.path.lexists(out) and not is_complete(out, settings):
        with _temporary(out) as away, suppress(FileNotFoundError):
            out.rename(away / "old")
    try:
        write_scenes(out, settings, objects, step)
    except OSError:
        if not is_complete(out, settings):  # else another process was first
            raise


@contextmanager
def _temporary(out: Path) -> Iterator[Path]:
    """A folder beside `out`, which is removed at the end."""
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name[:100]}{PARTIAL}") as folder:
        yield Path(folder)


def _write_part(folder: Path, part: str, settings: Settings, objects: Objects, step: Step) -> None:
    from PIL import Image

    (folder / part).mkdir()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index in range(getattr(settings, part)):
        scene = compose(objects, part, index, settings.size, settings.seed, settings.plain_photos)
        name = f"{index + 1:06}.jpg"
        Image.fromarray(scene.pixels).save(folder / part / name, quality=QUALITY, subsampling=0)
        images.append({"id": index + 1, "file_name": name, "height": settings.size, "width": settings.size})
        annotations += [
            {"id": number, "image_id": index + 1, **facts}
            for number, facts in enumerate(described(scene), start=len(annotations) + 1)
        ]
        step(name)
    if not annotations:
        raise DataError(
            f"no object could be placed in the {len(images):,} scenes of {part}: one must cover {100 * SMALLEST:g} % "
            "of a scene, which thin lines and dots do not. Give pictures that fill more of their height and width, or "
            "write more scenes"
        )
    categories = [{"id": label, "name": name} for label, name in enumerate(objects.classes, start=1)]
    content = {"info": {}, "images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / f"instances_{part}.json").write_text(json.dumps(content), encoding="utf-8")


def described(scene: Scene) -> list[dict[str, Any]]:
    """The objects of a scene in COCO's terms: category from 1, box (x, y, width, height), area and mask."""
    from pycocotools import mask

    found = []
    for number, label in enumerate(scene.labels, start=1):
        covered = scene.owner == number
        code = mask.encode(np.asfortranarray(covered.astype(np.uint8)))
        found.append(
            {
                "category_id": label + 1,
                "bbox": [int(value) for value in mask.toBbox(code)],
                "area": int(covered.sum()),
                "iscrowd": 0,
                "segmentation": {"size": list(covered.shape), "counts": code["counts"].decode("ascii")},
            }
        )
    return found
