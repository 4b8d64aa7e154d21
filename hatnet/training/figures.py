"""Draw a training and an evaluation as SVG files (matplotlib, extra `train`)."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from hatnet.files import write_whole
from hatnet.training.task import Metric, Row

BLUE, ORANGE = "#0072B2", "#D55E00"  # from the palette of Okabe and Ito for colour-blind readers
NAMED, COUNTED = 30, 12  # the most classes whose names fit, and whose counts fit into the cells


def draw_curves(history: Sequence[Row], metrics: Sequence[Metric], path: Path, part: str = "test") -> None:
    """One panel per metric that has a value, on test or validation images.

    The loss is drawn with that of training, others with their last value.
    """
    drawn = [metric for metric in metrics if metric.drawn]
    valued = [metric for metric in drawn if any(not isnan(row.get(metric.column(part), nan)) for row in history)]
    metrics = valued or drawn
    figure = Figure(figsize=(4 * len(metrics), 3.2), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    epochs = [row["epoch"] for row in history]
    for axes, metric in zip(panels, metrics, strict=True):
        values = [metric.factor * row.get(metric.column(part), nan) for row in history]
        axes.set(title=metric.title.format(part=part), xlabel="epoch", ylabel=metric.axis)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        trained = [metric.factor * row[f"train_{metric.name}"] for row in history if f"train_{metric.name}" in row]
        if trained:
            axes.plot(epochs, trained, color=BLUE, label="training (augmented)")
            axes.plot(epochs, values, color=ORANGE, linestyle="--", label=part)
            axes.legend(frameon=False)
        else:
            axes.plot(epochs, values, color=ORANGE, marker="o" if len(epochs) < 5 else None)
            last = metric.text(history[-1].get(metric.column(part), nan))
            rises = len(values) < 2 or values[-1] >= values[-2]  # the label is on the side where the line is not
            offset = {"xytext": (0, 6 if rises else -6), "va": "bottom" if rises else "top"}
            axes.annotate(last, (epochs[-1], values[-1]), **offset, textcoords="offset points", ha="right")
            axes.margins(y=0.2)
    _write_svg(figure, path)


@dataclass(frozen=True)
class Bars:
    """A value from 0 to 1 for each class, and for all of them."""

    values: Sequence[float]
    all: float
    title: str
    axis: str


def draw_confusion(
    confusion: Tensor, classes: Sequence[str], title: str, bars: Bars, path: Path, counted: bool = True
) -> None:
    """Draw a confusion matrix and a bar for each class.

    The cells of a small matrix have counts; or, if not `counted`, per cents of the true class.
    """
    side = 5.2 if len(classes) <= COUNTED else 8
    figure = Figure(figsize=(2 * side, side), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    names = classes if len(classes) <= NAMED else None
    image = _draw_matrix(left, confusion, names, counted)
    left.set_title(title)
    figure.colorbar(image, ax=left, label="part of the true class in %", shrink=0.8)
    _draw_classes(right, bars, names)
    _write_svg(figure, path)


def draw_bars(panels: Sequence[Bars], classes: Sequence[str], title: str, path: Path) -> None:
    """Draw a bar for each class, in one or more panels."""
    height = 2.2 + 0.24 * min(len(classes), NAMED)
    figure = Figure(figsize=(4.6 * len(panels) + 1, height), layout="constrained", facecolor="white")
    figure.suptitle(title)
    names = classes if len(classes) <= NAMED else None
    for axes, bars in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        _draw_classes(axes, bars, names)
    _write_svg(figure, path)


def _draw_matrix(axes: Axes, confusion: Tensor, names: Sequence[str] | None, counted: bool) -> AxesImage:
    parts = (confusion / confusion.sum(1, keepdim=True)).numpy()
    image = axes.imshow(100 * parts, cmap="cividis", vmin=0, vmax=100)
    axes.set(xlabel="predicted", ylabel="true class")
    count = len(parts)
    if names is not None:
        axes.set_xticks(range(count), names, rotation=45, ha="right")
        axes.set_yticks(range(count), names)
    if count <= COUNTED:
        for row, column in confusion.nonzero().tolist():
            colour = "black" if parts[row, column] > 0.5 else "white"
            text = str(int(confusion[row, column])) if counted else f"{100 * parts[row, column]:.1f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    return image


def _draw_classes(axes: Axes, bars: Bars, names: Sequence[str] | None) -> None:
    values = [100 * value for value in bars.values]
    axes.barh(range(len(values)), values, color=BLUE)
    axes.axvline(100 * bars.all, color=ORANGE, linestyle="--")
    axes.set(title=bars.title, xlabel=bars.axis, xlim=(0, 100))
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_yticks(range(len(values)) if names else [], names or [])
    axes.spines[["top", "right"]].set_visible(False)


def _write_svg(figure: Figure, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    write_whole(path, picture.getvalue())
