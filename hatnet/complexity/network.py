"""Cost of a whole HAT-Net, part by part, at any image size."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from hatnet.complexity.attention import h_mhsa_cost, mhsa_cost
from hatnet.complexity.cost import Cost, check_sizes, norm_parameters
from hatnet.config import HATNetConfig, Stage, StageLayout, ceil_div, require_config
from hatnet.trace import Place


@dataclass(frozen=True)
class Part:
    """One module of the network and its cost."""

    name: str  # as in parameter names: stem, stages.1.downsample, stages.1.blocks.0.attention, classifier
    cost: Cost  # of one image
    layout: StageLayout | None  # of its stage; None for the stem and the classifier

    @property
    def stage(self) -> int | None:
        """The stage of this part, counted from 0; None for the stem and the classifier."""
        return Place.parse(self.name).stage


def network_costs(config: HATNetConfig, height: int, width: int, padded: bool = False) -> list[Part]:
    """The cost of every module for an image of `height` x `width` pixels, in the order of computation.

    With `padded` the padding of windows that reach over the border counts; see `hatnet.complexity.attention`. Raises
    ValueError if a side is not a whole number, or is below `config.min_image_size`.

    >>> from hatnet.config import VARIANTS
    >>> cost = total(network_costs(VARIANTS["tiny"], 224, 224))
    >>> cost.projection_macs, cost.total_macs, cost.parameters
    (1969741824, 2128134912, 12650152)
    """
    require_config(config)
    height, width = check_sizes(height=height, width=width)
    layouts = config.layout(height, width)
    parts = [Part("stem", _stem(config, height, width), None)]
    for index, (stage, layout) in enumerate(zip(config.stages, layouts, strict=True)):
        if index:
            previous = config.stages[index - 1].channels
            parts.append(Part(f"stages.{index}.downsample", _downsample(previous, stage, layout), layout))
        for block in range(stage.depth):
            path = f"stages.{index}.blocks.{block}"
            parts.append(Part(f"{path}.attention", attention(stage, layout, padded), layout))
            parts.append(Part(f"{path}.mlp", _mlp(stage, layout), layout))
    C, classes = config.channels[-1], config.num_classes
    return [*parts, Part("classifier", Cost({"classifier": C * classes}, parameters=C * classes + classes), None)]


def total(parts: Iterable[Part]) -> Cost:
    """Add the costs of parts, term by term: of one stage, for example, or of the whole network."""
    macs: Counter[str] = Counter()
    parameters = 0
    for part in parts:
        macs.update(part.cost.macs)
        parameters += part.cost.parameters
    return Cost(dict(macs), parameters)


def attention(stage: Stage, layout: StageLayout, padded: bool = False) -> Cost:
    """Cost of the attention in a block: hierarchical, or plain in the last stage."""
    H, W = layout.map
    if stage.grid_size is None or stage.pool_size is None:
        return mhsa_cost(H, W, stage.channels)
    return h_mhsa_cost(H, W, stage.channels, stage.grid_size, stage.pool_size, padded)


def stem_sizes(config: HATNetConfig, height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Sizes of the maps after the two convolutions of the stem, in tokens."""
    first, second = config.stem_strides
    H, W = ceil_div(height, first), ceil_div(width, first)
    return (H, W), (ceil_div(H, second), ceil_div(W, second))


def _stem(config: HATNetConfig, height: int, width: int) -> Cost:
    (H1, W1), (H2, W2) = stem_sizes(config, height, width)
    inputs, hidden, C = config.in_channels, config.stem_channels, config.channels[0]
    macs = {"conv1": H1 * W1 * 9 * inputs * hidden, "conv2": H2 * W2 * 9 * hidden * C}
    return Cost(macs, parameters=9 * inputs * hidden + hidden + norm_parameters(hidden) + 9 * hidden * C + C)


def _downsample(previous: int, stage: Stage, layout: StageLayout) -> Cost:
    H, W = layout.map
    weights = 9 * previous * stage.channels
    return Cost({"downsample": H * W * weights}, parameters=weights + stage.channels + norm_parameters(stage.channels))


def _mlp(stage: Stage, layout: StageLayout) -> Cost:
    H, W = layout.map
    C, E, K = stage.channels, stage.expansion, stage.kernel_size
    macs = {"expand": H * W * C * E * C, "depthwise": H * W * K**2 * E * C, "contract": H * W * E * C * C}
    return Cost(macs, parameters=2 * norm_parameters(C) + C * E * C + K**2 * E * C + E * C * C)
