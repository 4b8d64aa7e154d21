"""Draw a training: each metric over the epochs (matplotlib, extra `train`)."""

import io
from collections.abc import Sequence
from math import nan
from pathlib import Path

from matplotlib.figure import Figure

from hatnet.files import write_whole
from hatnet.training.task import Metric, Row

BLUE, ORANGE = "#0072B2", "#D55E00"  # from Okabe and Ito's palette for colour-blind readers


def draw_curves(history: Sequence[Row], metrics: Sequence[Metric], path: Path) -> None:
    """One panel per metric, on test images. The loss is drawn with that of training, the others with their last value.

    Args:
        history: one row per epoch.
        metrics: of the task.
        path: of the SVG file.
    """
    figure = Figure(figsize=(4 * len(metrics), 3.2), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    epochs = [row["epoch"] for row in history]
    for axes, metric in zip(panels, metrics, strict=True):
        values = [metric.factor * row.get(metric.column, nan) for row in history]
        axes.set(title=metric.title, xlabel="epoch", ylabel=metric.axis)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        trained = [metric.factor * row[f"train_{metric.name}"] for row in history if f"train_{metric.name}" in row]
        if trained:
            axes.plot(epochs, trained, color=BLUE, label="training (augmented)")
            axes.plot(epochs, values, color=ORANGE, linestyle="--", label="test")
            axes.legend(frameon=False)
        else:
            axes.plot(epochs, values, color=ORANGE, marker="o" if len(epochs) < 5 else None)
            last = metric.text(history[-1].get(metric.column, nan))
            axes.annotate(last, (epochs[-1], values[-1]), (-4, -14), textcoords="offset points", ha="right")
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    write_whole(path, picture.getvalue())
