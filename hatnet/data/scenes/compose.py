"""Compose a scene: objects on a background, with shadows, and the pixels that each object covers."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, log
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hatnet.data.scenes.clutter import pieces
from hatnet.data.scenes.cutouts import Objects
from hatnet.data.scenes.textures import background, photos
from hatnet.data.scenes.varied import Pixels

if TYPE_CHECKING:
    from PIL import Image

Rng = np.random.Generator

PARTS = ("train", "val")
MOST_OBJECTS = 7
SIDES = (0.18, 0.75)  # the longer side of an object, as a fraction of the scene's
ROTATION = 30.0  # degrees to either side
VISIBLE = 0.5  # fraction of an object that others must leave visible
INSIDE = 0.7  # fraction of an object that must be inside the scene
SMALLEST = 0.003  # of the pixels of a scene: objects of which less is visible are not placed
ATTEMPTS = 4  # to place an object


@dataclass(frozen=True)
class Scene:
    """A picture with exact masks. `owner` is 0 for the background, and k for the pixels of object k, counted from 1."""

    pixels: NDArray[np.uint8]  # (H, W, 3)
    owner: NDArray[np.uint8]  # (H, W)
    labels: tuple[int, ...]  # classes from 0, of object 1 and following


def compose(objects: Objects, part: str, index: int, size: int, seed: int, plain: float = 0.0) -> Scene:
    """Scene `index` of a part, `size` x `size` pixels. It depends on these arguments only.

    A fraction `plain` of the background textures of training scenes are plain photos, as in validation scenes.
    """
    rng = np.random.default_rng([seed, PARTS.index(part), index, size])
    canvas = background(part, size, rng, plain)
    owner = np.zeros((size, size), np.uint8)
    labels: list[int] = []
    light, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.6)
    for layer in pieces(photos(part), size, rng) if part == "train" else ():
        canvas = _pasted(canvas, layer, light, strength)
    areas: list[int] = []  # of the objects, before others cover them
    for _ in range(int(rng.integers(1, MOST_OBJECTS + 1))):
        for _ in range(ATTEMPTS):
            label = int(rng.integers(len(objects.classes)))
            cutout = _turned(objects, part, label, size, rng)
            placed = _place(cutout, owner, areas, rng)
            if placed is not None:
                break
        else:
            continue
        layer, mask = placed
        canvas = _pasted(canvas, layer, light, strength)
        owner[mask] = len(labels) + 1
        labels.append(label)
        areas.append(int(mask.sum()))
    return Scene(_finished(canvas, rng), owner, tuple(labels))


def _turned(objects: Objects, part: str, label: int, size: int, rng: Rng) -> Image.Image:
    """A random object, scaled, flipped and rotated. Small objects are as frequent as large ones, in a log scale."""
    from PIL.Image import Resampling, Transpose

    low, high = SIDES
    side = max(round(size * exp(rng.uniform(log(low), log(high)))), 8)
    cutout = objects.draw(part, label, side, rng)
    if rng.random() < 0.5:
        cutout = cutout.transpose(Transpose.FLIP_LEFT_RIGHT)
    return cutout.rotate(rng.uniform(-ROTATION, ROTATION), Resampling.BICUBIC, expand=True)


def _place(
    cutout: Image.Image, owner: NDArray[np.uint8], areas: list[int], rng: Rng
) -> tuple[Pixels, NDArray[np.bool_]] | None:
    """The object as a layer (H, W, 4) in [0, 255] with its mask; None if too little of it or of others is visible."""
    size = len(owner)
    height, width = cutout.height, cutout.width
    left, top = (
        int(rng.integers(-length // 4, max(size - 3 * length // 4, 1 - length // 4))) for length in (width, height)
    )
    given = np.asarray(cutout, np.float32)
    layer = np.zeros((size, size, 4), np.float32)
    rows, columns = (
        slice(max(start, 0), min(start + length, size)) for start, length in ((top, height), (left, width))
    )
    layer[rows, columns] = given[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    mask = layer[..., 3] >= 128
    whole = int((given[..., 3] >= 128).sum())
    if mask.sum() < max(INSIDE * whole, SMALLEST * size * size):
        return None
    left_visible = np.bincount(owner[~mask], minlength=len(areas) + 1)[1:]
    if any(seen < max(VISIBLE * area, SMALLEST * size * size) for seen, area in zip(left_visible, areas, strict=True)):
        return None
    return layer, mask


def _pasted(canvas: Pixels, layer: Pixels, light: float, strength: float) -> Pixels:
    """The canvas with a shadow, then the object."""
    from PIL import Image, ImageFilter

    size = len(canvas)
    opacity = layer[..., 3:] / 255
    side = float(np.sqrt(opacity.sum()))
    blurred = Image.fromarray(layer[..., 3].astype(np.uint8)).filter(ImageFilter.GaussianBlur(max(0.06 * side, 1)))
    shift = round(0.1 * side * np.cos(light)), round(0.1 * side * np.sin(light))
    moved = Image.new("L", (size, size))
    moved.paste(blurred, shift)
    shaded = canvas * (1 - strength * np.asarray(moved, np.float32)[..., None] / 255)
    return (shaded + (layer[..., :3] - shaded) * opacity).astype(np.float32)


def _finished(canvas: Pixels, rng: Rng) -> NDArray[np.uint8]:
    """A light that falls off across the scene, and the noise of a camera."""
    size = len(canvas)
    slope = rng.uniform(-0.25, 0.25, size=2)
    across = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    light = 1 + slope[0] * across[:, None] + slope[1] * across[None]
    noisy = canvas * light[..., None] + rng.normal(0, 2.5, canvas.shape)
    return np.clip(noisy.round(), 0, 255).astype(np.uint8)
