"""The arms of the ablation: one small HAT-Net, and what each arm has where H-MHSA is.

As in Table 5 of the paper, the last stage keeps its plain attention; the stages before it change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torch import nn

from hatnet import complexity
from hatnet.attention import MHSA
from hatnet.complexity import Cost
from hatnet.config import HATNetConfig, Stage, nearest
from hatnet.hierarchical_attention import HMHSA
from hatnet.studies.ablation.attention import GlobalOnly, LocalOnly, NoAttention, SpatialReduction

# Maps of 14 x 14, 7 x 7 and 4 x 4 tokens for images of 28 x 28; small enough to train many on one core.
CONFIG = HATNetConfig(
    "ablation",
    in_channels=1,
    num_classes=10,
    stem_channels=8,
    stem_strides=(1, 2),
    channels=(16, 32, 64),
    depths=(1, 1, 1),
    kernel_sizes=(3, 3, 3),
    expansions=(8, 8, 4),
    head_dim=16,
    grid_sizes=(7, 4),
    pool_sizes=(4, 2),
    classifier_drop_rate=0.0,
)
BASE = "h-mhsa"  # what all others are matched to and compared with


@dataclass(frozen=True)
class Kind:
    """A kind of attention: how the module for a stage is made, and what it costs on a map of (H, W) tokens."""

    build: Callable[[Stage], nn.Module]
    cost: Callable[[Stage, int, int], Cost]


@dataclass(frozen=True)
class Arm:
    """One network of the ablation."""

    name: str  # as typed and recorded
    title: str  # as printed
    kind: str  # of `KINDS`
    grid_sizes: tuple[int, ...] = CONFIG.grid_sizes  # G1, where the kind has windows
    pool_sizes: tuple[int, ...] = CONFIG.pool_sizes  # G2, where it merges; R for PVT
    own_cost: bool = False  # whether the MLPs stay as they are, and the cost is what it comes to

    def config(self, classes: int = 10, channels: int = 1) -> HATNetConfig:
        """The small HAT-Net with this arm's G1 and G2."""
        return replace(
            CONFIG, num_classes=classes, in_channels=channels, grid_sizes=self.grid_sizes, pool_sizes=self.pool_sizes
        )

    def attention(self, stage: Stage) -> nn.Module:
        """The module in one block of a stage; plain attention in the last."""
        return KINDS[self.kind if stage.grid_size else "mhsa"].build(stage)

    def cost(self, stage: Stage, H: int, W: int) -> Cost:
        """What that module costs on a map of (H, W) tokens; windows over the border count what is there."""
        return KINDS[self.kind if stage.grid_size else "mhsa"].cost(stage, H, W)


def _local_cost(stage: Stage, H: int, W: int) -> Cost:
    """Swin's, less its table of position biases."""
    cost = complexity.swin(H, W, stage.channels, _size(stage.grid_size))
    return replace(cost, parameters=cost.parameters - (2 * _size(stage.grid_size) - 1) ** 2)


def _global_cost(stage: Stage, H: int, W: int) -> Cost:
    """The far half of H-MHSA's: without the windows, their projections and one of three norms."""
    C, far = stage.channels, ("W2q", "W2k W2v", "Q2 K2^T", "softmax V2", "Wp")
    both = complexity.h_mhsa(H, W, C, 1, _size(stage.pool_size))
    near_parameters = (C * 3 * C + 3 * C) + 2 * C
    return Cost({term: both.macs[term] for term in far}, both.parameters - near_parameters)


def _size(size: int | None) -> int:
    assert size is not None  # of a stage that has windows
    return size


KINDS: dict[str, Kind] = {
    "h-mhsa": Kind(
        lambda stage: HMHSA(stage.channels, stage.heads, _size(stage.grid_size), _size(stage.pool_size)),
        lambda stage, H, W: complexity.h_mhsa(H, W, stage.channels, _size(stage.grid_size), _size(stage.pool_size)),
    ),
    "local": Kind(lambda stage: LocalOnly(stage.channels, stage.heads, _size(stage.grid_size)), _local_cost),
    "global": Kind(lambda stage: GlobalOnly(stage.channels, stage.heads, _size(stage.pool_size)), _global_cost),
    "mhsa": Kind(
        lambda stage: MHSA(stage.channels, stage.heads),
        lambda stage, H, W: complexity.mhsa(H, W, stage.channels),
    ),
    "pvt": Kind(
        lambda stage: SpatialReduction(stage.channels, stage.heads, _size(stage.pool_size)),
        lambda stage, H, W: complexity.pvt(H, W, stage.channels, _size(stage.pool_size)),
    ),
    "none": Kind(lambda stage: NoAttention(), lambda stage, H, W: Cost({}, parameters=0)),
}

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        Arm("h-mhsa", "H-MHSA", "h-mhsa"),
        Arm("local", "local only", "local"),
        Arm("global", "global only", "global"),
        Arm("mhsa", "plain MHSA", "mhsa"),
        Arm("pvt", "spatial reduction", "pvt"),
        Arm("none", "no attention", "none"),
        # In the spirit of Table 6: one of G1 and G2 smaller or larger, the other as it is.
        Arm("small-windows", "H-MHSA, G1 = 4, 2", "h-mhsa", grid_sizes=(4, 2)),
        Arm("large-windows", "H-MHSA, G1 = 14, 7", "h-mhsa", grid_sizes=(14, 7)),
        Arm("fine-cells", "H-MHSA, G2 = 2, 1", "h-mhsa", pool_sizes=(2, 1)),
        Arm("coarse-cells", "H-MHSA, G2 = 7, 4", "h-mhsa", pool_sizes=(7, 4)),
        # Table 6 itself asks so: nothing else changes, and each has the cost that it has.
        Arm("small-windows-own", "G1 = 4, 2, own cost", "h-mhsa", grid_sizes=(4, 2), own_cost=True),
        Arm("large-windows-own", "G1 = 14, 7, own cost", "h-mhsa", grid_sizes=(14, 7), own_cost=True),
        Arm("fine-cells-own", "G2 = 2, 1, own cost", "h-mhsa", pool_sizes=(2, 1), own_cost=True),
        Arm("coarse-cells-own", "G2 = 7, 4, own cost", "h-mhsa", pool_sizes=(7, 4), own_cost=True),
    )
}
MATCHED = tuple(name for name, arm in ARMS.items() if not arm.own_cost)


def check_arms(names: Sequence[str]) -> None:
    """Raise ValueError, with the nearest name, for an arm that is not known, for none, and for one named twice."""
    for name in names:
        if name not in ARMS:
            raise ValueError(f"unknown arm {name!r}{nearest(name, ARMS)}; known: {', '.join(ARMS)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"arms={tuple(names)} must hold at least one of {', '.join(ARMS)}, and none twice")
