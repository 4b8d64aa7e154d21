"""A figure of dense predictions: each image beside its classes, boxes or masks; with matplotlib (extra `train`).

Colours are those of Okabe and Ito, which colour-blind readers can tell apart, over the image in grey.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from hatnet.config import ceil_div
from hatnet.dense.predicting import Objects, Segmentation
from hatnet.maps.figure import GREY, STYLE
from hatnet.maps.label_places import FONT, Box, label_places
from hatnet.maps.prediction import percent
from hatnet.maps.prediction_figure import shorten

PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
OTHER = "#777777"  # of classes beyond the palette
BACKGROUND = "background"  # the name of the class that is drawn without a colour
OPACITY = {"classes": 0.62, "masks": 0.45}
SIDE = 2.9  # of a panel, in inches
TALLEST = 1.5  # of a panel, as a multiple of its width
PAIRS = 2  # images beside their predictions in a row
LABELLED = 20  # objects of an image: more labels would cover it
LETTERS = 16  # of the legend, per inch
NAMED = 4  # classes in the title of an image
HALO = 1.2  # points of white around a line

Found = Segmentation | Objects
Colours = Mapping[int, str]  # by label


def draw_dense(found: Sequence[Found], weights: str, labels: Mapping[int, str]) -> Figure:
    """Draw predictions of one task, each beside its image.

    `weights` is a sentence about their origin, printed below, and `labels` are the names of all classes by number.
    Raises ValueError if there is nothing to draw.
    """
    if not found:
        raise ValueError("there is no prediction to draw")
    shown = [each.compact() for each in found]
    colours = _colours(shown, labels)
    pairs = min(len(shown), PAIRS)
    rows = [shown[start : start + pairs] for start in range(0, len(shown), pairs)]
    heights = [SIDE * min(max(_shape(each) for each in row), TALLEST) for row in rows]
    legend = _legend(shown, colours, labels) or [Patch(alpha=0, label="no objects")]
    inches = pairs * 2 * (SIDE + 0.08)
    columns = max(int(LETTERS * inches / (6 + max(len(str(handle.get_label())) for handle in legend))), 1)
    below = 0.4 + 0.165 * ceil_div(len(legend), columns)
    size = inches, sum(heights) + 0.46 * len(rows) + below + 0.2
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size)
        figure.set_layout_engine("constrained", rect=(0, below / size[1], 1, 1 - below / size[1]))
        axes = figure.subplots(len(rows), 2 * pairs, squeeze=False, height_ratios=heights).reshape(-1, 2)
        for place in axes.ravel():
            place.set_axis_off()
        for (left, right), each, height in zip(axes, shown, np.repeat(heights, pairs), strict=False):
            _draw_pair(left, right, each, colours, float(height))
        figure.suptitle(_TITLES[type(found[0])], fontsize=10)
        figure.legend(
            handles=legend, loc="lower left", bbox_to_anchor=(0.002, 0.2 / size[1]), ncols=columns, frameon=False,
            fontsize=7.5, handlelength=1.2, columnspacing=1.2,
        )  # fmt: skip
        figure.text(0.012, 0.06 / size[1], weights, fontsize=7, va="bottom", parse_math=False)
        description = "; ".join(f"{_name(each)}: {_sentence(each)}" for each in shown)
        figure.set_label(f"{description}. {weights}".encode("utf-8", "replace").decode())
    return figure


_TITLES = {Segmentation: "The class of each pixel, beside the image", Objects: "Objects, beside the image"}


def _shape(found: Found) -> float:
    """Height over width."""
    return found.picture.shape[0] / found.picture.shape[1]


def _name(found: Found) -> str:
    return found.image.name.encode("utf-8", "replace").decode()


def _amounts(found: Found) -> Counter[int]:
    """How much there is of each class: pixels or objects."""
    if isinstance(found, Segmentation):
        return Counter({label: round(share * found.labels.size) for label, share in found.shares.items()})
    return Counter(found.labels)


def _colours(shown: Sequence[Found], labels: Mapping[int, str]) -> Colours:
    """A colour for each of the most frequent classes, in the order of their numbers."""
    total = sum((_amounts(found) for found in shown), Counter[int]())
    present = [label for label, _ in total.most_common() if labels[label] != BACKGROUND]
    return dict(zip(sorted(present[: len(PALETTE)]), PALETTE, strict=False))


def _legend(shown: Sequence[Found], colours: Colours, labels: Mapping[int, str]) -> list[Patch]:
    handles = [Patch(color=colour, label=shorten(labels[label])) for label, colour in colours.items()]
    present = {label for found in shown for label in _amounts(found)}
    others = [label for label in present if label not in colours and labels[label] != BACKGROUND]
    if others:
        handles.append(Patch(color=OTHER, label=f"{len(others)} other class{'es' if len(others) > 1 else ''}"))
    if any(labels[label] == BACKGROUND for label in present):
        handles.append(Patch(facecolor="white", edgecolor="#555555", label=f"{BACKGROUND}: no colour"))
    for handle in handles:
        handle.set_label(str(handle.get_label()).replace("$", r"\$"))  # no mathematics
    return handles


def _sentence(found: Found) -> str:
    """The classes of an image in words."""
    if isinstance(found, Segmentation):
        words = [f"{shorten(found.names[label])} {percent(share)}" for label, share in found.shares.items()]
        return ", ".join(words[:NAMED]) + (", ..." if len(words) > NAMED else "")
    if not found.labels:
        return "no objects"
    words = [f"{count} x {shorten(name)}" for name, count in Counter(found.names).most_common()]
    unlabelled = f"; the {LABELLED} surest are labelled" if len(found.labels) > LABELLED else ""
    return ", ".join(words[:NAMED]) + (", ..." if len(words) > NAMED else "") + unlabelled


def _draw_pair(left: Axes, right: Axes, found: Found, colours: Colours, tallest: float) -> None:
    picture = found.picture / 255
    height, width = picture.shape[:2]
    left.set_title(f"{shorten(_name(found))}\n{_sentence(found)}", loc="left", fontsize=8, parse_math=False)
    right.set_title(" \n ", fontsize=8)  # the same height
    grey = picture if picture.ndim == 2 else picture @ (0.299, 0.587, 0.114)
    extent = (0, width, height, 0)
    left.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=extent)
    right.imshow(GREY + 0.6 * (grey - grey.mean()), cmap="gray", vmin=0, vmax=1, extent=extent)
    if isinstance(found, Segmentation):
        _draw_classes(right, found, colours)
    else:
        _draw_objects(right, found, colours, max(width / SIDE, height / tallest))
    right.set(xlim=(0, width), ylim=(height, 0))
    left.set_anchor("N")
    right.set_anchor("N")


def _draw_classes(axes: Axes, found: Segmentation, colours: Colours) -> None:
    """A colour over the pixels of each class, and white lines between classes."""
    cover = np.zeros((*found.labels.shape, 4))
    for label in found.shares:
        if found.names[label] != BACKGROUND:
            cover[found.labels == label] = (*to_rgb(colours.get(label, OTHER)), OPACITY["classes"])
    _cover(axes, cover)
    for label in found.shares:
        _outline(axes, found.labels == label, "white", 0.8, border=False)


def _draw_objects(axes: Axes, found: Objects, colours: Colours, pixels_per_inch: float) -> None:
    """Masks with their outlines, or boxes; the surest on top. Then labels, where they hide little."""
    height, width = found.picture.shape[:2]
    boxes = _boxes(found)
    shades = [colours.get(label, OTHER) for label in found.labels]
    order = range(len(boxes) - 1, -1, -1)
    if found.masks is not None:
        cover = np.zeros((height, width, 4))
        for place in order:
            cover[found.masks[place]] = (*to_rgb(shades[place]), OPACITY["masks"])
        _cover(axes, cover)
    for place in order:
        if found.masks is None:
            x1, y1, x2, y2 = boxes[place]
            axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=shades[place], **_line(1.4)))
        else:
            _outline(axes, found.masks[place], shades[place], 1.2)
    texts = [f"{shorten(n)} {s:.2f}" for n, s in zip(found.names, found.scores, strict=True)][:LABELLED]
    for text, at, shade in zip(
        texts, label_places(texts, boxes, (width, height), pixels_per_inch), shades, strict=False
    ):
        _write(axes, text, at, shade)


def _boxes(found: Objects) -> list[Box]:
    """The boxes in pixels of the picture."""
    scale = np.array([drawn / own for drawn, own in zip(found.picture.shape[:2], found.size, strict=True)])
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in (found.boxes * np.tile(scale[::-1], 2)).tolist()]


def _write(axes: Axes, text: str, at: Box, shade: str) -> None:
    """A label with its background in the colour of its class."""
    x1, y1, x2, y2 = at
    axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, facecolor=shade, edgecolor="white", linewidth=0.4, zorder=4))
    dark = np.dot(to_rgb(shade), (0.299, 0.587, 0.114)) < 0.5
    axes.text(
        (x1 + x2) / 2, (y1 + y2) / 2, text, fontsize=FONT, ha="center", va="center_baseline", parse_math=False,
        color="white" if dark else "black", zorder=5,
    )  # fmt: skip


def _cover(axes: Axes, cover: NDArray[np.float64]) -> None:
    height, width = cover.shape[:2]
    axes.imshow(cover, extent=(0, width, height, 0), interpolation="nearest")


def _outline(axes: Axes, mask: NDArray[np.bool_], colour: str, width: float, border: bool = True) -> None:
    """The outline of a mask, with `border` also along the sides of the image."""
    if not mask.any() or (mask.all() and not border):
        return
    values = np.pad(mask, 1) if border else mask
    first = -0.5 if border else 0.5
    rows, columns = (first + np.arange(length) for length in values.shape)
    if min(values.shape) < 2:
        return
    lines: Any = axes.contour(columns, rows, values.astype(float), levels=[0.5], colors=[colour], linewidths=width)
    if colour != "white":
        lines.set_path_effects(_line(width)["path_effects"])


def _line(width: float) -> dict[str, Any]:
    """Settings of a line with a white halo, visible on every colour."""
    return {"linewidth": width, "path_effects": [withStroke(linewidth=width + HALO, foreground="white")]}
