"""Figures of a training and of an evaluation show the numbers that they are drawn from."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib import rcParams
from matplotlib.figure import Figure

from hatnet.training.classification import CLASSIFICATION, Evaluation
from hatnet.training.figures import _write_svg, draw_curves


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be written, by a user whose own figures are black."""
    monkeypatch.setitem(rcParams, "figure.facecolor", "black")
    figures = []
    monkeypatch.setattr("hatnet.training.figures._write_svg", lambda figure, _: figures.append(figure))
    return figures


def evaluation(classes):
    """Of unequal numbers of images per class, so that rows and columns have other sums."""
    generator = np.random.default_rng(classes)
    counts = generator.integers(0, 4, (classes, classes)) + np.diag(generator.integers(1, 30, classes))
    return counts, Evaluation(torch.from_numpy(counts), loss=0.5)


@pytest.mark.parametrize("classes", [12, 13, 30, 31])
def test_confusion_matrix_shows_shares_counts_and_accuracies(classes, drawn):
    """Counts up to 12 classes, names up to 30."""
    counts, found = evaluation(classes)
    names = [f"class {number}" for number in range(classes)]
    CLASSIFICATION.draw(found, names, "photos", Path("confusion.svg"))
    left, right, bar = drawn[0].axes
    assert drawn[0].get_facecolor() == (1, 1, 1, 1)
    (image,) = left.images
    assert np.allclose(image.get_array(), 100 * counts / counts.sum(axis=1)[:, None])
    assert image.get_clim() == (0, 100)
    assert bar.get_ylabel() == "part of the true class in %"
    assert left.get_title() == f"{counts.sum():,} test images of photos"
    shown = {text.get_position(): text for text in left.texts}
    want = {(column, row): str(counts[row, column]) for row, column in zip(*counts.nonzero(), strict=True)}
    assert {place: text.get_text() for place, text in shown.items()} == (want if classes <= 12 else {})
    assert {(text.get_ha(), text.get_va()) for text in shown.values()} <= {("center", "center")}
    accuracies = 100 * counts.diagonal() / counts.sum(axis=1)
    assert np.allclose([patch.get_width() for patch in right.patches], accuracies)
    assert [patch.get_y() + patch.get_height() / 2 for patch in right.patches] == pytest.approx(range(classes))
    total = 100 * counts.trace() / counts.sum()
    assert right.lines[0].get_xdata() == pytest.approx([total, total])
    assert right.get_title() == f"All: {total:.2f} % (dashed)"
    assert (right.get_xlabel(), right.get_xlim()) == ("classified right in %", (0, 100))
    assert (left.get_xlabel(), left.get_ylabel()) == ("predicted", "true class")
    for axes, ticks in (
        (left, left.get_yticklabels()),
        (left, left.get_xticklabels()),
        (right, right.get_yticklabels()),
    ):
        labels = [tick.get_text() for tick in ticks]
        assert labels == names if classes <= 30 else names[0] not in labels, axes


@pytest.mark.parametrize("part", ["test", "validation"])
def test_curves_show_every_metric_of_every_epoch(part, drawn):
    rows = [
        {
            "epoch": epoch, "train_loss": 2 / epoch, f"{part}_loss": 3 / epoch, f"{part}_accuracy": epoch / 7,
            f"{part}_top5": epoch / 5,
        }
        for epoch in range(1, 4)
    ]  # fmt: skip
    draw_curves(rows, CLASSIFICATION.metrics, Path("curves.svg"), part)
    want = [[(2, 1, 2 / 3), (3, 1.5, 1)], [(100 / 7, 200 / 7, 300 / 7)], [(20, 40, 60)]]
    assert drawn[0].get_facecolor() == (1, 1, 1, 1), "readers may have a dark page"
    for axes, lines in zip(drawn[0].axes, want, strict=True):
        assert [[*line.get_xdata()] for line in axes.lines] == [[1, 2, 3]] * len(lines)
        assert np.allclose([line.get_ydata() for line in axes.lines], lines)
        assert all(float(tick).is_integer() for tick in axes.get_xticks()), "there are no half epochs"
    loss, *others = drawn[0].axes
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training (augmented)", part]
    assert [text.get_text() for axes in others for text in axes.texts] == ["42.86 %", "60.00 %"]


def test_figures_are_written_as_svg_without_a_date(tmp_path):
    figure = Figure(figsize=(1, 1))
    figure.text(0.5, 0.5, "words")
    _write_svg(figure, tmp_path / "figure.svg")
    text = (tmp_path / "figure.svg").read_text()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg"
    assert "words" in text
    assert "dc:date" not in text
