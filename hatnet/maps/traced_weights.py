"""The attention weights of a whole network, by stage, block and head."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from hatnet.config import HATNetConfig, StageLayout
from hatnet.maps.block_map import Head
from hatnet.trace import Place


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
