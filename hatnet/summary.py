"""What a variant is, stage by stage."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from hatnet.config import HATNetConfig, StageLayout
from hatnet.network import HATNet
from hatnet.official import PUBLISHED, unused_shapes


@dataclass(frozen=True)
class Row:
    """One part of the network: the stem, a stage, or the classifier."""

    part: str  # as in parameter names: stem, stages.0, ..., classifier
    parameters: int
    layout: StageLayout | None = None
    channels: int | None = None
    heads: int | None = None
    grid_size: int | None = None
    pool_size: int | None = None
    blocks: int | None = None


def summarise(config: HATNetConfig, height: int = 224, width: int = 224) -> list[Row]:
    """Size, channels, heads, G1, G2, blocks and parameters of each part, for one image size.

    Raises:
        ValueError: if the image is too small for the network.

    >>> from hatnet.config import VARIANTS
    >>> sum(row.parameters for row in summarise(VARIANTS["tiny"]))
    12650152
    """
    layouts = config.layout(height, width)
    with torch.device("meta"):
        model = HATNet(config)

    def parameters(part: torch.nn.Module) -> int:
        return sum(parameter.numel() for parameter in part.parameters())

    rows = [Row("stem", parameters(model.stem))]
    for index, (stage, layout) in enumerate(zip(config.stages, layouts, strict=True)):
        rows.append(
            Row(
                f"stages.{index}",
                parameters(model.stages[index]),
                layout,
                stage.channels,
                stage.heads,
                stage.grid_size,
                stage.pool_size,
                stage.depth,
            )
        )
    rows.append(Row("classifier", parameters(model.classifier)))
    return rows


def published_parameters(config: HATNetConfig) -> int | None:
    """The parameters of the authors' network, their unused `proj_norm` counted; None where they published no such one.

    >>> from hatnet.config import VARIANTS
    >>> published_parameters(VARIANTS["tiny"])
    12655912
    """
    if config.name not in PUBLISHED:
        return None
    unused = sum(channels for (channels,) in unused_shapes(config).values())
    return sum(row.parameters for row in summarise(config)) + unused
