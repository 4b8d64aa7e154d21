r"""What reaches a token through a block: windows, merged cells and residuals together.

By Eq. 9 the windows give $A_1 = (I + L) X$; by Eq. 10-13 the merged tokens give $A_2 = G P A_1$; by Eq. 14 the block
gives $A_1 + A_2 + X$. Those are five ways, each a matrix whose rows sum to one, and each counts the same:

$$C = \tfrac{1}{5} \left[\, I + (I + G P)(I + L) \,\right] = \tfrac{1}{5} \left[\, 2I + L + G P + G P L \,\right]$$

Plain attention (Eq. 3) has two: $C = (I + A) / 2$, as rollout always had it. No weight is chosen by hand: 5 C (and 2 C)
is the Jacobian of the block's attention when the values are left alone, that is with norms, $W^v$ and $W^p$ the
identity, no biases, and the weights held fixed. How much norms and matrices scale each way in truth is not in C.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from hatnet.maps.cells import through_cells
from hatnet.maps.windows import through_windows

Map = TypeVar("Map")  # a tensor, or an array


class Shares(NamedTuple):
    """How much each way counts in C; they sum to one."""

    residual: float  # I
    window: float  # L
    cells: float  # G P, or A where attention is plain
    windows_in_cells: float  # G P L


HIERARCHICAL = Shares(residual=2 / 5, window=1 / 5, cells=1 / 5, windows_in_cells=1 / 5)  # Eq. 14
PLAIN = Shares(residual=1 / 2, window=0, cells=1 / 2, windows_in_cells=0)  # Eq. 3


class Parts(NamedTuple, Generic[Map]):
    """The parts of a composed map, which they add up to: 2/5, 1/5 and 2/5 of it, or 1/2, 0 and 1/2."""

    residual: Map  # 2I / 5, or I / 2: what stays in place
    window: Map  # L / 5: what the token takes from its window
    cells: Map  # G P (I + L) / 5, or A / 2: what merged cells hold, with what windows brought to them


@dataclass(frozen=True)
class Head:
    """The weights of one head in one block."""

    far: Tensor  # G, (B, HW, H'W'); A, (B, HW, HW), where attention is plain
    pool_size: int = 1  # G2; where attention is plain, each token is its own cell
    near: Tensor | None = None  # (B, rows, columns, g h, g h); None where attention is plain
    window: tuple[int, int] = (1, 1)  # a full one, (g, h)

    @property
    def shares(self) -> Shares:
        """How much each way counts."""
        return PLAIN if self.near is None else HIERARCHICAL

    def parts(self, maps: Tensor) -> Parts[Tensor]:
        """Rows r, taken back through the block's attention: r C in its parts; (B, H, W, R) -> three of (B, H, W, R)."""
        share = self.shares
        cells = through_cells(maps, self.far, self.pool_size)  # r G P  Eq. 10-13
        if self.near is None:
            return Parts(share.residual * maps, torch.zeros_like(maps), share.cells * cells)
        brought = through_windows(cells, self.near, self.window)  # r G P L  Eq. 9
        return Parts(
            share.residual * maps,
            share.window * through_windows(maps, self.near, self.window),
            share.cells * cells + share.windows_in_cells * brought,
        )


def composed(maps: Tensor, heads: list[Head]) -> Parts[Tensor]:
    """The mean over heads of each head's parts. A head's windows bring to cells what the same head then takes from."""
    each = [head.parts(maps) for head in heads]
    return Parts(*(sum(part) / len(each) for part in zip(*each, strict=True)))
