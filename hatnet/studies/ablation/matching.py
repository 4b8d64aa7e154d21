r"""Equal parameters and equal cost: the MLP widths of an arm that make up for what its attention saves or spends.

A unit of width in stage $s$ has $u_s = L_s (2 C_s + K^2)$ parameters and costs $u_s H_s W_s$ MACs, so that the widths
$w_s$ have to solve two equations, with P and M what the target has more of beside the MLPs' units:

$$\sum_s u_s w_s = P, \qquad \sum_s u_s H_s W_s\, w_s = M$$

Early stages have large maps: moving width from an early stage to a late one saves MACs and keeps parameters. Three
widths and two equations leave one choice; of all solutions, rounded to whole numbers, the nearest to the widths of the
H-MHSA network is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, floor

from hatnet.complexity import Cost, Part, network_costs, total
from hatnet.config import HATNetConfig, Stage
from hatnet.studies.ablation.arms import ARMS, BASE, Arm

TOLERANCE = 0.001  # relative, of parameters and of MACs


@dataclass(frozen=True)
class Fitted:
    """An arm with its widths, for one size of image."""

    arm: Arm
    config: HATNetConfig
    image_size: int
    widths: tuple[int, ...]  # of the MLPs, a stage each

    @property
    def cost(self) -> Cost:
        """Of one image: MACs term by term, and parameters."""
        return total(parts(self.arm, self.config, self.image_size, self.widths))


def fit(arm: Arm, image_size: int = 28, classes: int = 10, channels: int = 1) -> Fitted:
    """Choose the widths of an arm; those of the H-MHSA network where it has its own cost.

    Raises:
        ValueError: if no widths match both parameters and MACs.

    >>> fit(ARMS["local"]).widths
    (149, 285, 264)
    """
    base_config, config = ARMS[BASE].config(classes, channels), arm.config(classes, channels)
    base = tuple(stage.expansion * stage.channels for stage in base_config.stages)
    if arm.own_cost:
        return Fitted(arm, config, image_size, base)
    target = Fitted(ARMS[BASE], base_config, image_size, base).cost
    best: tuple[float, tuple[int, ...]] | None = None
    for widths, cost in _candidates(arm, config, image_size, base, target):
        off = (cost.parameters / target.parameters - 1, cost.total_macs / target.total_macs - 1)
        distance = sum((width / start - 1) ** 2 for width, start in zip(widths, base, strict=True))
        if max(map(abs, off)) <= TOLERANCE and (best is None or distance < best[0]):
            best = distance, widths
    if best is None:
        raise ValueError(f"no widths give {arm.title} the parameters and MACs of {ARMS[BASE].title}")
    return Fitted(arm, config, image_size, best[1])


def parts(arm: Arm, config: HATNetConfig, image_size: int, widths: tuple[int, ...]) -> list[Part]:
    """Every module of the network and its cost: HAT-Net's, with the arm's attention and these widths."""
    changed = []
    for part in network_costs(config, image_size, image_size):
        cost = part.cost
        if part.layout is not None and part.stage is not None and "blocks" in part.name:
            stage, (H, W) = config.stages[part.stage], part.layout.map
            attention = part.name.endswith("attention")
            cost = arm.cost(stage, H, W) if attention else mlp_cost(stage, H, W, widths[part.stage])
        changed.append(Part(part.name, cost, part.layout))
    return changed


def mlp_cost(stage: Stage, H: int, W: int, hidden: int) -> Cost:
    """The MLP of Eq. 4 at a hidden width of its own."""
    C, taps = stage.channels, stage.kernel_size**2
    macs = {"expand": H * W * C * hidden, "depthwise": H * W * taps * hidden, "contract": H * W * hidden * C}
    return Cost(macs, parameters=2 * C + C * hidden + taps * hidden + hidden * C + 2 * C)


def _candidates(
    arm: Arm, config: HATNetConfig, image_size: int, base: tuple[int, ...], target: Cost
) -> Iterator[tuple[tuple[int, ...], Cost]]:
    """For every first width, what the equations give for the other two, rounded down and up; and the cost."""
    empty = Fitted(arm, config, image_size, (0,) * len(base)).cost
    P, M = target.parameters - empty.parameters, target.total_macs - empty.total_macs
    u = [stage.depth * (2 * stage.channels + stage.kernel_size**2) for stage in config.stages]
    tokens = [layout.map[0] * layout.map[1] for layout in config.layout(image_size, image_size)]
    for first in range(1, 4 * base[0]):
        p, m = P - u[0] * first, M - u[0] * tokens[0] * first
        second = (m - tokens[2] * p) / (tokens[1] - tokens[2])  # u w of that stage
        exact = second / u[1], (p - second) / u[2]
        if min(exact) >= 1:
            for pair in product(*((floor(width), ceil(width)) for width in exact)):
                units = [each * width for each, width in zip(u, (first, *pair), strict=True)]
                macs = sum(each * count for each, count in zip(units, tokens, strict=True))
                yield (first, *pair), Cost({"all": empty.total_macs + macs}, empty.parameters + sum(units))
