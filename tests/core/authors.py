"""Facts about the authors' networks: the names and shapes in their checkpoints, and results of their code.

`data/authors_shapes.json` lists every tensor of the four published files. `data/authors_figures.json` holds results of
the authors' code in float64: the first logits, and norms of logits, stage outputs and gradients, for the loss
mean(logits * linspace(-1, 1, 1000)). Its parameters and images are those made here, from names and seeds alone.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent / "data"
SHAPES: dict[str, dict[str, list[int]]] = json.loads((DATA / "authors_shapes.json").read_text())
FIGURES = json.loads((DATA / "authors_figures.json").read_text())


def parameter(name: str, shape: list[int]) -> Tensor:
    """A float64 parameter drawn by its name: a fan-in scaled matrix, or a vector near 1 or near 0."""
    noise = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
    if len(shape) > 1:
        return torch.from_numpy(noise / np.sqrt(np.prod(shape[1:])))
    return torch.from_numpy(0.1 * noise + (1 if name.endswith(".weight") else 0))


def state_dict(variant: str) -> dict[str, Tensor]:
    """A checkpoint with the authors' names and shapes, in float64."""
    return {name: parameter(name, shape) for name, shape in SHAPES[variant].items()}


def images(batch: int, height: int, width: int) -> Tensor:
    """Float64 images, (B, 3, H, W)."""
    return torch.from_numpy(np.random.default_rng(20210606).standard_normal((batch, 3, height, width)))
