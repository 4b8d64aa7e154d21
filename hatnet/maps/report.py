"""The report of `hatnet demo`: one HTML file with the agreement, attention over the photo, sizes, and facts."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hatnet.complexity.summary import Row, summarise
from hatnet.config import HATNetConfig
from hatnet.equivalence import Agreement
from hatnet.files import write_whole
from hatnet.maps.agreement import agreement_tables, html_table, times, verdict
from hatnet.maps.explorer.file_format import encode
from hatnet.maps.explorer.page import NO_SCRIPT, READING, explorer_element, html_page
from hatnet.maps.explorer.pictures import Normalise, Start, picture_from_model
from hatnet.network import HATNet

PAPER = "https://doi.org/10.1007/s11633-024-1393-8"
TITLE = "Two implementations, one network"
WHAT_RAN = (
    "The network exists twice: in NumPy, written to read like the equations of the paper, and in PyTorch, written for "
    "use. Both ran on this photo with the same weights."
)
WHAT_IT_IS = (
    "In HAT-Net every token of an image attends to its neighbours within a window, and to the whole image in a few "
    "merged tokens. This is hierarchical attention, from the paper"
)
WHAT_THE_SCENE_IS = (
    "This network is trained: it is the HAT-Net inside the segmenter that comes with the package, on a scene that it "
    "has not seen. For each object, a map shows what attention brings to its class. The maps of HAT-Net are compared "
    "with the NumPy reference, too; pyramid and head are not."
)
MEASURE = (
    "For each intermediate, in the order of computation: the largest absolute difference between PyTorch and the NumPy "
    "reference, divided by the largest absolute value of the reference. Stages count from 0, as in the code. The paper "
    "counts the stem as stage 1, so its numbers are larger by two."
)


def write_report(
    path: Path,
    *,
    model: HATNet,
    photo: NDArray[np.float64],
    normalise: Normalise,
    agreements: Sequence[Agreement],
    tolerance: float,
    facts: Mapping[str, str],
    weights: str,
    name: str = "the photo",
    start: Start | None = None,
    scene: str = "",
) -> None:
    """Write the report of one comparison on a photo, (3, H, W) in [0, 1], as one HTML file, whole or not at all.

    If the maps of the network cannot be shown, because its weights are not finite or the photo is too large for a
    browser, the report gives the reason instead: it is needed most when something is wrong.

    `agreements` come from `hatnet.equivalence.compare` (ValueError if empty); `weights` is a sentence about the
    origin of the network's weights; `facts` are the machine, versions, date and so on; `scene` is HTML about another
    image, such as that of `scene_section`.
    """
    if not agreements:
        raise ValueError("there is nothing to report: no intermediate was compared")
    config, (_, height, width) = model.config, photo.shape
    title = f"HAT-Net {config.name.capitalize()}: {TITLE[0].lower()}{TITLE[1:]}"
    paper = f'<a href="{PAPER}">Vision Transformers with Hierarchical Attention</a>'
    try:
        picture = picture_from_model(model, photo, name, normalise=normalise)
        data = encode([picture], config=config, provenance=weights, start=start)
        maps = f"<p>{READING}</p>\n{explorer_element(data, _without_script(config, weights))}"
    except ValueError as error:
        maps = f'<p class="verdict bad">The attention maps cannot be shown: {escape(str(error))}</p>'
    pairs = [
        f"<dt>{escape(fact)}</dt><dd>{escape(value)}</dd>" for fact, value in {**facts, "weights": weights}.items()
    ]
    sections = [
        f"<h1>{escape(title)}</h1>\n{verdict(agreements, tolerance)}\n<p>{WHAT_RAN}</p>\n<p>{WHAT_IT_IS} {paper}.</p>",
        f"<h2>Agreement</h2>\n<p>{MEASURE}</p>\n{agreement_tables(agreements, tolerance)}",
        f"<h2>Attention over the photo</h2>\n{maps}",
        *([f"<h2>Attention of a trained network over a scene</h2>\n{scene}"] if scene else []),
        f"<h2>Sizes</h2>\n<p>An image of {times((height, width))} pixels, stage by stage.</p>\n"
        + sizes_table(config, height, width),
        "\n".join(["<h2>Facts</h2>", "<dl>", *pairs, "</dl>"]),
    ]
    write_whole(path, html_page(title, "\n\n".join(sections)).encode())


def scene_section(data: bytes, agreements: Sequence[Agreement], tolerance: float) -> str:
    """A trained network on a scene in colour, as HTML: agreement with the reference, and the explorer of its `data`."""
    return (
        f"<p>{WHAT_THE_SCENE_IS}</p>\n{verdict(agreements, tolerance)}\n"
        f"{explorer_element(data, f'<p>{NO_SCRIPT}</p>', linked=False)}"
    )


def sizes_table(config: HATNetConfig, height: int, width: int) -> str:
    """The parts of the network, and the grid of an image of this size at each stage, as HTML."""
    rows = summarise(config, height, width)
    head = ("Part", "Map", "C", "Heads", "G1", "Windows", "G2", "Merged tokens", "Blocks", "Parameters")
    total = "<td>all</td>" + "<td></td>" * (len(head) - 2) + f"<td>{sum(row.parameters for row in rows):,}</td>"
    return html_table("Sizes", head, [*map(_sizes, rows), total], kind="sizes")


def _sizes(row: Row) -> str:
    layout = row.layout
    grids = [layout.map, layout.windows, layout.merged] if layout else [None] * 3
    tokens, windows, merged = (times(grid) if grid else "" for grid in grids)
    cells = (tokens, row.channels, row.heads, row.grid_size, windows, row.pool_size, merged, row.blocks)
    texts = [row.part.replace("stages.", "stage "), *("" if cell is None else str(cell) for cell in cells)]
    return "".join(f"<td>{text}</td>" for text in (*texts, f"{row.parameters:,}"))


def _without_script(config: HATNetConfig, weights: str) -> str:
    """The contents of the explorer in words, for readers without JavaScript."""
    blocks = sum(stage.depth for stage in config.stages)
    return (
        f"<p>{NO_SCRIPT} They show, for each of {blocks} blocks and every token, the weights over its window and over "
        f"the merged cells, and the map of all paths through the block. {escape(weights)}</p>"
    )
