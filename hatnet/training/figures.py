"""Draw a training and an evaluation as SVG files (matplotlib, extra `train`)."""

import io
from collections.abc import Sequence
from math import isnan, nan
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from hatnet.files import write_whole
from hatnet.training.classification import Evaluation
from hatnet.training.task import Metric, Row

BLUE, ORANGE = "#0072B2", "#D55E00"  # from the palette of Okabe and Ito for colour-blind readers
NAMED, COUNTED = 30, 12  # the most classes whose names fit, and whose counts fit into the cells


def draw_curves(history: Sequence[Row], metrics: Sequence[Metric], path: Path, part: str = "test") -> None:
    """One panel per metric that has a value, on test or validation images.

    The loss is drawn with that of training, others with their last value.
    """
    valued = [metric for metric in metrics if any(not isnan(row.get(metric.column(part), nan)) for row in history)]
    metrics = valued or metrics
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


def draw_confusion(found: Evaluation, classes: Sequence[str], data: str, path: Path) -> None:
    """Draw the confusion matrix, and the accuracy of each class. `data` is the name of the data set, for the title."""
    side = 5.2 if len(classes) <= COUNTED else 8
    figure = Figure(figsize=(2 * side, side), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    names = classes if len(classes) <= NAMED else None
    image = _draw_matrix(left, found, names)
    left.set_title(f"{found.images:,} test images of {data}")
    figure.colorbar(image, ax=left, label="part of the true class in %", shrink=0.8)
    _draw_classes(right, found, names)
    _write_svg(figure, path)


def _draw_matrix(axes: Axes, found: Evaluation, names: Sequence[str] | None) -> AxesImage:
    parts = (found.confusion / found.confusion.sum(1, keepdim=True)).numpy()
    image = axes.imshow(100 * parts, cmap="cividis", vmin=0, vmax=100)
    axes.set(xlabel="predicted", ylabel="true class")
    count = len(parts)
    if names is not None:
        axes.set_xticks(range(count), names, rotation=45, ha="right")
        axes.set_yticks(range(count), names)
    if count <= COUNTED:
        for row, column in found.confusion.nonzero().tolist():
            colour = "black" if parts[row, column] > 0.5 else "white"
            images = str(int(found.confusion[row, column]))
            axes.text(column, row, images, ha="center", va="center", fontsize=7, color=colour)
    return image


def _draw_classes(axes: Axes, found: Evaluation, names: Sequence[str] | None) -> None:
    accuracy = [100 * value for value in found.class_accuracy]
    axes.barh(range(len(accuracy)), accuracy, color=BLUE)
    axes.axvline(100 * found.accuracy, color=ORANGE, linestyle="--")
    axes.set(title=f"All: {100 * found.accuracy:.2f} % (dashed)", xlabel="classified right in %", xlim=(0, 100))
    axes.set_ylim(len(accuracy) - 0.5, -0.5)
    axes.set_yticks(range(len(accuracy)) if names else [], names or [])
    axes.spines[["top", "right"]].set_visible(False)


def _write_svg(figure: Figure, path: Path) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    write_whole(path, picture.getvalue())
