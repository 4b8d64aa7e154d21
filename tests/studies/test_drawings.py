"""The figures show the numbers of their records: positions of marks, ends of bars and borders of bands."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from hatnet.relatives import ATTENTIONS
from hatnet.studies.ablation.draw import draw_record as draw_ablation
from hatnet.studies.faithfulness import draw as faithfulness
from hatnet.studies.faithfulness.record import Record, Score, Settings
from hatnet.studies.scaling import Settings as ScalingSettings
from hatnet.studies.scaling.draw import draw_record as draw_scaling
from hatnet.studies.scaling.record import Point
from hatnet.studies.scaling.record import Record as ScalingRecord
from hatnet.training import figures
from hatnet.training.classification import ACCURACY, CLASSIFICATION, LOSS, Evaluation
from tests.studies.ablation.conftest import make_record, make_times

IMAGES, PATCHES, STEPS = 6, 8, 4


def bars(axes):
    """Centre and both ends of every error bar of a panel, along its direction."""
    found = []
    for container in axes.containers:
        line, _, (collection,) = container
        along = 0 if container.has_xerr else 1
        for point, segment in zip(line.get_xydata(), collection.get_segments(), strict=True):
            found.append((point[along], *segment[:, along]))
    return np.array(found)


def band(collection):
    """Low and high border of a band, by its horizontal positions."""
    points = collection.get_paths()[0].vertices
    return {
        x: (points[points[:, 0] == x, 1].min(), points[points[:, 0] == x, 1].max()) for x in np.unique(points[:, 0])
    }


def make_score(method, generator, weights="trained"):
    measures = [generator.random(IMAGES).round(4).tolist() for _ in range(4)]
    curves = [[[round(float(part), 4) for part in pair] for pair in generator.random((STEPS + 1, 2))] for _ in range(2)]
    return Score("mean", method, weights, *measures, *curves)


@pytest.fixture(scope="module")
def study():
    generator, methods = np.random.default_rng(0), ("class-map", "rollout", "random")
    settings = Settings(images=IMAGES, methods=methods, baselines=("mean",), steps=STEPS, untrained=1)
    scores = [make_score(method, generator) for method in (*methods, "occlusion")]
    scores.append(make_score("rollout", generator, "untrained 1"))
    return Record("2026-01-01", {}, 1.0, settings, {}, PATCHES, 0.9, 0.8, scores=scores)


def test_bands_of_the_curves_are_intervals_of_the_mean(study):
    """Student's t, for one degree fewer than images, times the standard error, on both sides of the mean. Each kind of
    map has a panel with its insertion and deletion, and those of random maps.
    """
    t = stats.t.ppf(0.975, IMAGES - 1)
    random, panels = study.score("mean", "random"), faithfulness.draw_curves(study).axes
    shown = [study.score("mean", method) for method in ("class-map", "rollout", "occlusion")]
    assert [axes.get_title() for axes in panels] == ["class map", "rollout", "occlusion itself"]
    for axes, score in zip(panels, shown, strict=True):
        curves = [(getattr(score, f"{name}_curve"), line) for name, line in (("insertion", "-"), ("deletion", "--"))]
        assert len(axes.collections) == len(curves)
        for collection, (curve, _) in zip(axes.collections, curves, strict=True):
            borders = band(collection)
            assert list(borders) == pytest.approx([0, 25, 50, 75, 100])
            for (mean, error), ends in zip(curve, borders.values(), strict=True):
                assert ends == pytest.approx((mean - t * error, mean + t * error))
        curves += [(random.insertion_curve, "-"), (random.deletion_curve, "--")]
        lines = {(tuple(np.round(line.get_ydata(), 6)), line.get_linestyle()) for line in axes.lines}
        assert lines == {(tuple(mean for mean, _ in curve), line) for curve, line in curves}


def test_bars_of_the_scores_are_intervals_over_images(study):
    for axes, measure in zip(faithfulness.draw_scores(study).axes, faithfulness.MEASURES, strict=True):
        shown = [score for score in study.scores if not score.method == measure == "occlusion"]
        want = [
            (np.mean(found), *stats.t.interval(0.95, IMAGES - 1, np.mean(found), stats.sem(found)))
            for found in (getattr(score, measure) for score in shown)
        ]
        assert np.array(sorted(bars(axes).tolist())) == pytest.approx(np.array(sorted(want)))
        (random,) = [line for line in axes.lines if line.get_linestyle() == ":"]
        assert random.get_xdata()[0] == pytest.approx(np.mean(getattr(study.score("mean", "random"), measure)))


def test_ablation_shows_seeds_means_and_the_band_around_h_mhsa():
    """Three arms and two seeds have 2 degrees of freedom; the band is the margin of a difference, in points."""
    table = {"h-mhsa": [0.80, 0.83], "local": [0.81, 0.82], "none": [0.70, 0.76]}
    record = make_record(table)
    record.times = make_times(table)
    record.times[1].seconds["local"] = [3e-3, 3e-3]  # 3 and 1.5 times that of H-MHSA
    left, right = draw_ablation(record).axes
    accuracy = 100 * np.array([table[arm] for arm in record.arms])
    marks = [line.get_xdata() for line in left.lines if len(line.get_xdata()) == 2 and line.get_linestyle() == "None"]
    assert np.array(marks) == pytest.approx(accuracy)
    means = [line.get_xdata()[0] for line in left.lines if line.get_linewidth() == 2]
    assert means == pytest.approx(accuracy.mean(axis=1))
    residual = accuracy - accuracy.mean(axis=1, keepdims=True) - accuracy.mean(axis=0) + accuracy.mean()
    half = stats.t.ppf(0.975, 2) * np.sqrt((residual**2).sum() / 2 * 2 / 2)
    (patch,) = left.patches
    base = accuracy[record.arms.index("h-mhsa")].mean()
    assert (patch.get_x(), patch.get_x() + patch.get_width()) == pytest.approx((base - half, base + half))
    ratios = {"h-mhsa": (1, 1, 1), "local": (2.25, 1.875, 2.625), "none": (1, 1, 1)}
    want = [
        each
        for arm, row in zip(record.arms, accuracy, strict=True)
        for each in (ratios[arm], (row.mean(), row.min(), row.max()))
    ]
    assert shown_on_both_axes(right) == pytest.approx(np.array(want))
    (equal,) = [line for line in right.lines if line.get_linestyle() == "--"]
    assert list(equal.get_xdata()) == [1, 1]


def test_ablation_without_times_says_so_in_the_middle_of_the_panel():
    record = make_record({"h-mhsa": [0.80, 0.83], "none": [0.70, 0.76]})
    record.times = []
    figure = draw_ablation(record)
    panel = figure.axes[1]
    (words,) = panel.texts
    figure.draw_without_rendering()
    frame, drawn = panel.get_window_extent(), words.get_window_extent()
    assert words.get_text() == "not timed yet"
    assert drawn.x0 + drawn.x1 == pytest.approx(frame.x0 + frame.x1)
    assert (drawn.y0 + drawn.y1) / 2 == pytest.approx((frame.y0 + frame.y1) / 2, abs=drawn.height)


def shown_on_both_axes(axes):
    found = []
    for line, _, (across, up) in axes.containers:
        (point,) = line.get_xydata()
        for along, collection in enumerate((across, up)):
            found.append((point[along], *collection.get_segments()[0][:, along]))
    return np.array(found)


def test_scaling_shows_quartiles_in_milliseconds_and_ratios():
    settings = ScalingSettings(sizes=(32, 64), modules=("mhsa", "h-mhsa"), rounds=3)
    generator = np.random.default_rng(0)
    points = [
        Point(name, size, settings.side(size) ** 2, macs, 0, seconds=generator.uniform(0.001, 0.01, 3).tolist())
        for name in ("mhsa", "h-mhsa")
        for size, macs in ((32, 10**6), (64, 4 * 10**6))
    ]
    left, right = draw_scaling(ScalingRecord("", {}, settings, points)).axes
    times = [np.quantile(point.seconds, [0.5, 0.25, 0.75]) * 1e3 for point in points]
    assert bars(left) == pytest.approx(np.array(times))
    for name, own in (("mhsa", points[:2]), ("h-mhsa", points[2:])):
        rate = stats.gmean([point.macs / np.median(point.seconds) for point in own])
        sides, curve = [8, 16], next(line for line in left.lines if line.get_color() == ATTENTIONS[name].colour)
        macs = [settings.attentions()[name].cost(side, side).total_macs for side in sides]
        assert np.interp([64, 256], *curve.get_xydata().T) == pytest.approx(1e3 * np.array(macs) / rate)
    ratios = [np.quantile(np.divide(points[at].seconds, points[at + 2].seconds), [0.5, 0.25, 0.75]) for at in (0, 1)]
    assert bars(right) == pytest.approx(np.array(ratios))
    formula = next(line for line in right.lines if line.get_linestyle() == "--")
    assert list(formula.get_ydata()) == [1, 1]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that the training draws, instead of their files."""
    found = []
    monkeypatch.setattr(figures, "_write_svg", lambda figure, _: found.append(figure))
    return found


