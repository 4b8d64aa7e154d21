"""The record of a study, its statistics, and the tables and figures drawn from it."""

from dataclasses import replace
from itertools import product
from math import sqrt

import numpy as np
import pytest

from hatnet.studies.common.drawing import save
from hatnet.studies.common.statistics import t_quantile
from hatnet.studies.faithfulness import read, tables, write
from hatnet.studies.faithfulness.draw import draw_curves, draw_scores
from hatnet.studies.faithfulness.record import MEASURES, Similarity
from hatnet.studies.faithfulness.statistics import BETTER, improvement, interval, mean_score, verdicts
from hatnet.studies.faithfulness.tables import CURVES, title


def test_record_is_read_as_it_was_written(record, tmp_path):
    write(record, tmp_path / "record.json")
    assert read(tmp_path / "record.json") == record


def test_interval_and_improvement_equal_values_by_hand(record):
    """Lower is better for deletion. Three values have 2 degrees of freedom, for which t is 4.303."""
    assert interval([1.0, 2.0, 3.0]).margin == pytest.approx(4.303 / sqrt(3), abs=1e-3)
    one = replace(record.scores[0], deletion=[0.1, 0.2, 0.3], insertion=[0.5, 0.5, 0.5])
    other = replace(one, deletion=[0.4, 0.5, 0.6])
    assert improvement(one, other, "deletion").mean == pytest.approx(0.3)
    assert verdicts(one, one) == dict.fromkeys(MEASURES, 0)
    assert set(BETTER) == set(MEASURES)


def test_mean_score_averages_each_image(record):
    one = replace(record.scores[0], insertion=[0.1, 0.5])
    other = replace(one, insertion=[0.3, 0.5], insertion_curve=[[0.0, 0.0]], deletion_curve=[[0.0, 0.0]])
    found = mean_score([one, other])
    assert found.insertion == pytest.approx([0.2, 0.5])
    assert (found.insertion_curve, found.deletion_curve) == (one.insertion_curve, one.deletion_curve)


def test_the_same_record_gives_the_same_figures(record, tmp_path):
    for draw in (draw_curves, draw_scores):
        for name in ("a.svg", "b.svg"):
            save(draw(record), tmp_path / name)
        assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "rollout" in tables.page(record)


def test_bands_are_the_95_percent_intervals_of_the_tables(record):
    """10 images have 9 degrees of freedom, for which t is 2.262."""
    first = draw_curves(record).axes[0]
    (shown,) = {score.method for score in record.scores if title(score.method) == first.get_title()}
    band, _ = first.collections  # of insertion, of deletion
    points = band.get_paths()[0].vertices
    assert t_quantile(9) == pytest.approx(2.262, abs=1e-3)
    for x, (_, error) in zip((0, 50, 100), record.score("mean", shown).insertion_curve, strict=True):
        heights = points[points[:, 0] == x][:, 1]
        assert np.ptp(heights) == pytest.approx(2 * t_quantile(9) * error)


def test_there_are_words_for_all_verdicts_on_two_curves():
    assert set(CURVES) == set(product((1, 0, -1), repeat=2))
    for (insertion, deletion), words in CURVES.items():
        kinds = {1: "better", -1: "worse"}
        assert {word.strip(",") for word in words.split() if word.strip(",") in kinds.values()} == {
            kinds[sign] for sign in (insertion, deletion) if sign
        }
        assert ("both" in words) == (insertion == deletion != 0)


def test_maps_that_do_not_change_with_training_are_named(record):
    """Where the mean rank correlation is above a half."""
    words = "Similar with trained and with untrained weights (rank correlation above 0.5): "
    likenesses = {"rollout": [0.2, 0.9], "gradient": [0.4, 0.6], "random": [0.8, 0.8]}
    for kept, want in (({"rollout", "random"}, "rollout, random."), ({"rollout"}, "rollout."), ({"gradient"}, None)):
        given = [Similarity(method, likenesses[method]) for method in likenesses if method in kept]
        found = [each for each in tables.findings(replace(record, likenesses=given)) if each.startswith(words)]
        assert found == ([] if want is None else [words + want])
