"""The modules that are timed: how each is built, and what the formula says it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import nn

from hatnet import complexity, relatives
from hatnet.attention import MHSA
from hatnet.complexity import Cost
from hatnet.config import nearest
from hatnet.hierarchical_attention import HMHSA

# G1 and G2 of the paper for the stages with windows (0, 1, 2 here, 2 to 4 in Table 1).
CLASSIFICATION = ((8, 8), (7, 4), (7, 2))
DENSE = ((8, 16), (8, 8), (8, 4))
WINDOW = 7  # of Swin and Twins
DIVISORS = (8, 4, 2)  # spatial reduction of PVT and Twins
POOLED = 7  # side of PVTv2's pooled map

NAMES = ("mhsa", "h-mhsa", "h-mhsa-dense", "swin", "pvt", "pvt-v2", "twins")


@dataclass(frozen=True)
class Contender:
    """An attention module: a fresh one, and its cost for one image on a map of (H, W) tokens, padding included."""

    name: str  # as typed and recorded
    title: str  # as printed
    setting: str  # the sizes it works with
    build: Callable[[], nn.Module]
    cost: Callable[[int, int], Cost]

    @property
    def label(self) -> str:
        """Title and setting."""
        return f"{self.title} {self.setting}".strip()


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError, with the nearest name, for one that is not known."""
    for name in names:
        if name not in NAMES:
            raise ValueError(f"unknown module {name!r}{nearest(name, NAMES)}; known: {', '.join(NAMES)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"modules={tuple(names)} must hold at least one of {', '.join(NAMES)}, and none twice")


def contenders(names: Sequence[str], stage: int, C: int, heads: int) -> dict[str, Contender]:
    """The modules of these names with `C` channels, set as published for a stage (as the code counts).

    Raises:
        ValueError: for an unknown name.
    """
    check_names(names)
    r = DIVISORS[stage]

    def hierarchical(name: str, title: str, G1: int, G2: int) -> Contender:
        return Contender(
            name,
            title,
            f"{G1}, {G2}",
            lambda: HMHSA(C, heads, G1, G2),
            lambda H, W: complexity.h_mhsa(H, W, C, G1, G2, padded=True),
        )

    known = (
        Contender("mhsa", "plain", "", lambda: MHSA(C, heads), lambda H, W: complexity.mhsa(H, W, C)),
        hierarchical("h-mhsa", "H-MHSA", *CLASSIFICATION[stage]),
        hierarchical("h-mhsa-dense", "H-MHSA", *DENSE[stage]),
        Contender(
            "swin",
            "Swin",
            f"{WINDOW}",
            lambda: relatives.SwinAttention(C, heads, WINDOW),
            lambda H, W: complexity.swin(H, W, C, WINDOW, heads, padded=True),
        ),
        Contender(
            "pvt", "PVT", f"/{r}", lambda: relatives.PVTAttention(C, heads, r), lambda H, W: complexity.pvt(H, W, C, r)
        ),
        Contender(
            "pvt-v2",
            "PVTv2",
            f"{POOLED}x{POOLED}",
            lambda: relatives.PVTv2LinearAttention(C, heads, POOLED),
            lambda H, W: complexity.pvt_v2_linear(H, W, C, POOLED),
        ),
        Contender(
            "twins",
            "Twins",
            f"{WINDOW}, /{r}",
            lambda: relatives.TwinsAttention(C, heads, WINDOW, r),
            lambda H, W: complexity.twins(H, W, C, WINDOW, r, padded=True),
        ),
    )
    return {contender.name: contender for contender in known if contender.name in names}
