"""Objects to paste into scenes: pictures with an opacity. Here are the embedded garments."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from hatnet.data.image_file import EMBEDDED

if TYPE_CHECKING:
    from PIL import Image

Rng = np.random.Generator
Mask = NDArray[np.bool_]
Floats = NDArray[np.float32]

# The ten classes of Fashion-MNIST by their numbers. T-shirts, pullovers, coats and shirts look too alike to tell apart.
GARMENTS = {"top": (0, 2, 4, 6), "trouser": (1,), "dress": (3,), "shoe": (5, 7, 9), "bag": (8,)}
THRESHOLD = 12  # of 255: darker pixels are background, except in holes of the garment
LARGEST_HOLE = {"shoe": 12, "bag": 12}  # pixels: larger holes stay, such as those below handles
SMALLEST = 60  # pixels of a mask, of 784; smaller garments are not used
INVERTED = 0.5  # fraction of garments shown as photographed, for Fashion-MNIST inverts them
DYED = 0.7  # fraction of garments with a colour


class Objects(Protocol):
    """Cut-outs of several classes, in the parts `train` and `val`, which share none."""

    classes: tuple[str, ...]
    note: str  # what was not used

    def draw(self, part: str, label: int, side: int, rng: Rng) -> Image.Image:
        """A random object of a class from 0: RGBA, with a longer side of `side` pixels."""


class Garments:
    """The embedded garments, in five classes. `train` has those of the training images, `val` those of the test."""

    classes = tuple(GARMENTS)
    note = ""

    def __init__(self) -> None:
        self._of: dict[tuple[str, int], NDArray[np.uint8]] = {}
        with np.load(EMBEDDED, allow_pickle=False) as file:
            for part, name in (("train", "train"), ("val", "test")):
                images, labels = file[f"{name}_images"], file[f"{name}_labels"]
                for label, numbers in enumerate(GARMENTS.values()):
                    self._of[part, label] = images[np.isin(labels, numbers)]

    def of(self, part: str, label: int) -> NDArray[np.uint8]:
        """All garments of a class, (garments, 28, 28)."""
        return self._of[part, label]

    def draw(self, part: str, label: int, side: int, rng: Rng) -> Image.Image:
        known = self.of(part, label)
        while True:
            garment = known[rng.integers(len(known))]
            mask = garment_mask(garment, LARGEST_HOLE.get(self.classes[label]))
            if mask.sum() >= SMALLEST:
                return _enlarged(garment, mask, side, rng)


def garment_mask(garment: NDArray[np.uint8], largest_hole: int | None = None) -> Mask:
    """The pixels of a garment, (H, W): above THRESHOLD, or in a hole of at most `largest_hole` pixels; None for all."""
    mask = garment > THRESHOLD
    outside = np.pad(np.zeros_like(mask), 1, constant_values=True)
    holes = ~mask & ~_flooded(outside, np.pad(~mask, 1, constant_values=True))[1:-1, 1:-1]
    while holes.any():
        seed = np.zeros_like(holes)
        seed[tuple(np.argwhere(holes)[0])] = True
        hole = _flooded(seed, holes)
        holes &= ~hole
        if largest_hole is None or hole.sum() <= largest_hole:
            mask |= hole
    return mask


def _flooded(seed: Mask, free: Mask) -> Mask:
    """The free pixels that are connected to the seed over their sides."""
    while True:
        grown = seed.copy()
        grown[1:] |= seed[:-1]
        grown[:-1] |= seed[1:]
        grown[:, 1:] |= seed[:, :-1]
        grown[:, :-1] |= seed[:, 1:]
        grown &= free
        if (grown == seed).all():
            return seed
        seed = grown


def _enlarged(garment: NDArray[np.uint8], mask: Mask, side: int, rng: Rng) -> Image.Image:
    """A garment in colour, with a smooth outline."""
    from PIL import Image, ImageFilter

    grey, coverage = (np.pad(values, 2) for values in _parted(garment, mask))
    scale = side / (max(grey.shape) - 4)
    height, width = (max(round(length * scale), 2) for length in grey.shape)

    def resized(values: Floats) -> Floats:
        return np.asarray(Image.fromarray(values).resize((width, height), Image.Resampling.BICUBIC))

    covered = resized(coverage)
    shown = resized(grey * coverage) / np.maximum(covered, 0.05)  # of the garment alone: its surroundings are black
    outline = Image.fromarray((255 * np.clip(covered, 0, 1)).astype(np.uint8))
    smooth = np.asarray(outline.filter(ImageFilter.GaussianBlur(0.5 * scale)), np.float32) / 255
    opacity = np.clip((smooth - 0.5) * max(scale, 1) + 0.5, 0, 1)  # the outline is about one pixel wide
    pixels = np.concatenate([_dyed(np.clip(shown / 255, 0, 1), rng), opacity[..., None]], axis=2)
    return Image.fromarray((255 * pixels).round().astype(np.uint8))


def _parted(garment: NDArray[np.uint8], mask: Mask) -> tuple[Floats, Floats]:
    """The garment's own grey and the fraction of each pixel that it covers, both (h, w) within its bounds.

    A pixel at its outline is a mixture with the black background, so it is darker than its brightest neighbour.
    """
    height, width = mask.shape
    values, known = np.pad(garment, 1).astype(np.float32), np.pad(mask, 1)
    around = [(slice(y, y + height), slice(x, x + width)) for y in range(3) for x in range(3)]
    brightest = np.maximum.reduce([values[place] for place in around])
    inner = np.logical_and.reduce([known[place] for place in around])
    likely = 0.8 * brightest
    coverage = np.where(inner, 1, mask * np.clip(garment / np.maximum(likely, 1), 0.3, 1)).astype(np.float32)
    grey = np.where(inner, garment, np.maximum(garment, likely)).astype(np.float32)
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    inside = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return grey[inside], coverage[inside]


def _dyed(grey: Floats, rng: Rng) -> Floats:
    """Grey in [0, 1] as colours, (H, W, 3)."""
    fabric = 1 - grey if rng.random() < INVERTED else grey
    hue, saturation = rng.random(), (rng.uniform(0.2, 0.8) if rng.random() < DYED else 0.0)
    light = np.array(hsv_to_rgb(hue, saturation, rng.uniform(0.75, 1.0)))
    dark = np.array(hsv_to_rgb(hue, saturation, rng.uniform(0.05, 0.2)))
    return (dark + (light - dark) * fabric[..., None]).astype(np.float32)
