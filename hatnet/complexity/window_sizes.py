r"""Choosing G1 and G2: what the formula says, and what it can't.

By Eq. 15 a token costs, apart from its projections, $2C \, [G_1^2 + (HW + C) / G_2^2]$: it meets the tokens of its
window and the merged tokens, and these have keys and values of their own. Smaller windows and larger cells are always
cheaper. A valley appears when one is tied to the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hatnet.complexity import h_mhsa


@dataclass(frozen=True)
class Choice:
    """A pair of sizes, and what H-MHSA costs with them."""

    G1: int
    G2: int
    macs: int


def anything(G1: int, G2: int) -> bool:
    """Every pair is allowed."""
    return True


def cell_within_window(G1: int, G2: int) -> bool:
    """A merged cell is no larger than a window: around a token, detail reaches as far as the next merged token."""
    return G2 <= G1


def costs(H: int, W: int, C: int) -> dict[tuple[int, int], int]:
    """MACs of H-MHSA for every pair (G1, G2) up to the longer side of the map.

    >>> costs(14, 14, 320)[7, 2]
    122680320
    """
    sides = range(1, max(H, W) + 1)
    return {(G1, G2): h_mhsa(H, W, C, G1, G2).total_macs for G1 in sides for G2 in sides}


def choose(H: int, W: int, C: int, allowed: Callable[[int, int], bool] = anything) -> Choice:
    """The pair (G1, G2) with the fewest MACs on a map of H x W tokens and C channels; the smallest pair of equals.

    The formula knows nothing of accuracy: without a condition the answer is always windows of one token and one merged
    token for the whole map, which is cheap because it attends to next to nothing.

    Args:
        H, W: of the map, in tokens.
        C: channels.
        allowed: which pairs to choose from, such as `cell_within_window`.

    Raises:
        ValueError: for sizes below 1, or where nothing is allowed.

    >>> choose(56, 56, 64)
    Choice(G1=1, G2=56, macs=65036288)
    >>> choose(56, 56, 64, cell_within_window)
    Choice(G1=8, G2=8, macs=109985792)
    """
    pairs = {pair: macs for pair, macs in costs(H, W, C).items() if allowed(*pair)}
    if not pairs:
        raise ValueError(f"no pair (G1, G2) is allowed on a map of {H} x {W} tokens")
    (G1, G2), macs = min(pairs.items(), key=lambda item: (item[1], item[0]))
    return Choice(G1, G2, macs)


def valley(H: int, W: int, C: int) -> float:
    r"""$G_1 G_2$ on the floor of the valley: $\sqrt{HW + C}$.

    Along any fixed ratio of G1 to G2 the two parts of the cost are equal there, and their sum is the smallest.

    >>> round(valley(56, 56, 64), 1)  # the published choice is 8 times 8
    56.6
    """
    return float((H * W + C) ** 0.5)
