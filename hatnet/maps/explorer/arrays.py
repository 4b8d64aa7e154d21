"""The arrays that an explorer holds for one picture: their names and shapes, and how much that is."""

from math import prod
from typing import Any

from hatnet.config import HATNetConfig
from hatnet.trace import Place

LARGEST = 50 * 10**6  # bytes in float16; a browser takes twice that, and phones give up soon after


def stages_in_tokens(config: HATNetConfig, size: tuple[int, int]) -> list[dict[str, Any]]:
    """All facts about each stage that the browser needs; windows and merged tokens are None if attention is plain."""
    return [
        {
            "stride": stage.stride,
            "map": layout.map,
            "depth": stage.depth,
            "heads": stage.heads,
            "window": layout.window,
            "pool": stage.pool_size,
            "merged": layout.merged,
        }
        for stage, layout in zip(config.stages, config.layout(*size), strict=True)
    ]


def weight_shapes(stages: list[dict[str, Any]]) -> dict[str, tuple[int, int, int]]:
    """The name and the shape (heads, N, keys) of every array of weights, such as `stages.0.blocks.1.local`."""
    shapes = {}
    for index, stage in enumerate(stages):
        heads, tokens = stage["heads"], prod(stage["map"])
        for block in range(stage["depth"]):
            if stage["window"]:
                shapes[str(Place(index, block, "local"))] = heads, tokens, prod(stage["window"])
            shapes[str(Place(index, block, "global"))] = heads, tokens, prod(stage["merged"] or stage["map"])
    return shapes


def stored_numbers(config: HATNetConfig, height: int, width: int) -> tuple[int, int]:
    """Number of weights in one picture, and their number if every token attended to every other.

    A block holds heads N (g h + H'W') weights instead of heads N², with N = HW. In the last stage both are the same.

    >>> from hatnet.config import get_config
    >>> stored_numbers(get_config("tiny"), 224, 224)
    (1649928, 23337720)
    """
    stages = stages_in_tokens(config, (height, width))
    dense = sum(stage["depth"] * stage["heads"] * prod(stage["map"]) ** 2 for stage in stages)
    return sum(map(prod, weight_shapes(stages).values())), dense


def require_openable(
    config: HATNetConfig,
    height: int,
    width: int,
    pictures: int = 1,
    advice: str = "make the images smaller, or show fewer of them",
) -> None:
    """Raise a ValueError, which ends in `advice`, if the weights of so many pictures are more than browsers open.

    >>> from hatnet.config import get_config
    >>> require_openable(get_config("tiny"), 640, 640)
    Traceback (most recent call last):
    ValueError: an explorer of 640 x 640 pixels would hold 121 MB of weights, more than browsers open (50 MB); \
make the images smaller, or show fewer of them
    """
    size = 2 * pictures * stored_numbers(config, height, width)[0]
    if size > LARGEST:
        many = f"{pictures} pictures of " if pictures > 1 else ""
        raise ValueError(
            f"an explorer of {many}{width} x {height} pixels would hold {size / 1e6:.0f} MB of weights, more than "
            f"browsers open ({LARGEST / 1e6:.0f} MB); {advice}"
        )
