"""The arms of the ablation: one small HAT-Net, with a different attention in each arm.

As in Table 5 of the paper, the last stage keeps its plain attention; the stages before it change. To add an arm, add
an entry to `ARMS`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from hatnet.attention import MHSA
from hatnet.complexity import Cost, h_mhsa_cost, mhsa_cost
from hatnet.config import HATNetConfig, Stage
from hatnet.hierarchical_attention import HMHSA
from hatnet.relatives import ATTENTIONS, swin_cost
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
BASE = "h-mhsa"  # the arm that all others are matched to and compared with


@dataclass(frozen=True)
class Arm:
    """One network of the ablation."""

    name: str  # as typed and recorded
    title: str  # as printed
    colour: str  # in figures: from Okabe and Ito's palette, made to be told apart by colour-blind readers
    marker: str  # in figures
    # The attention of one block in a stage with windows, and its cost on a map of (H, W) tokens.
    build: Callable[[int, int, int, int], nn.Module]  # (C, heads, G1, G2) -> a module on maps (B, H, W, C)
    attention_cost: Callable[[int, int, int, int, int, int], Cost]  # of (H, W, C, heads, G1, G2)
    grid_sizes: tuple[int, ...] = CONFIG.grid_sizes  # G1, where the attention has windows
    pool_sizes: tuple[int, ...] = CONFIG.pool_sizes  # G2, where it merges tokens; R for PVT
    own_cost: bool = False  # True: the MLPs keep their widths, and the cost differs from H-MHSA's

    def config(self, classes: int = 10, channels: int = 1) -> HATNetConfig:
        """The small HAT-Net with this arm's G1 and G2."""
        return replace(
            CONFIG, num_classes=classes, in_channels=channels, grid_sizes=self.grid_sizes, pool_sizes=self.pool_sizes
        )

    def attention(self, stage: Stage) -> nn.Module:
        """Build the attention of one block; plain attention in the last stage."""
        if stage.grid_size is None or stage.pool_size is None:
            return MHSA(stage.channels, stage.heads)
        return self.build(stage.channels, stage.heads, stage.grid_size, stage.pool_size)

    def cost(self, stage: Stage, H: int, W: int) -> Cost:
        """Cost of that attention on a map of (H, W) tokens; windows at the border count only the tokens that exist."""
        if stage.grid_size is None or stage.pool_size is None:
            return mhsa_cost(H, W, stage.channels)
        return self.attention_cost(H, W, stage.channels, stage.heads, stage.grid_size, stage.pool_size)

    @property
    def is_variant(self) -> bool:
        """True if the arm differs from H-MHSA in G1 or G2 alone."""
        return (self.grid_sizes, self.pool_sizes) != (CONFIG.grid_sizes, CONFIG.pool_sizes)


def _local_cost(H: int, W: int, C: int, G1: int) -> Cost:
    """Swin's cost without its table of position biases."""
    cost = swin_cost(H, W, C, G1)
    return replace(cost, parameters=cost.parameters - (2 * G1 - 1) ** 2)


def _global_cost(H: int, W: int, C: int, G2: int) -> Cost:
    """The cost of H-MHSA without its local half: without the windows, their projections and one of three norms."""
    both = h_mhsa_cost(H, W, C, 1, G2)
    terms = ("W2q", "W2k W2v", "Q2 K2^T", "softmax V2", "Wp")
    local_parameters = (C * 3 * C + 3 * C) + 2 * C
    return Cost({term: both.macs[term] for term in terms}, both.parameters - local_parameters)


H_MHSA = Arm(
    "h-mhsa", "H-MHSA", ATTENTIONS["h-mhsa"].colour, ATTENTIONS["h-mhsa"].marker,
    build=HMHSA,
    attention_cost=lambda H, W, C, _, G1, G2: h_mhsa_cost(H, W, C, G1, G2),
)  # fmt: skip


# H-MHSA with one of G1 and G2 smaller or larger.
VARIANTS = tuple(
    replace(H_MHSA, name=name, title=sizes, colour="#E69F00", marker=marker, grid_sizes=G1, pool_sizes=G2)
    for name, sizes, marker, G1, G2 in (
        ("small-windows", "G1 = 4, 2", "<", (4, 2), CONFIG.pool_sizes),
        ("large-windows", "G1 = 14, 7", ">", (14, 7), CONFIG.pool_sizes),
        ("fine-cells", "G2 = 2, 1", "d", CONFIG.grid_sizes, (2, 1)),
        ("coarse-cells", "G2 = 7, 4", "D", CONFIG.grid_sizes, (7, 4)),
    )
)

# Other kinds of attention.
KINDS = (
    Arm(
        "local", "local only", "#0072B2", "^",
        build=lambda C, heads, G1, _: LocalOnly(C, heads, G1),
        attention_cost=lambda H, W, C, heads, G1, _: _local_cost(H, W, C, G1),
    ),
    Arm(
        "global", "global only", "#56B4E9", "P",
        build=lambda C, heads, _, G2: GlobalOnly(C, heads, G2),
        attention_cost=lambda H, W, C, heads, _, G2: _global_cost(H, W, C, G2),
    ),
    Arm(
        "mhsa", "plain MHSA", ATTENTIONS["mhsa"].colour, ATTENTIONS["mhsa"].marker,
        build=lambda C, heads, *_: MHSA(C, heads),
        attention_cost=lambda H, W, C, *_: mhsa_cost(H, W, C),
    ),
    Arm(
        "pvt", "spatial reduction", ATTENTIONS["pvt"].colour, ATTENTIONS["pvt"].marker,
        build=lambda C, heads, _, G2: SpatialReduction(C, heads, G2),
        attention_cost=lambda H, W, C, heads, _, G2: ATTENTIONS["pvt"].cost(H, W, C, heads, reduction=G2),
    ),
    Arm(
        "none", "no attention", "#CC79A7", "X",
        build=lambda *_: NoAttention(),
        attention_cost=lambda *_: Cost({}, parameters=0),
    ),
)  # fmt: skip

ARMS: dict[str, Arm] = {
    arm.name: arm
    for arm in (
        H_MHSA,
        *KINDS,
        *(replace(arm, title=f"H-MHSA, {arm.title}") for arm in VARIANTS),
        # As in Table 6 itself: nothing else changes, and each has its own cost.
        *(
            replace(arm, name=f"{arm.name}-own", title=f"{arm.title}, own cost", own_cost=True)
            for arm in VARIANTS + KINDS
        ),
    )
}
MATCHED = tuple(name for name, arm in ARMS.items() if not arm.own_cost)
