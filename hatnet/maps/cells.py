r"""Through the merged tokens: the matrix $G P$ of Eq. 10-13, which is never formed.

$G_{im}$ is the weight of token i for merged token m. Merging averages (Eq. 10), so P gives each token of a cell an
equal share of the cell's weight. The rows of G, of P and of G P sum to one.
"""

import torch
from torch import Tensor

from hatnet.config import ceil_div


def spread(cells: Tensor, size: tuple[int, int], pool_size: int) -> Tensor:
    """Share the weight of each cell equally among its tokens: $g P$ for rows g.

    With a `pool_size` of G2, (B, H', W', ...) becomes (B, H, W, ...) with the same sums; `size` is (H, W).

    >>> spread(torch.tensor([[[0.8, 0.2]]]), size=(1, 3), pool_size=2)  # the last cell holds one token
    tensor([[[0.4000, 0.4000, 0.2000]]])
    """
    for axis, length in zip((1, 2), size, strict=True):
        cells = cells.repeat_interleave(pool_size, dim=axis).narrow(axis, 0, length)
        place = torch.arange(length, device=cells.device) // pool_size  # the cell of each token
        held = (length - place * pool_size).clamp(max=pool_size)  # its number of tokens along this axis
        cells = cells / held.view(-1, *[1] * (cells.ndim - axis - 1))  # Eq. 10
    return cells


def through_cells(maps: Tensor, weights: Tensor, pool_size: int) -> Tensor:
    r"""Take R rows r, (B, H, W, R), back from the output of global attention to $A_1$: $r\, G P$, in the same shape.

    The weights G of one head are (B, HW, H'W'). Where attention is plain, each token is its own cell: `pool_size=1`.
    """
    _, H, W, _ = maps.shape
    cells = weights.transpose(-2, -1) @ maps.flatten(1, 2)  # (B, H'W', R)  Eq. 11-13
    return spread(cells.unflatten(1, (ceil_div(H, pool_size), ceil_div(W, pool_size))), (H, W), pool_size)
