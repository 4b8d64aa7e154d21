r"""The map of one block: windows, merged cells and residuals together.

By Eq. 9 the windows give $A_1 = (I + L) X$; by Eq. 10-13 the merged tokens give $A_2 = G P A_1$; by Eq. 14 the block
gives $A_1 + A_2 + X$. That makes five paths from the block's input to its output. Each is a matrix whose rows sum to
one, and each counts the same:

$$F = \tfrac{1}{5} \left[\, I + (I + G P)(I + L) \,\right] = \tfrac{1}{5} \left[\, 2I + L + G P + G P L \,\right]$$

Plain attention (Eq. 3) has two paths, $F = (I + A) / 2$: the usual convention of attention rollout. No weight is chosen
by hand: 5 F (or 2 F) is the Jacobian of the block's attention with the weights held fixed, no biases, and norms, $W^v$
and $W^p$ replaced by the identity. F leaves out how much norms and matrices scale each path.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import torch
from torch import Tensor

from hatnet.config import HATNetConfig, StageLayout
from hatnet.maps.cells import through_cells
from hatnet.maps.windows import through_windows
from hatnet.trace import Place

Map = TypeVar("Map")  # a tensor, or an array


class Shares(NamedTuple):
    """The share of each path in F; they sum to one."""

    residual: float  # I
    window: float  # L
    cells: float  # G P, or A where attention is plain
    windows_in_cells: float  # G P L


HIERARCHICAL = Shares(residual=2 / 5, window=1 / 5, cells=1 / 5, windows_in_cells=1 / 5)  # Eq. 14
PLAIN = Shares(residual=1 / 2, window=0, cells=1 / 2, windows_in_cells=0)  # Eq. 3


class Parts(NamedTuple, Generic[Map]):
    """Three parts of a block's map. Their sums are 2/5, 1/5 and 2/5; where attention is plain 1/2, 0 and 1/2."""

    residual: Map  # 2I / 5, or I / 2: stays in place
    window: Map  # L / 5: comes through the window
    cells: Map  # G P (I + L) / 5, or A / 2: comes through merged cells, also by way of a window


@dataclass(frozen=True)
class Head:
    """The weights of one head in one block."""

    far: Tensor  # G, (B, HW, H'W'); A, (B, HW, HW), where attention is plain
    pool_size: int = 1  # G2; where attention is plain, each token is its own cell
    near: Tensor | None = None  # (B, rows, columns, g h, g h); None where attention is plain
    window: tuple[int, int] = (1, 1)  # a full one, (g, h)

    @property
    def shares(self) -> Shares:
        return PLAIN if self.near is None else HIERARCHICAL

    def parts(self, maps: Tensor) -> Parts[Tensor]:
        """Take rows r back through the block's attention, r F in its parts: (B, H, W, R) -> three of (B, H, W, R)."""
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


@dataclass(frozen=True)
class TracedWeights:
    """The arrays of weights that a forward pass recorded for a batch of images."""

    config: HATNetConfig
    layouts: Sequence[StageLayout]  # the grid of tokens, windows and cells at each stage
    arrays: Mapping[str, Tensor]  # the weights under their names in the trace

    def local(self, stage: int, block: int) -> Tensor:
        """The weights within windows (Eq. 7), (B, rows, columns, heads, g h, g h)."""
        return self.arrays[str(Place(stage, block, "attention.local_weights"))]

    def over_cells(self, stage: int, block: int) -> Tensor:
        """The weights over merged tokens (Eq. 12), (B, heads, HW, H'W'); over all tokens where attention is plain."""
        plain = self.config.stages[stage].pool_size is None
        return self.arrays[str(Place(stage, block, "attention.weights" if plain else "attention.global_weights"))]

    def heads(self, stage: int, block: int, head: int | None = None) -> list[Head]:
        """One head of a block, or all of them for None."""
        far = self.over_cells(stage, block)
        chosen = range(far.shape[1]) if head is None else [head]
        window, pool_size = self.layouts[stage].window, self.config.stages[stage].pool_size
        if window is None or pool_size is None:
            return [Head(far[:, one]) for one in chosen]
        near = self.local(stage, block)
        return [Head(far[:, one], pool_size, near[:, :, :, one], window) for one in chosen]


def through_block(maps: Tensor, heads: list[Head]) -> Parts[Tensor]:
    """Take rows r, (B, H, W, R), back through each head of a block: the parts of r F, averaged over heads."""
    each = [head.parts(maps) for head in heads]
    return Parts(*(sum(part) / len(each) for part in zip(*each, strict=True)))
