"""What one token attends to, read from the trace, with its place in the photo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hatnet.config import Stage

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """A rectangle of the photo, in pixels; it may reach over the photo's border."""

    top: int
    left: int
    height: int
    width: int

    def within(self, other: Box) -> Box:
        """The part of it that lies in `other`.

        >>> Box(top=8, left=8, height=8, width=8).within(Box(top=0, left=0, height=10, width=20))
        Box(top=8, left=8, height=2, width=8)
        """
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom = min(self.top + self.height, other.top + other.height)
        right = min(self.left + self.width, other.left + other.width)
        return Box(top, left, bottom - top, right - left)


@dataclass(frozen=True)
class Weights:
    """A map of attention weights for each head, of square cells laid over the photo from the top left of `area`."""

    heads: Array  # (heads, rows, columns), each head sums to one
    side: int  # of a cell, in pixels
    area: Box

    @property
    def mean(self) -> Array:
        """The mean of the heads, (rows, columns)."""
        return self.heads.mean(axis=0)

    def cell(self, row: int, column: int) -> Box:
        """One cell, also where it reaches over the border of the photo."""
        return Box(self.area.top + row * self.side, self.area.left + column * self.side, self.side, self.side)


@dataclass(frozen=True)
class Query:
    """One token and what it attends to. Rows and columns are counted from 0."""

    name: str
    row: int
    column: int
    token: Box
    local: Weights | None  # to the tokens of its window; None where attention is plain
    far: Weights  # to the merged tokens of the whole map, or to all tokens where attention is plain


def token_at(position: tuple[float, float], size: tuple[int, int], stride: int, photo: Box) -> tuple[int, int]:
    """The token (row, column) of a map of `size` at a position (x, y) given in fractions of the photo.

    >>> token_at((0.5, 1.0), size=(4, 5), stride=8, photo=Box(top=0, left=0, height=30, width=40))
    (3, 2)
    """
    x, y = position
    return min(int(y * photo.height) // stride, size[0] - 1), min(int(x * photo.width) // stride, size[1] - 1)


def read_query(
    name: str, token: tuple[int, int], stage: Stage, size: tuple[int, int], trace: Mapping[str, Array], block: str
) -> Query:
    """What the trace of a block says of one token.

    Args:
        name: what is at that place of the photo.
        token: its row and column.
        stage: the block's stage.
        size: of its map, (H, W) in tokens.
        trace: of the reference.
        block: where the block is in the trace, for instance `stages.0.blocks.1`.
    """
    (row, column), (H, W), stride = token, size, stage.stride
    own, whole = Box(row * stride, column * stride, stride, stride), Box(0, 0, H * stride, W * stride)
    if stage.grid_size is None or stage.pool_size is None:
        weights = trace[f"{block}.attention.weights"]  # (heads, HW, HW)
        return Query(
            name, row, column, own, None, Weights(weights[:, row * W + column].reshape(-1, H, W), stride, whole)
        )

    g, h = min(stage.grid_size, H), min(stage.grid_size, W)  # a full window
    top, left = row // g * g, column // h * h  # of this one
    windows = trace[f"{block}.attention.local_weights"]  # (rows, columns, heads, g h, g h)
    near = windows[row // g, column // h, :, (row - top) * h + column - left].reshape(-1, g, h)
    near = near[:, : H - top, : W - left]  # without what a window at the border lacks
    window = Box(top * stride, left * stride, g * stride, h * stride)

    merged = trace[f"{block}.attention.merged"].shape[:2]
    far = trace[f"{block}.attention.global_weights"][:, row * W + column].reshape(-1, *merged)
    return Query(
        name, row, column, own, Weights(near, stride, window), Weights(far, stage.pool_size * stride, whole)
    )  # fmt: skip
