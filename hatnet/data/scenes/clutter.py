"""Clutter: cut-outs of no class in training scenes, so that a network cannot take every pasted shape for an object."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hatnet.data.scenes.varied import Pixels, Rng, varied_texture

MOST_PIECES = 5
SIDES = (0.1, 0.6)  # of a piece, as a fraction of the scene's
BENDS = 6  # waves in an outline at most
FLAT = 0.5  # fraction of the pieces in one colour with shades of it, as most garments are


def pieces(photos: list[Path], size: int, rng: Rng) -> Iterator[Pixels]:
    """Layers to paste, (size, size, 4) in [0, 255]: blobs and polygons, each with a texture or shades of one colour."""
    for _ in range(int(rng.integers(MOST_PIECES + 1))):
        opacity = _polygon(size, rng) if rng.random() < 0.5 else _blob(size, rng)
        pixels = varied_texture(photos, size, rng)
        if rng.random() < FLAT:
            grey = pixels.mean(axis=2, keepdims=True) / 255
            colour = rng.uniform(30, 255, 3)
            pixels = colour * (1 - rng.uniform(0.1, 0.7) * grey)
        yield np.concatenate([pixels, 255 * opacity[..., None]], axis=2).astype(np.float32)


def _around(size: int, rng: Rng) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Angle and distance of each pixel from a random place, in a stretched plane, and a radius."""
    low, high = np.log(SIDES)
    radius = size * float(np.exp(rng.uniform(low, high))) / 2
    turn, stretch = rng.uniform(0, 2 * np.pi), np.exp(rng.uniform(-0.8, 0.8))
    y, x = np.mgrid[:size, :size] - rng.uniform(0, size, (2, 1, 1))
    along, across = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x
    along, across = along * stretch, across / stretch
    return np.arctan2(across, along), np.hypot(along, across), radius


def _blob(size: int, rng: Rng) -> NDArray[np.float64]:
    """Opacity in [0, 1] of a shape with a wavy outline."""
    angle, distance, radius = _around(size, rng)
    outline = np.ones_like(angle)
    for waves in range(1, BENDS + 1):
        outline += rng.normal(0, 0.3 / waves) * np.sin(waves * angle + rng.uniform(0, 2 * np.pi))
    return np.clip(radius * np.maximum(outline, 0.2) - distance + 0.5, 0, 1)


def _polygon(size: int, rng: Rng) -> NDArray[np.float64]:
    """Opacity in [0, 1] of a star-shaped polygon of three to eight corners."""
    angle, distance, radius = _around(size, rng)
    corners = int(rng.integers(3, 9))
    at = np.sort(rng.uniform(-np.pi, np.pi, corners))
    reach = radius * rng.uniform(0.4, 1.3, corners)
    inside = np.full_like(angle, -np.inf)
    x, y = distance * np.cos(angle), distance * np.sin(angle)
    for here in range(corners):
        there = (here + 1) % corners
        x1, y1 = reach[here] * np.cos(at[here]), reach[here] * np.sin(at[here])
        x2, y2 = reach[there] * np.cos(at[there]), reach[there] * np.sin(at[there])
        gap = (at[there] - at[here]) % (2 * np.pi)
        wedge = ((angle - at[here]) % (2 * np.pi)) <= gap
        length = max(float(np.hypot(x2 - x1, y2 - y1)), 1e-6)
        signed = ((x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)) / length
        inside = np.where(wedge, signed, inside)
    return np.clip(inside + 0.5, 0, 1)
