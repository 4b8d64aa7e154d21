"""A training as a picture: loss and accuracy over epochs (matplotlib, extra `train`)."""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.figure import Figure

from hatnet.files import write_whole

BLUE, ORANGE = "#0072B2", "#D55E00"  # Okabe and Ito's, told apart by colour-blind people


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Two panels: loss of training and test images, accuracy on the test images, with the last value written out."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(8, 3.2), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [row["train_loss"] for row in history], color=BLUE, label="training (augmented)")
    left.plot(epochs, [row["test_loss"] for row in history], color=ORANGE, linestyle="--", label="test")
    left.set(title="Loss", xlabel="epoch", ylabel="cross-entropy in nats")
    left.legend(frameon=False)
    accuracy = [100 * row["test_accuracy"] for row in history]
    right.plot(epochs, accuracy, color=ORANGE, marker="o" if len(epochs) < 5 else None)
    right.annotate(
        f"{accuracy[-1]:.2f} %", (epochs[-1], accuracy[-1]), (-4, -14), textcoords="offset points", ha="right"
    )
    right.set(title="Accuracy on the test images", xlabel="epoch", ylabel="classified right in %")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.get_major_locator().set_params(integer=True)
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    write_whole(path, picture.getvalue())
