"""A figure with the maps of one token side by side over the image; with matplotlib (extra `train`).

Maps are drawn as cells of tokens, never smoothed, because that is what they are. The colours are viridis: their order
stays visible to colour-blind readers and in print.
"""

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from hatnet.config import Stage, ceil_div
from hatnet.files import write_whole
from hatnet.maps.map_selection import MapSelection
from hatnet.maps.maps import AttentionMaps
from hatnet.maps.tokens import require, require_place

COLOURS = "viridis"
OPACITY = 0.78  # of the cells over the grey image, and of the colour bars over grey
GREY = 0.62  # mean brightness of the image below the cells
OF_A_HEAD = {"local", "global", "composed"}  # the kinds of maps that exist for every head
SIDE = 2.4  # of a panel, in inches
WINDOW, QUERY = "#E69F00", "#D55E00"  # of Okabe and Ito
STYLE: dict[Any, Any] = {"svg.hashsalt": "hatnet", "svg.fonttype": "path", "font.size": 9, "mathtext.fontset": "cm"}


@dataclass(frozen=True)
class _Panel:
    """A map with its title."""

    title: str
    unit: str
    values: NDArray[np.floating[Any]]  # (rows, columns)
    side: int  # of its square cells, in pixels of the image
    largest: float  # the end of the colour scale
    close: bool = False  # whether to show only the window of the query
    has_query: bool = True  # whether the map belongs to the query


