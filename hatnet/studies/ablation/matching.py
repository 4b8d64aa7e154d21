r"""Equal parameters and equal cost: MLP widths that compensate for what an arm's attention saves or spends.

One unit of width in stage $s$ has $u_s = L_s (2 C_s + K^2)$ parameters and costs $u_s H_s W_s$ MACs. Let P and M be the
parameters and MACs of the target that remain for the units of the MLPs. Then the widths $w_s$ solve two equations:

$$\sum_s u_s w_s = P, \qquad \sum_s u_s H_s W_s\, w_s = M$$

Early stages have large maps, so moving width from an early stage to a late one saves MACs and keeps the parameters.
Three widths and two equations leave one degree of freedom. Of all solutions, rounded to whole numbers, we take the one
nearest to the widths of the H-MHSA network.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import ceil, floor
from typing import ClassVar

from hatnet.checks import require_type, require_whole
from hatnet.complexity import Cost, Part, network_costs, total
from hatnet.config import HATNetConfig, Stage
from hatnet.network import MLP, Backbone, Block, HATNet, HATStage
from hatnet.studies.ablation.arms import ARMS, BASE, Arm

TOLERANCE = 0.001  # relative difference allowed in parameters and in MACs


@dataclass(frozen=True)
class MatchedArm:
    """An arm with its MLP widths, for one image size."""

    arm: Arm
    config: HATNetConfig
    image_size: int
    widths: tuple[int, ...]  # of the MLPs, one per stage
    network: ClassVar[type[Backbone]] = HATNet

    @property
    def cost(self) -> Cost:
        """Cost of one image: MACs term by term, and parameters."""
        return total(part_costs(self.arm, self.config, self.image_size, self.widths))

    def adapt(self, model: Backbone) -> None:
        """Change what else is not HAT-Net's, once the blocks have their attention: nothing here."""


def match_cost(arm: Arm, image_size: int = 28, classes: int = 10, channels: int = 1) -> MatchedArm:
    """Choose the widths of an arm, those of H-MHSA if it has its own cost. Raises ValueError if no widths match.

    >>> match_cost(ARMS["local"]).widths
    (149, 285, 264)
    """
    require_type("arm", arm, Arm, "one of ARMS")
    image_size = require_whole("image_size", image_size, 1, 4096)
    base_config, config = ARMS[BASE].config(classes, channels), arm.config(classes, channels)
    base_widths = tuple(stage.expansion * stage.channels for stage in base_config.stages)
    if arm.own_cost:
        return MatchedArm(arm, config, image_size, base_widths)
    target = MatchedArm(ARMS[BASE], base_config, image_size, base_widths).cost
    matching = [
        widths
        for widths, cost in _candidates(arm, config, image_size, base_widths, target)
        if abs(cost.parameters / target.parameters - 1) <= TOLERANCE
        and abs(cost.total_macs / target.total_macs - 1) <= TOLERANCE
    ]
    if not matching:
        raise ValueError(f"no widths give {arm.title} the parameters and MACs of {ARMS[BASE].title}")
    distances = [sum((w / base - 1) ** 2 for w, base in zip(each, base_widths, strict=True)) for each in matching]
    return MatchedArm(arm, config, image_size, matching[distances.index(min(distances))])


def build(matched: MatchedArm) -> Backbone:
    """Build the network of an arm, with random weights: HAT-Net with other attention and other MLPs in its blocks."""
    model = matched.network(matched.config)
    for stage, module, width in zip(matched.config.stages, model.stages, matched.widths, strict=False):
        assert isinstance(module, HATStage)
        for block in module.blocks:
            assert isinstance(block, Block)
            block.attention = matched.arm.attention(stage)  # type: ignore[assignment]
            block.mlp = MLP(stage.channels, width, stage.kernel_size)
    matched.adapt(model)
    return model


def part_costs(arm: Arm, config: HATNetConfig, image_size: int, widths: tuple[int, ...]) -> list[Part]:
    """Cost of every module: HAT-Net's, with the arm's attention and these widths."""
    parts = []
    for part in network_costs(config, image_size, image_size):
        cost = part.cost
        if part.layout is not None and part.stage is not None and "blocks" in part.name:
            stage, (H, W) = config.stages[part.stage], part.layout.map
            is_attention = part.name.endswith("attention")
            cost = arm.cost(stage, H, W) if is_attention else mlp_cost(stage, H, W, widths[part.stage])
        parts.append(Part(part.name, cost, part.layout))
    return parts


def mlp_cost(stage: Stage, H: int, W: int, hidden: int) -> Cost:
    """Cost of the MLP of Eq. 4 with `hidden` channels, on a map of (H, W) tokens."""
    C, taps = stage.channels, stage.kernel_size**2
    macs = {"expand": H * W * C * hidden, "depthwise": H * W * taps * hidden, "contract": H * W * hidden * C}
    return Cost(macs, parameters=2 * C + C * hidden + taps * hidden + hidden * C + 2 * C)


def _candidates(
    arm: Arm, config: HATNetConfig, image_size: int, base_widths: tuple[int, ...], target: Cost
) -> Iterator[tuple[tuple[int, ...], Cost]]:
    """For every first width, solve for the other two and round them down and up; yield the widths and their cost."""
    empty = MatchedArm(arm, config, image_size, (0,) * len(base_widths)).cost
    P, M = target.parameters - empty.parameters, target.total_macs - empty.total_macs
    u = [stage.depth * (2 * stage.channels + stage.kernel_size**2) for stage in config.stages]
    tokens = [layout.map[0] * layout.map[1] for layout in config.layout(image_size, image_size)]
    for first in range(1, 4 * base_widths[0]):
        p, m = P - u[0] * first, M - u[0] * tokens[0] * first
        second = (m - tokens[2] * p) / (tokens[1] - tokens[2])  # u w of the second stage
        exact = second / u[1], (p - second) / u[2]
        if min(exact) >= 1:
            for pair in product(*((floor(width), ceil(width)) for width in exact)):
                units = [each * width for each, width in zip(u, (first, *pair), strict=True)]
                macs = sum(each * count for each, count in zip(units, tokens, strict=True))
                yield (first, *pair), Cost({"all": empty.total_macs + macs}, empty.parameters + sum(units))
