r"""Through the windows: the matrix $L$ of Eq. 6-8, which is never formed.

$L_{ij}$ is the weight of token i for token j of its window, and zero for all other tokens. The rows sum to one. Codes
such as D6 are explained in docs/paper-vs-code.md.
"""

from torch import Tensor

from hatnet.hierarchical_attention import from_windows, to_windows
from hatnet.maps.tokens import Token


def local_map(weights: Tensor, window: tuple[int, int], size: tuple[int, int], query: Token) -> Tensor:
    """Row $L_i$ of one token, (B, H, W), zero outside its window, from weights (B, rows, columns, g h, g h)."""
    (g, h), (H, W), (row, column) = window, size, query
    top, left = row // g * g, column // h * h  # corner of the window
    bottom, right = min(top + g, H), min(left + h, W)  # smaller at the border  D6
    own = weights[:, row // g, column // h, (row - top) * h + column - left].unflatten(-1, (g, h))
    found = weights.new_zeros(len(weights), H, W)
    found[:, top:bottom, left:right] = own[:, : bottom - top, : right - left]
    return found


def through_windows(maps: Tensor, weights: Tensor, window: tuple[int, int]) -> Tensor:
    r"""Take R rows r, (B, H, W, R), back from the output of the windows to their input: $r L$, in the same shape."""
    _, H, W, _ = maps.shape
    r = to_windows(maps, window)  # (B windows, g h, R)  Eq. 6
    back = weights.flatten(0, 2).transpose(-2, -1) @ r  # (B windows, g h, R)
    return from_windows(back, window, (H, W))  # Eq. 8