def draw(
    maps: AttentionMaps,
    picture: NDArray[np.floating[Any]],
    selection: MapSelection,
    weights: str,
    classes: Sequence[str] = (),
) -> Figure:
    """Draw an image, (H, W) or (H, W, 3) in [0, 1], with the query and its window, and beside it the maps.

    `weights` is a sentence about their origin, printed below. Raises ValueError if the selection does not exist.
    """
    require_place(maps.config, maps.layouts, selection.stage, selection.block, selection.head, selection.query)
    if selection.label is not None:
        require("class", selection.label, maps.config.num_classes, "the network")
    panels = [_PANELS[kind](maps, selection, classes) for kind in selection.available_kinds(maps.layouts)]
    columns = min(len(panels) + 1, 3)
    rows = ceil_div(len(panels) + 1, columns)
    height, width = maps.size
    inches_wide = columns * (SIDE + 0.75)
    words = _words(maps, selection, weights, letters=int(18 * inches_wide))
    below = 0.08 + 0.155 * (words.count("\n") + 1)
    inches_high = rows * (SIDE * height / width + 0.42) + 0.35 + below
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(inches_wide, inches_high))
        figure.set_layout_engine("constrained", rect=(0, below / inches_high, 1, 1 - below / inches_high))
        title = _title(maps, selection)
        figure.suptitle(title, fontsize=11 if columns > 2 else 9.5)
        first, *axes = np.ravel(figure.subplots(rows, columns))
        _draw_image(first, maps, picture, selection)
        for place, panel in zip_longest(axes, panels):
            if panel is None:
                place.set_axis_off()
            else:
                _draw_panel(place, maps, picture, selection, panel)
        figure.text(0.012, 0.06 / inches_high, words, fontsize=7.5, va="bottom", linespacing=1.35, parse_math=False)
        figure.set_label(f"{title}. {'; '.join(panel.title for panel in panels)}, each over the image. {weights}")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the suffix, whole or not at all; the same figure gives the same bytes."""
    kind, buffer = path.suffix.lower().removeprefix("."), io.BytesIO()
    with matplotlib.rc_context(STYLE):
        metadata: dict[str, Any] = {"Title": figure.get_suptitle(), "Description": figure.get_label()}
        if kind == "svg":
            metadata["Date"] = None
        figure.savefig(buffer, format=kind, dpi=200, facecolor="white", metadata=metadata)
    write_whole(path, buffer.getvalue())


def _local(maps: AttentionMaps, at: MapSelection, classes: Sequence[str]) -> _Panel:
    values = maps.local(at.stage, at.block, at.query, at.head)
    stride = maps.config.stages[at.stage].stride
    top, left, bottom, right = _window(maps, at)
    title = f"Local: its window, {ceil_div(bottom - top, stride)} x {ceil_div(right - left, stride)} tokens"
    return _Panel(title, "weight in %, by token", 100 * values, stride, 100 * values.max(), close=True)


def _global(maps: AttentionMaps, at: MapSelection, classes: Sequence[str]) -> _Panel:
    values, stage = maps.global_(at.stage, at.block, at.query, at.head), maps.config.stages[at.stage]
    G2, (rows, columns) = stage.pool_size, values.shape
    title = f"Global: {rows} x {columns} merged cells" if G2 else f"Plain attention: {rows} x {columns} tokens"
    unit = f"weight in %, by {'cell' if G2 else 'token'}"
    return _Panel(title, unit, 100 * values, stage.stride * (G2 or 1), 100 * values.max())


def _composed(maps: AttentionMaps, at: MapSelection, classes: Sequence[str]) -> _Panel:
    values, (row, column) = maps.composed(at.stage, at.block, at.query, at.head), at.query
    others = values.copy()
    others[row, column] = 0  # two fifths or more: the others would be dark
    title = f"Composed: this block, {values[row, column]:.0%} from itself"
    stride = maps.config.stages[at.stage].stride
    return _Panel(title, "share in %, by token", 100 * values, stride, 100 * others.max())


def _rollout(maps: AttentionMaps, at: MapSelection, classes: Sequence[str]) -> _Panel:
    values = maps.rollout(at.stage, at.block, at.query)
    blocks = sum(maps.config.depths[: at.stage]) + at.block + 1
    title = f"Rollout: through {blocks} block{'s' if blocks > 1 else ''} to the stem"
    unit = "share in %, by stem token"
    return _Panel(title, unit, 100 * values, maps.config.stages[0].stride, 100 * float(np.quantile(values, 0.99)))


def _class(maps: AttentionMaps, at: MapSelection, classes: Sequence[str]) -> _Panel:
    values = maps.class_map(at.label)
    label = int(maps.logits.argmax()) if at.label is None else at.label
    name = f"“{classes[label]}”" if label < len(classes) else f"class {label}"
    share = 100 * values / (float(values.sum()) or 1)
    title = f"For {name}, whole network, no query"
    unit = "relevance in %, by stem token"
    return _Panel(title, unit, share, maps.config.stages[0].stride, float(np.quantile(share, 0.99)), has_query=False)


_PANELS = {"local": _local, "global": _global, "composed": _composed, "rollout": _rollout, "class": _class}


def _draw_image(axes: Axes, maps: AttentionMaps, picture: NDArray[np.floating[Any]], selection: MapSelection) -> None:
    has_query = set(selection.kinds) != {"class"}
    window = " and its window" if maps.layouts[selection.stage].window else ""
    _frame(axes, maps, f"Image, with the query{window}" if has_query else "Image")
    height, width = maps.size
    axes.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0), interpolation="nearest")
    if has_query:
        _outlines(axes, maps, selection)


def _draw_panel(
    axes: Axes, maps: AttentionMaps, picture: NDArray[np.floating[Any]], selection: MapSelection, panel: _Panel
) -> None:
    _frame(axes, maps, panel.title)
    (height, width), (rows, columns), side = maps.size, panel.values.shape, panel.side
    grey = picture if picture.ndim == 2 else picture @ (0.299, 0.587, 0.114)
    axes.imshow(GREY + 0.6 * (grey - grey.mean()), cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
    norm = Normalize(0, panel.largest or 1)
    opacity = np.full(panel.values.shape, OPACITY)  # a single number would be applied twice in an SVG
    axes.imshow(
        panel.values, cmap=COLOURS, norm=norm, alpha=opacity, interpolation="nearest",
        extent=(0, columns * side, rows * side, 0),
    )  # fmt: skip
    if panel.close:
        top, left, bottom, right = _window(maps, selection)
        axes.set(xlim=(left, right), ylim=(bottom, top), aspect="equal")
    else:
        axes.set(xlim=(0, width), ylim=(height, 0))
    if panel.has_query:
        _outlines(axes, maps, selection, window=not panel.close)
    beyond = panel.values.max() > panel.largest
    bar = axes.figure.colorbar(
        ScalarMappable(norm, COLOURS), ax=axes, alpha=OPACITY, fraction=0.05, pad=0.02, shrink=0.92,
        extend="max" if beyond else "neither",
    )  # fmt: skip
    bar.ax.set_facecolor(str(GREY))
    bar.ax.tick_params(labelsize=7.5)
    bar.set_label(panel.unit, fontsize=7.5)


def _frame(axes: Axes, maps: AttentionMaps, title: str) -> None:
    height, width = maps.size
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[], aspect="equal")
    axes.set_title(title, fontsize=9, parse_math=False)  # names of classes may hold $


def _outlines(axes: Axes, maps: AttentionMaps, selection: MapSelection, window: bool = True) -> None:
    """The square of the query and the outline of its window, light on dark to be visible on every colour."""
    boxes = []
    if window and maps.layouts[selection.stage].window is not None:
        boxes.append((_window(maps, selection), WINDOW, 1.4))
    stride = maps.config.stages[selection.stage].stride
    top, left = selection.query[0] * stride, selection.query[1] * stride
    boxes.append(((top, left, top + stride, left + stride), QUERY, 1.6))
    for (top, left, bottom, right), colour, width in boxes:
        axes.add_patch(
            Rectangle(
                (left, top), right - left, bottom - top, fill=False, edgecolor=colour, linewidth=width,
                path_effects=[withStroke(linewidth=width + 1.4, foreground="white")], clip_on=True,
            )
        )  # fmt: skip


def _window(maps: AttentionMaps, selection: MapSelection) -> tuple[int, int, int, int]:
    """Top, left, bottom and right of the query's window in pixels, within the image."""
    g, h = maps.layouts[selection.stage].window or (1, 1)
    (row, column), stride, (height, width) = selection.query, maps.config.stages[selection.stage].stride, maps.size
    top, left = row // g * g * stride, column // h * h * stride
    return top, left, min(top + g * stride, height), min(left + h * stride, width)


