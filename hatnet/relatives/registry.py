"""The registry of attentions to compare: how each is built, its cost formula, and its look in figures.

To add one, write its module and its cost formula in a file of this package and add an entry to `ATTENTIONS`. The
command `hatnet scaling`, its tables and figures, and the tests of modules and formulas all read the registry.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from hatnet.attention import MHSA
from hatnet.complexity.attention import h_mhsa_cost, mhsa_cost
from hatnet.complexity.cost import Cost
from hatnet.config import VARIANTS
from hatnet.hierarchical_attention import HMHSA
from hatnet.relatives.pvt import PVTAttention, PVTv2LinearAttention, pvt_cost, pvt_v2_linear_cost
from hatnet.relatives.swin import SwinAttention, swin_cost
from hatnet.relatives.twins import TwinsAttention, twins_cost

# Published sizes for the stages with windows: 0, 1, 2 here, 2 to 4 in Table 1.
CLASSIFICATION_SIZES = tuple(zip(VARIANTS["small"].grid_sizes, VARIANTS["small"].pool_sizes, strict=True))  # G1, G2
DENSE_SIZES = ((8, 16), (8, 8), (8, 4))  # G1, G2 for detection and segmentation
WINDOW = 7  # of Swin and Twins
REDUCTIONS = (8, 4, 2)  # R of PVT and Twins
POOLED = 7  # side of PVT v2's pooled map


@dataclass(frozen=True)
class Attention:
    """An entry of the registry; after `at`, with the channels, heads and sizes of one stage."""

    name: str  # as typed and recorded
    title: str  # as printed
    colour: str  # in figures: from Okabe and Ito's palette, which colour-blind readers can tell apart
    marker: str  # in figures
    build: Callable[..., nn.Module]  # (channels, heads, **sizes) -> a module on maps (B, H, W, C); after `at`, of ()
    cost: Callable[..., Cost]  # (H, W, C, heads, **sizes) -> the cost of one image as PyTorch computes it; of (H, W)
    sizes: Sequence[dict[str, int]]  # by stage, as published
    setting: str = ""  # the sizes as printed; in the registry a format string with their names

    @property
    def label(self) -> str:
        """Title and setting."""
        return f"{self.title} {self.setting}".strip()

    def at(self, stage: int, C: int, heads: int) -> "Attention":
        """Set the channels and heads, and the published sizes of a stage."""
        sizes = self.sizes[stage]
        return replace(
            self,
            setting=self.setting.format(**sizes),
            build=partial(self.build, C, heads, **sizes),
            cost=partial(self.cost, C=C, heads=heads, **sizes),
        )


_H_MHSA = Attention(
    name="h-mhsa",
    title="H-MHSA",
    colour="#D55E00",
    marker="s",
    build=HMHSA,
    cost=lambda H, W, C, heads, grid_size, pool_size: h_mhsa_cost(H, W, C, grid_size, pool_size, padded=True),
    sizes=[{"grid_size": G1, "pool_size": G2} for G1, G2 in CLASSIFICATION_SIZES],
    setting="{grid_size}, {pool_size}",
)

ATTENTIONS: dict[str, Attention] = {
    attention.name: attention
    for attention in (
        Attention(
            name="mhsa",
            title="plain",
            colour="#000000",
            marker="o",
            build=MHSA,
            cost=lambda H, W, C, heads: mhsa_cost(H, W, C),
            sizes=[{} for _ in CLASSIFICATION_SIZES],
        ),
        _H_MHSA,
        replace(
            _H_MHSA,
            name="h-mhsa-dense",
            colour="#E69F00",
            marker="D",
            sizes=[{"grid_size": G1, "pool_size": G2} for G1, G2 in DENSE_SIZES],
        ),
        Attention(
            name="swin",
            title="Swin",
            colour="#0072B2",
            marker="^",
            build=SwinAttention,
            cost=lambda H, W, C, heads, window: swin_cost(H, W, C, window, heads, padded=True),
            sizes=[{"window": WINDOW} for _ in CLASSIFICATION_SIZES],
            setting="{window}",
        ),
        Attention(
            name="pvt",
            title="PVT",
            colour="#009E73",
            marker="v",
            build=PVTAttention,
            cost=lambda H, W, C, heads, reduction: pvt_cost(H, W, C, reduction),
            sizes=[{"reduction": R} for R in REDUCTIONS],
            setting="/{reduction}",
        ),
        Attention(
            name="pvt-v2",
            title="PVTv2",
            colour="#56B4E9",
            marker="P",
            build=PVTv2LinearAttention,
            cost=lambda H, W, C, heads, pooled: pvt_v2_linear_cost(H, W, C, pooled),
            sizes=[{"pooled": POOLED} for _ in CLASSIFICATION_SIZES],
            setting="{pooled}x{pooled}",
        ),
        Attention(
            name="twins",
            title="Twins",
            colour="#CC79A7",
            marker="X",
            build=TwinsAttention,
            cost=lambda H, W, C, heads, window, reduction: twins_cost(H, W, C, window, reduction, padded=True),
            sizes=[{"window": WINDOW, "reduction": R} for R in REDUCTIONS],
            setting="{window}, /{reduction}",
        ),
    )
}
