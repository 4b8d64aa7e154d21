"""Clutter: cut-outs of no class in training scenes, so that a network cannot take every pasted shape for an object."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hatnet.data.scenes.varied import Pixels, Rng, varied_texture

MOST_PIECES = 5
SIDES = (0.1, 0.6)  # of a piece, as a fraction of the scene's
WAVES = 6  # in a wavy outline at most
FLAT = 0.5  # fraction of the pieces in shades of one colour, as most garments are
FINE = 4  # outlines are drawn on so many times the pixels, and averaged


def pieces(photos: list[Path], size: int, rng: Rng) -> Iterator[Pixels]:
    """Layers to paste, (size, size, 4) in [0, 255]: blobs and polygons, each with a texture or shades of one colour."""
    for _ in range(int(rng.integers(MOST_PIECES + 1))):
        opacity = _filled(_outline(size, rng), size)
        pixels = varied_texture(photos, size, rng)
        if rng.random() < FLAT:
            shade = pixels.mean(axis=2, keepdims=True) / 255
            pixels = rng.uniform(30, 255, 3) * (1 - rng.uniform(0.1, 0.7) * shade)
        yield np.concatenate([pixels, opacity[..., None]], axis=2).astype(np.float32)


def _outline(size: int, rng: Rng) -> NDArray[np.float64]:
    """Corners (N, 2) of a polygon or of a wavy outline, stretched and turned, around a random place."""
    low, high = np.log(SIDES)
    if rng.random() < 0.5:
        angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
        reach = rng.uniform(0.4, 1.3, len(angles))
    else:
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        waves = np.arange(1, WAVES + 1)[:, None]
        heights, phases = rng.normal(0, 0.3, waves.shape) / waves, rng.uniform(0, 2 * np.pi, waves.shape)
        reach = np.maximum(1 + (heights * np.sin(waves * angles + phases)).sum(axis=0), 0.2)
    stretch, turn = np.exp(rng.uniform(-0.8, 0.8)), rng.uniform(0, 2 * np.pi)
    corners = np.stack([stretch * reach * np.cos(angles), reach * np.sin(angles) / stretch], axis=1)
    turned = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    return np.exp(rng.uniform(low, high)) * size / 2 * turned + rng.uniform(0, size, 2)


def _filled(corners: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """The opacity of a polygon, (size, size), with a smooth outline."""
    from PIL import Image, ImageDraw

    drawn = Image.new("L", (FINE * size, FINE * size))
    ImageDraw.Draw(drawn).polygon([(FINE * x, FINE * y) for x, y in corners.tolist()], fill=255)
    return np.asarray(drawn.reduce(FINE))
