r"""Choosing G1 and G2 by cost, and what cost alone cannot decide.

By Eq. 15 the cost of one token, apart from its projections, is $2C \, [G_1^2 + (HW + C) / G_2^2]$: it attends to the
tokens of its window and to the merged tokens, which have keys and values of their own. Smaller windows and larger cells
are always cheaper. A valley appears only when one is tied to the other.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hatnet.complexity.attention import h_mhsa_cost
from hatnet.complexity.cost import check_sizes

LONGEST = 512  # tokens along the longer side: 262,144 pairs take seconds


@dataclass(frozen=True)
class WindowSizes:
    """A pair of sizes, and the MACs of H-MHSA with them."""

    G1: int
    G2: int
    macs: int


def cell_within_window(G1: int, G2: int) -> bool:
    """True for cells no larger than a window: the tokens around a query reach as far as the next merged token."""
    return G2 <= G1


def macs_by_window_sizes(H: int, W: int, C: int) -> dict[tuple[int, int], int]:
    """MACs of H-MHSA for every pair (G1, G2) up to the longer side of the map, which may have `LONGEST` tokens.

    >>> macs_by_window_sizes(14, 14, 320)[7, 2]
    122680320
    """
    H, W, C = check_sizes(H=H, W=W, C=C)
    if max(H, W) > LONGEST:
        raise ValueError(f"a map of {H} x {W} tokens is too large to try every pair: at most {LONGEST} a side")
    sides = range(1, max(H, W) + 1)
    return {(G1, G2): h_mhsa_cost(H, W, C, G1, G2).total_macs for G1 in sides for G2 in sides}


def cheapest_window_sizes(
    H: int, W: int, C: int, allowed: Callable[[int, int], bool] = lambda G1, G2: True
) -> WindowSizes:
    """The pair (G1, G2) with the fewest MACs among those that `allowed` accepts; a tie goes to the smaller pair.

    The formula ignores accuracy. Without a condition the cheapest pair is always windows of one token and one merged
    token for the whole map, which attends to next to nothing. Raises ValueError if no pair is allowed.

    >>> cheapest_window_sizes(56, 56, 64)
    WindowSizes(G1=1, G2=56, macs=65036288)
    >>> cheapest_window_sizes(56, 56, 64, cell_within_window)
    WindowSizes(G1=8, G2=8, macs=109985792)
    """
    pairs = [(macs, pair) for pair, macs in macs_by_window_sizes(H, W, C).items() if allowed(*pair)]
    if not pairs:
        raise ValueError(f"no pair (G1, G2) is allowed on a map of {H} x {W} tokens; `allowed` must accept one")
    macs, (G1, G2) = min(pairs)
    return WindowSizes(G1, G2, macs)


def valley(H: int, W: int, C: int) -> float:
    r"""The product $G_1 G_2$ on the floor of the valley: $\sqrt{HW + C}$.

    Along any fixed ratio of G1 to G2 the two parts of the cost are equal there, and their sum is the smallest.

    >>> round(valley(56, 56, 64), 1)  # the published sizes are 8 and 8
    56.6
    """
    H, W, C = check_sizes(H=H, W=W, C=C)
    return float((H * W + C) ** 0.5)
