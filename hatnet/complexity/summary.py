"""Architecture and cost of a network, one row per stage."""

from dataclasses import asdict, dataclass
from typing import Any

from hatnet.checks import require_choice
from hatnet.complexity import dense, network_costs, total
from hatnet.complexity.memory import inference_memory_by_part, training_memory_by_part
from hatnet.config import TASKS, HATNetConfig, StageLayout, require_config
from hatnet.weights.official import PUBLISHED, unused_shapes

# Tables 1 and 2 of the paper, for 224 x 224 pixels: parameters in millions, and what the paper calls FLOPs, in G.
PAPER: dict[str, tuple[float, float]] = {
    "tiny": (12.7, 2.0), "small": (25.7, 4.3), "medium": (42.9, 8.3), "large": (63.1, 11.5),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One part of the network, for one image: the stem, a stage, the classifier, or the pyramid or a head."""

    part: str  # as in parameter names: stem, stages.0, ..., classifier; fpn, head, rpn, roi_heads
    parameters: int
    macs: int  # multiply-accumulates without the products of attention, Q K^T and softmax V
    attention_macs: int  # those products
    live: int | None  # the most elements alive in inference while it runs; None where that is negligible or unknown
    saved: int | None  # elements it keeps for the backward pass; None for pyramids and heads, which are not counted
    layout: StageLayout | None = None
    channels: int | None = None
    heads: int | None = None
    grid_size: int | None = None
    pool_size: int | None = None
    blocks: int | None = None


def summarise(
    config: HATNetConfig, height: int = 224, width: int = 224, task: str = "classification",
    pyramid: int = dense.PYRAMID,
) -> list[Row]:  # fmt: skip
    """Layout, sizes, parameters, MACs and memory of each part. Raises ValueError if the image is too small.

    G1, G2 and the number of classes are those of `config`, in every task of `create_model`. `pyramid` is the `width` of
    a dense model.

    >>> from hatnet.config import VARIANTS
    >>> sum(row.parameters for row in summarise(VARIANTS["tiny"]))
    12650152
    """
    require_choice("task", task, TASKS)
    if task == "classification":
        parts = network_costs(config, height, width)
    else:
        parts = dense.dense_costs(config, task, height, width, pyramid=pyramid)
    live, saved = inference_memory_by_part(config, height, width), training_memory_by_part(config, height, width)

    def row(name: str, *sizes: Any) -> Row:
        below = [part for part in parts if f"{part.name}.".startswith(f"{name}.")]
        cost = total(below)
        kept = sum(saved[part.name] for part in below) if below[0].name in saved else None
        return Row(name, cost.parameters, cost.projection_macs, cost.attention_macs, live.get(name), kept, *sizes)

    stages = [
        row(f"stages.{index}", layout, stage.channels, stage.heads, stage.grid_size, stage.pool_size, stage.depth)
        for index, (stage, layout) in enumerate(zip(config.stages, config.layout(height, width), strict=True))
    ]
    heads = [row(part.name) for part in parts[1:] if part.stage is None]
    return [row("stem"), *stages, *heads]


def describe(
    config: HATNetConfig, height: int = 224, width: int = 224, task: str = "classification",
    pyramid: int = dense.PYRAMID,
) -> dict[str, object]:  # fmt: skip
    """The same as data for JSON, with totals and the paper's figures: MACs for one image, memory in elements.

    >>> from hatnet.config import VARIANTS
    >>> describe(VARIANTS["tiny"])["macs"]
    {'without_attention': 1969741824, 'with_attention': 2128134912}
    """
    rows = summarise(config, height, width, task, pyramid)
    without, together = macs(rows)
    found: dict[str, object] = {
        "variant": config.name,
        "image_size": [height, width],
        "parameters": sum(row.parameters for row in rows),
        "macs": {"without_attention": without, "with_attention": together},
        "memory": {"inference": peak(rows), "training": kept(rows)},
    }
    key = "paper_at_224"
    if task != "classification":
        key = "paper_at_{}x{}".format(*dense.PAPER_SIZES[task])
        found |= {"task": task, "width": pyramid, "memory_of": "the HAT-Net only"}
    paper = published(config, task)
    found[key] = None if paper is None else {"parameters_millions": paper[0], "gflops": paper[1]}
    return found | {"parts": [asdict(row) for row in rows]}


def published(config: HATNetConfig, task: str = "classification") -> tuple[float, float] | None:
    """Parameters in millions and G FLOPs in the paper's tables; None for variants that it does not have."""
    tables: dict[str, tuple[float, float]] = PAPER if task == "classification" else dense.PAPER[task]
    return tables.get(config.name)


def macs(rows: list[Row]) -> tuple[int, int]:
    """MACs of the whole network: without the products of attention, and with them."""
    without = sum(row.macs for row in rows)
    return without, without + sum(row.attention_macs for row in rows)


def peak(rows: list[Row]) -> int:
    """The most elements alive at once in inference."""
    return max(row.live or 0 for row in rows)


def kept(rows: list[Row]) -> int:
    """The elements kept for the backward pass."""
    return sum(row.saved or 0 for row in rows)


def published_parameters(config: HATNetConfig) -> int | None:
    """The parameters in the authors' file, including their unused `proj_norm`; None for variants they did not publish.

    >>> from hatnet.config import VARIANTS
    >>> published_parameters(VARIANTS["tiny"])
    12655912
    """
    require_config(config)
    if config.name not in PUBLISHED:
        return None
    unused = sum(channels for (channels,) in unused_shapes(config).values())
    return sum(row.parameters for row in summarise(config)) + unused
