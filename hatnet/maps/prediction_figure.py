"""A figure of predictions: each image beside its class map; with matplotlib (extra `train`)."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hatnet.config import ceil_div
from hatnet.maps.figure import COLOURS, GREY, OPACITY, STYLE
from hatnet.maps.prediction import Prediction, percent

SIDE = 1.5  # of an image, in inches
PAIRS = 3  # images with their maps in a row
LETTERS = 36  # of a title
LEGEND = (
    "Right of each image: attention times its gradient for the class, rolled out. Bright yellow speaks most for the "
    "class.\nEach map has its own colour scale, which ends at its 99th percentile."
)


def draw_predictions(predictions: Sequence[Prediction], weights: str) -> Figure:
    """Draw predictions that have a picture, each beside its class map, with its class and probability as title.

    `weights` is a sentence about their origin, printed below. Raises ValueError if there is nothing to draw.
    """
    if not predictions:
        raise ValueError("there is no prediction to draw")
    pairs = min(len(predictions), PAIRS)
    rows = ceil_div(len(predictions), pairs)
    below = 0.62
    size = max(pairs * 2 * SIDE * 1.06, 5.6), rows * (SIDE + 0.52) + below + 0.3
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size)
        figure.set_layout_engine("constrained", rect=(0, below / size[1], 1, 1 - below / size[1]))
        axes = figure.subplots(rows, 2 * pairs, squeeze=False).reshape(-1, 2)
        for place in axes.ravel():
            place.set_axis_off()
        for (left, right), prediction in zip(axes, predictions, strict=False):
            _draw_pair(left, right, prediction)
        figure.suptitle("Predictions, each image beside its class map", fontsize=10)
        words = f"{LEGEND}\n{weights}"
        figure.text(0.012, 0.06 / size[1], words, fontsize=7, va="bottom", linespacing=1.35, parse_math=False)
        each = "; ".join(f"{found.image.name}: {found.best} {percent(found.probabilities[0])}" for found in predictions)
        figure.set_label(f"{each}. {LEGEND} {weights}".encode("utf-8", "replace").decode())
    return figure


def _draw_pair(left: Axes, right: Axes, prediction: Prediction) -> None:
    picture, values = prediction.picture, prediction.class_map
    assert picture is not None
    name = prediction.image.name.encode("utf-8", "replace").decode()
    title = f"{shorten(prediction.best)}  {percent(prediction.probabilities[0])}\n{shorten(name)}"
    left.set_title(title, loc="left", fontsize=8, parse_math=False)
    height, width = picture.shape[:2]
    extent = (0, width, height, 0)
    left.imshow(picture, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="nearest")
    if values is None:
        right.text(0.5, 0.5, "no class map", ha="center", va="center", fontsize=8, transform=right.transAxes)
        return
    grey = picture if picture.ndim == 2 else picture @ (0.299, 0.587, 0.114)
    right.imshow(GREY + 0.6 * (grey - grey.mean()), cmap="gray", vmin=0, vmax=1, extent=extent)
    largest = float(np.quantile(values, 0.99)) or float(values.max()) or 1
    side_y, side_x = ceil_div(height, values.shape[0]), ceil_div(width, values.shape[1])
    right.imshow(
        values, cmap=COLOURS, vmin=0, vmax=largest, alpha=np.full(values.shape, OPACITY), interpolation="nearest",
        extent=(0, values.shape[1] * side_x, values.shape[0] * side_y, 0),
    )  # fmt: skip
    right.set(xlim=(0, width), ylim=(height, 0))


def shorten(text: str) -> str:
    """The text, or its start and its end if it is too long for a title; control characters are replaced.

    >>> shorten("a" * 50)
    'aaaaaaaaaaaaaaaaaaaaaaaaa … aaaaaaaa'
    """
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 11]} … {text[-8:]}"
