"""Objects from a folder: pictures with transparent surroundings, in one folder per class."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hatnet.data.image_file import open_picture
from hatnet.data.image_folder import files_in
from hatnet.data.images import BACKGROUND, DataError

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = frozenset({".png", ".webp"})  # formats with an opacity
LARGEST = 384  # pixels of the longer side to which pictures are reduced: of an object in a scene of 512
SMALLEST = 8  # pixels of the shorter side
HELD_OUT = 0.2  # fraction of the pictures of each class that only validation scenes show
MOST_CLASSES = 254
NAMED = 5  # pictures that are not used


class Pictures:
    """The pictures of a folder. The folders in it are the classes; folders within these are searched too.

    A fifth of the pictures of each class, at least one, is for `val`. Pictures without transparent surroundings, those
    that look like another one or its mirror image, and classes with fewer than two usable pictures are left out;
    `note` names them. Raises DataError if no class remains, or one is called background.
    """

    def __init__(self, folder: Path) -> None:
        folder = Path(folder)
        if not folder.is_dir():
            raise DataError(f"no folder {folder}: objects are PNG files with an opacity, in one folder per class")
        refused: list[str] = []
        alike: list[Path] = []
        few: list[str] = []
        found: dict[str, dict[str, list[Path]]] = {}
        seen: set[bytes] = set()
        for place in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
            kept = _usable(place, seen, refused, alike)
            count = max(round(HELD_OUT * len(kept)), 1)
            if len(kept) > count:
                found[place.name] = {"train": kept[count:], "val": kept[:count]}
            else:
                few.append(place.name)
        self.note = _note(folder, refused, alike, few)
        self.classes = tuple(found)
        if not found or len(found) > MOST_CLASSES:
            raise DataError(f"{folder} has {len(found)} classes with at least two usable pictures. {self.note}".strip())
        if BACKGROUND in found:
            raise DataError(f"{folder / BACKGROUND}: a class may not be called {BACKGROUND!r}; rename the folder")
        bad = next((name for name in found if not name.isprintable()), None)
        if bad is not None:
            raise DataError(f"{folder} has a folder with unprintable characters in its name, {bad!r}: rename it")
        self.paths = [found[name] for name in self.classes]

    def draw(self, part: str, label: int, side: int, rng: np.random.Generator) -> Image.Image:
        """A random picture of a class from 0: RGBA, with a longer side of `side` pixels."""
        from PIL.Image import Resampling

        known = self.paths[label][part]
        picture = _read(known[rng.integers(len(known))])
        scale = side / max(picture.size)
        width, height = (max(round(length * scale), 1) for length in picture.size)
        return picture.resize((width, height), Resampling.LANCZOS)


def _usable(folder: Path, seen: set[bytes], refused: list[str], alike: list[Path]) -> list[Path]:
    """The usable pictures in the order of their hashes, which is as good as a random one and always the same.

    Pictures that look alike, or like the mirror image of another, are the same object: `seen` has the hashes of both.
    """
    from PIL import ImageOps

    usable: list[tuple[bytes, Path]] = []
    for path in files_in(folder):
        if path.suffix.lower() not in SUFFIXES:
            continue
        try:
            picture = _cut_out(path)
        except (OSError, ValueError) as error:
            refused.append(str(error))
            continue
        digest = _hash(picture)
        if digest in seen:
            alike.append(path)
        else:
            usable.append((digest, path))
        seen |= {digest, _hash(ImageOps.mirror(picture))}
    return [path for _, path in sorted(usable)]


def _hash(picture: Image.Image) -> bytes:
    return blake2b(picture.tobytes() + repr(picture.size).encode(), digest_size=16).digest()


@lru_cache(maxsize=256)
def _read(path: Path) -> Image.Image:
    """A picture as `_cut_out` returns it, reduced to `LARGEST`."""
    from PIL.Image import Resampling

    picture = _cut_out(path)
    picture.thumbnail((LARGEST, LARGEST), Resampling.LANCZOS)
    return picture


def _cut_out(path: Path) -> Image.Image:
    """A picture in RGBA, cut to its visible part. Raises ValueError if it has no transparent surroundings; OSError."""
    from PIL import Image

    picture = open_picture(path)
    opaque = None if picture is None else np.asarray(picture.getchannel("A")) >= 128
    if picture is None or opaque is None or opaque.all():
        raise ValueError(f"{path} has no transparent surroundings")
    box = Image.fromarray(opaque).getbbox()
    if box is None or min(box[2] - box[0], box[3] - box[1]) < SMALLEST:
        raise ValueError(f"{path} shows less than {SMALLEST} x {SMALLEST} opaque pixels")
    return _without_hidden_colours(picture.crop(box))


def _without_hidden_colours(picture: Image.Image) -> Image.Image:
    """Black where nothing is seen, so that pictures that look equal are equal."""
    from PIL import Image

    pixels = np.array(picture)
    pixels[pixels[..., 3] == 0] = 0
    return Image.fromarray(pixels)


def _note(folder: Path, refused: list[str], alike: list[Path], few: list[str]) -> str:
    sentences = []
    if refused:
        sentences.append(f"{len(refused):,} pictures in {folder} are not used: {'; '.join(refused[:NAMED])}.")
    if alike:
        sentences.append(
            f"{len(alike):,} pictures look like another one, or its mirror image, and are not used, such as {alike[0]}."
        )
    if few:
        sentences.append(f"Classes with fewer than two usable pictures are left out: {', '.join(few)}.")
    return "\n".join(sentences)
