"""Tokens: the token at a pixel, and checks that a stage, block, head or token exists."""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from hatnet.checks import shown
from hatnet.config import HATNetConfig, StageLayout

Token: TypeAlias = tuple[int, int]  # row and column in the map of its stage; its number is row * W + column


def token_at(x: int, y: int, image: tuple[int, int], stride: int) -> Token:
    """The token whose square of `stride` x `stride` pixels contains a pixel, x from the left and y from the top.

    The receptive field of a token is larger than its square; rollout to pixels shows how much. Raises ValueError for a
    pixel outside the `image` (H, W).

    >>> token_at(x=39, y=0, image=(30, 40), stride=8)
    (0, 4)
    """
    height, width = image
    if not (_is_whole(x) and _is_whole(y)):
        raise ValueError(f"x={shown(x)} and y={shown(y)} must be whole numbers, those of a pixel")
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(
            f"the query {x},{y} lies outside the image of {width} x {height} pixels: "
            f"X goes from 0 to {width - 1}, Y from 0 to {height - 1}"
        )
    return y // stride, x // stride


def require_place(
    config: HATNetConfig,
    layouts: Sequence[StageLayout],
    stage: int,
    block: int = 0,
    head: int | None = None,
    token: Token = (0, 0),
) -> None:
    """Raise a ValueError that lists what exists, unless the network has this stage, block, head and token.

    `layouts` are the grids of the stages for an image; a head of None is the mean of all.
    """
    require("stage", stage, len(config.stages), "the network")
    require("block", block, config.stages[stage].depth, f"stage {stage}")
    if head is not None:
        require("head", head, config.stages[stage].heads, f"stage {stage}")
    if not isinstance(token, tuple | list | np.ndarray) or len(token) != 2 or not all(map(_is_whole, token)):
        raise ValueError(f"query={shown(token)} must be a token, given as (row, column)")
    (row, column), (H, W) = token, layouts[stage].map
    if not (0 <= row < H and 0 <= column < W):
        raise ValueError(
            f"token ({row}, {column}) is not on the map of stage {stage}: "
            f"rows go from 0 to {H - 1}, columns from 0 to {W - 1}"
        )


def require(what: str, number: int, count: int, where: str) -> None:
    """Raise a ValueError unless the number is one of `count`, counted from 0.

    >>> require("head", 3, 3, "stage 1")
    Traceback (most recent call last):
    ValueError: there is no head 3: stage 1 has 3, counted from 0
    """
    if not _is_whole(number):
        raise ValueError(f"{what}={shown(number)} must be a whole number, counted from 0")
    if not 0 <= number < count:
        raise ValueError(f"there is no {what} {number}: {where} has {count}, counted from 0")


def _is_whole(number: object) -> bool:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)
