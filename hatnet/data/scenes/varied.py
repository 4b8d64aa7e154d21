"""Varied textures for training: five photos would be learnt by heart, so no two training scenes share a texture.

A texture is a turned and scaled photo, noise of a random grain, or a gradient, often a blend of two, in random colours.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

Rng = np.random.Generator
Pixels = NDArray[np.float32]  # (H, W, C) in [0, 255]

PHOTO = 0.65  # fraction of the textures that show a photo
NOISE = 0.85  # this fraction and below: noise; the rest are gradients
BLENDED = 0.4  # fraction of the textures that blend two
ZOOM = (0.5, 4.0)  # pixels of a photo per pixel of a scene of 128 pixels
LEVELS = 3  # of a photo, each half as large as the one before


def varied_texture(photos: list[Path], size: int, rng: Rng) -> Pixels:
    """A texture in random colours, (size, size, 3)."""
    pixels = _plain(photos, size, rng)
    if rng.random() < BLENDED:
        weight = rng.uniform(0.2, 0.8)
        if rng.random() < 0.5:  # in patches instead of everywhere
            weight = np.clip(4 * (noise(size, rng)[..., None] - weight) + 0.5, 0, 1)
        pixels = pixels + weight * (_plain(photos, size, rng) - pixels)
    return recoloured(pixels, rng)


def _plain(photos: list[Path], size: int, rng: Rng) -> Pixels:
    kind = rng.random()
    if kind < PHOTO:
        return _turned_photo(photos[rng.integers(len(photos))], size, rng)
    colours = rng.uniform(0, 255, (2, 3))
    mixture = noise(size, rng) if kind < NOISE else _gradient(size, rng)
    return (colours[0] + (colours[1] - colours[0]) * mixture[..., None]).astype(np.float32)


def _turned_photo(path: Path, size: int, rng: Rng) -> Pixels:
    """A photo at a random place, angle and scale. Beyond its border it goes on as in a mirror."""
    low, high = np.log(ZOOM)
    zoom = float(np.exp(rng.uniform(low, high))) * 128 / size
    level = min(max(int(np.log2(zoom)), 0), LEVELS - 1)
    photo = _reduced(path, level)
    height, width = photo.shape[1:]
    angle = rng.uniform(0, 2 * np.pi)
    across = (np.arange(size, dtype=np.float32) - size / 2) * (zoom / 2**level)
    y, x = np.exp(rng.uniform(-0.25, 0.25)) * across[:, None], np.exp(rng.uniform(-0.25, 0.25)) * across[None]
    rows = rng.uniform(0, height) + np.cos(angle) * y - np.sin(angle) * x
    columns = rng.uniform(0, width) + np.sin(angle) * y + np.cos(angle) * x
    places = np.stack([2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1], axis=-1)  # -1 to 1 is the photo
    grid = torch.from_numpy(places.astype(np.float32))[None]
    return F.grid_sample(photo[None], grid, padding_mode="reflection", align_corners=True)[0].permute(1, 2, 0).numpy()


def noise(size: int, rng: Rng) -> NDArray[np.float32]:
    """Noise in [0, 1], (size, size): from clouds to sand, with or without a direction."""
    y, x = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    angle, narrow = rng.uniform(0, np.pi), np.exp(rng.uniform(0, 1.5))
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    frequency = np.sqrt(along**2 + (narrow * across) ** 2 + (0.5 / size) ** 2)
    spectrum = np.fft.rfft2(rng.standard_normal((size, size), np.float32)) * frequency ** -rng.uniform(0.7, 2.2)
    values = np.fft.irfft2(spectrum, (size, size))
    low, high = np.quantile(values, (0.01, 0.99))
    return np.clip((values - low) / (high - low), 0, 1).astype(np.float32)


def _gradient(size: int, rng: Rng) -> NDArray[np.float32]:
    """A ramp or a wave in [0, 1]."""
    angle, waves = rng.uniform(0, 2 * np.pi), rng.choice([0.5, rng.uniform(1, 12)])
    along = np.arange(size, dtype=np.float32) / size - 0.5
    across = np.cos(angle) * along[None] + np.sin(angle) * along[:, None]
    return (0.5 + 0.5 * np.sin(2 * np.pi * (waves * across + rng.random()))).astype(np.float32)


def recoloured(pixels: Pixels, rng: Rng) -> Pixels:
    """Channels in another order, less or more colour, contrast and brightness."""
    mixed = pixels[..., rng.permutation(3)]
    grey = mixed.mean(axis=2, keepdims=True)
    mixed = grey + (mixed - grey) * rng.uniform(0.2, 1.5)
    mean = mixed.mean(axis=(0, 1))
    shifted = (mixed - mean) * rng.uniform(0.4, 1.3) + mean + rng.uniform(-50, 50) + rng.uniform(-25, 25, 3)
    return np.clip(shifted, 0, 255).astype(np.float32)


@lru_cache(maxsize=64)
def _reduced(path: Path, level: int) -> Tensor:
    """A photo in colour, (3, H, W), reduced by 2^level."""
    from PIL import Image

    with Image.open(path) as file:
        photo = file.convert("RGB")
    pixels = np.asarray(photo.reduce(2**level) if level else photo, np.float32)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)
