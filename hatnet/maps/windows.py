r"""Through the windows: the matrix $L$ of Eq. 6-8, without ever forming it.

$L_{ij}$ is the weight that token i gives to token j of its window, and zero for all others; its rows sum to one.
"""

from __future__ import annotations

from torch import Tensor

from hatnet.hierarchical_attention import from_windows, to_windows
from hatnet.maps.tokens import Token


def local_map(weights: Tensor, window: tuple[int, int], size: tuple[int, int], query: Token) -> Tensor:
    """Row $L_i$ of one token: its weights in their place on the map, zero outside its window.

    Args:
        weights: of one head, or a mean of heads, (B, rows, columns, g h, g h).
        window: a full one, (g, h).
        size: of the map, (H, W).
        query: row and column of the token.

    Returns:
        (B, H, W), each sums to one.
    """
    (g, h), (H, W), (row, column) = window, size, query
    top, left = row // g * g, column // h * h  # of its window
    bottom, right = min(top + g, H), min(left + h, W)  # smaller at the border  D6
    own = weights[:, row // g, column // h, (row - top) * h + column - left].unflatten(-1, (g, h))
    found = weights.new_zeros(len(weights), H, W)
    found[:, top:bottom, left:right] = own[:, : bottom - top, : right - left]
    return found


def through_windows(maps: Tensor, weights: Tensor, window: tuple[int, int]) -> Tensor:
    r"""Maps r of weights over what comes out of the windows, taken back to what went in: $r L$.

    Args:
        maps: (B, H, W, R): R rows r, each a map over all tokens.
        weights: of one head, (B, rows, columns, g h, g h).
        window: a full one, (g, h).

    Returns:
        (B, H, W, R).
    """
    _, H, W, _ = maps.shape
    r = to_windows(maps, window)  # (B windows, g h, R)  Eq. 6
    back = weights.flatten(0, 2).transpose(-2, -1) @ r  # (B windows, g h, R)
    return from_windows(back, window, (H, W))  # Eq. 8