def test_curves_of_a_training_show_its_rows(drawn):
    rows = [
        {"epoch": 1, "train_loss": 2.0, "validation_loss": 1.5, "validation_accuracy": 0.25},
        {"epoch": 2, "train_loss": 1.0, "validation_loss": 0.5, "validation_accuracy": 0.75},
    ]
    figures.draw_curves(rows, [LOSS, ACCURACY], Path("curves.svg"), "validation")
    loss, accuracy = drawn[0].axes
    assert {line.get_label(): list(line.get_ydata()) for line in loss.lines} == {
        "training (augmented)": [2.0, 1.0], "validation": [1.5, 0.5],
    }  # fmt: skip
    assert [list(line.get_xydata().ravel()) for line in accuracy.lines] == [[1, 25, 2, 75]]


def test_confusion_shows_counts_and_percentages_by_true_class(drawn):
    """Rows are true classes: 3 of 4 cats and 1 of 6 dogs are right."""
    found = Evaluation(torch.tensor([[3, 1], [5, 1]]), 0.5)
    CLASSIFICATION.draw(found, ("cat", "dog"), "pets", Path("evaluation.svg"))
    left, right, *_ = drawn[0].axes
    assert np.asarray(left.images[0].get_array()).ravel() == pytest.approx([75, 25, 100 * 5 / 6, 100 / 6])
    assert {text.get_position(): text.get_text() for text in left.texts} == {
        (0, 0): "3", (1, 0): "1", (0, 1): "5", (1, 1): "1",
    }  # fmt: skip
    assert [bar.get_width() for bar in right.patches] == pytest.approx([75, 100 / 6])
    assert right.lines[0].get_xdata()[0] == pytest.approx(40)
