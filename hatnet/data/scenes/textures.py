"""Backgrounds of scenes: crops of photos, coloured, scaled and turned at random.

`hatnet/assets/README.md` lists the photos, which are in the public domain. Training and validation use different ones.
"""

from __future__ import annotations

from colorsys import hsv_to_rgb
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hatnet.data.image_file import ASSETS, CHELSEA
from hatnet.data.scenes.varied import Pixels, varied_texture

if TYPE_CHECKING:
    from PIL import Image

Rng = np.random.Generator

FOLDER = ASSETS / "textures"
FLOOR = 0.5  # fraction of scenes with two textures, a wall and a floor
COLOURED = 0.35  # fraction of coloured photos that get other colours; grey ones always do


def photos(part: str) -> list[Path]:
    """The photos of a part, `train` or `val`."""
    return [*sorted((FOLDER / part).glob("*.jpg")), *([CHELSEA] if part == "val" else [])]


def background(part: str, size: int, rng: Rng, plain: float = 0.0) -> Pixels:
    """Draw a background, (size, size, 3) in [0, 255]: one texture, or a wall above a floor.

    Validation scenes show plain photos, as does a fraction `plain` of the textures of training scenes. The others are
    varied.
    """
    wall = _texture(part, size, rng, plain)
    if rng.random() >= FLOOR:
        return wall
    slope, height = rng.uniform(-0.15, 0.15), rng.uniform(0.3, 0.7)
    across = np.arange(size, dtype=np.float32) / size
    below = np.clip((across[:, None] - height - slope * (across[None] - 0.5)) * size + 0.5, 0, 1)[..., None]
    return (wall + (_texture(part, size, rng, plain) - wall) * below).astype(np.float32)


def _texture(part: str, size: int, rng: Rng, plain: float) -> Pixels:
    known = photos(part)
    if part == "train" and not (plain and rng.random() < plain):  # if 0, nothing is drawn for it
        return varied_texture(known, size, rng)
    return _plain_photo(known, size, rng)


def _plain_photo(photos: list[Path], size: int, rng: Rng) -> Pixels:
    """A crop of a photo, upright or in quarter turns, in its own colours or, now and then, in shades of another."""
    from PIL.Image import Resampling

    photo = _photo(photos[rng.integers(len(photos))])
    side = round(min(photo.size) * rng.uniform(0.45, 1.0))
    left, top = (int(rng.integers(whole - side + 1)) for whole in photo.size)
    crop = photo.resize((size, size), Resampling.BICUBIC, (left, top, left + side, top + side))
    pixels = np.asarray(crop, np.float32)
    pixels = np.rot90(pixels, int(rng.integers(4))) if rng.random() < 0.5 else pixels
    pixels = pixels[:, ::-1] if rng.random() < 0.5 else pixels
    if pixels.ndim == 2 or rng.random() < COLOURED:
        pixels = _coloured(pixels if pixels.ndim == 2 else pixels.mean(axis=2), rng)
    bright = (pixels - 128) * rng.uniform(0.7, 1.1) + 128 * rng.uniform(0.75, 1.2)
    return np.clip(bright, 0, 255).astype(np.float32)


def _coloured(grey: Pixels, rng: Rng) -> Pixels:
    """Grey as a mixture of a dark and a light shade of one hue."""
    hue, saturation = rng.random(), rng.uniform(0.05, 0.4)
    dark, light = (255 * np.array(hsv_to_rgb(hue, s, v)) for s, v in ((saturation + 0.2, 0.08), (saturation, 1.0)))
    return (dark + (light - dark) * grey[..., None] / 255).astype(np.float32)


@cache
def _photo(path: Path) -> Image.Image:
    from PIL import Image

    with Image.open(path) as file:
        file.load()
        return file.copy()