def _title(maps: AttentionMaps, selection: MapSelection) -> str:
    name, stage = f"HAT-Net {maps.config.name.capitalize()}", maps.config.stages[selection.stage]
    if set(selection.kinds) == {"class"}:
        return f"{name}: relevance for a class"
    row, column = selection.query
    title = f"{name}: attention of token ({row}, {column}), stage {selection.stage}, block {selection.block}"
    return f"{title}, {_heads(stage, selection)}" if set(selection.kinds) <= OF_A_HEAD else title


def _heads(stage: Stage, selection: MapSelection) -> str:
    if stage.heads == 1:
        return "the only head"
    return f"mean of {stage.heads} heads" if selection.head is None else f"head {selection.head}"


def _words(maps: AttentionMaps, selection: MapSelection, weights: str, letters: int) -> str:
    """The text below the figure, wrapped to lines of so many letters."""
    stage, (H, W) = maps.config.stages[selection.stage], maps.layouts[selection.stage].map
    sizes = f"G1 = {stage.grid_size}, G2 = {stage.pool_size}" if stage.grid_size else "plain attention"
    notes = {
        "composed": "Composed: every path through the block counts the same, residuals included.",
        "rollout": "Rollout: from the query, the product of all blocks, with all heads and MLPs as residuals.",
        "class": "Relevance: attention times its gradient, where positive, averaged over heads and rolled out.",
    }
    tokens = f"{H} x {W} tokens of {stage.stride} x {stage.stride} pixels, {sizes}"
    has_query = set(selection.kinds) != {"class"}
    mixed = OF_A_HEAD & set(selection.kinds) and not set(selection.kinds) <= OF_A_HEAD  # where the title names no head
    lines = [
        weights,
        f"Image of {maps.size[1]} x {maps.size[0]} pixels."
        + (f" Stage {selection.stage}, counted from 0: {tokens}." if has_query else ""),
        f"Local, global and composed: {_heads(stage, selection)}." if mixed else "",
        " ".join([notes[kind] for kind in selection.kinds if kind in notes]),
        "Where a colour bar ends in a point, some cells lie beyond it." if set(selection.kinds) & set(notes) else "",
    ]
    return "\n".join(textwrap.fill(line, letters) for line in lines if line)
