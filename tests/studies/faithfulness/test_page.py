"""The page docs/faithfulness.md: its tables, figures and conclusions follow from the kept records."""

from pathlib import Path

import pytest

from hatnet.studies.common.drawing import save
from hatnet.studies.faithfulness import METHODS, read, tables
from hatnet.studies.faithfulness.draw import draw_curves, draw_scores
from hatnet.studies.faithfulness.statistics import improvement, interval, mean_score, verdicts
from tests.pictures import assert_same_picture

DOCS = Path(__file__).parents[3] / "docs"
KEPT = DOCS / "measurements" / "faithfulness.json"
MAPS = [name for name, method in METHODS.items() if method.kind != "control"]
CURVES = ("insertion", "deletion")


@pytest.fixture(scope="module")
def kept():
    return read(KEPT)


def curve_verdicts(record, baseline, name, other="random"):
    """The verdicts by insertion and by deletion: 1 is better than the other map, -1 worse, 0 not significant."""
    found = verdicts(record.score(baseline, name), record.score(baseline, other))
    return found["insertion"], found["deletion"]


def best_by_fall(record, baseline):
    """The map that correlates best with the drop of the logit, and the two highest correlations."""
    falls = {name: interval(record.score(baseline, name).occlusion).mean for name in MAPS}
    return max(falls, key=falls.__getitem__), sorted(falls.values(), reverse=True)[:2]


def test_tables_and_figures_are_those_of_the_kept_record(kept, tmp_path):
    """The page includes them, so its numbers are the record's."""
    assert KEPT.with_suffix(".txt").read_text(encoding="utf-8") == tables.page(kept)
    for name, draw in (("scores", draw_scores), ("curves", draw_curves)):
        save(draw(kept), tmp_path / f"{name}.svg")
        assert_same_picture(tmp_path / f"{name}.svg", KEPT.parent / f"faithfulness-{name}.svg")
    page = (DOCS / "faithfulness.md").read_text(encoding="utf-8")
    for name in ("faithfulness.txt", "faithfulness-scores.svg", "faithfulness-curves.svg"):
        assert f"measurements/{name}" in page


def test_class_map_deserves_trust_for_where(kept):
    """The section "Which map deserves trust". If this fails, other weights have made other sentences true."""
    first, second = kept.settings.baselines
    for baseline in (first, second):
        assert curve_verdicts(kept, baseline, "class-map") == (1, 1)
        for other in (*METHODS, "occlusion"):
            if other not in ("class-map", "last-attention"):
                assert curve_verdicts(kept, baseline, "class-map", other) == (1, 1)
        assert abs(interval(kept.score(baseline, "class-map").occlusion).mean) < 0.15
    assert curve_verdicts(kept, first, "class-map", "last-attention") == (1, 1)
    assert curve_verdicts(kept, second, "class-map", "last-attention") == (1, 0)
    for untrained in kept.untrained(first, "class-map"):
        assert all(improvement(kept.score(first, "class-map"), untrained, curve).sign == 1 for curve in CURVES)


def test_last_attention_and_grad_cam_beat_random_maps(kept):
    first, second = kept.settings.baselines
    for baseline in (first, second):
        last, cam, image, random = (
            kept.score(baseline, name) for name in ("last-attention", "grad-cam", "brightness", "random")
        )
        assert curve_verdicts(kept, baseline, "last-attention") == (1, 1)
        assert verdicts(last, random)["occlusion"] == -1
        assert curve_verdicts(kept, baseline, "grad-cam") == (1, 1)
        assert verdicts(cam, image)["insertion"] == {first: -1, second: 0}[baseline]
        assert curve_verdicts(kept, baseline, "grad-cam-early") == (1, 0)


def test_gradient_times_input_predicts_the_fall_of_the_logit(kept):
    for baseline in kept.settings.baselines:
        best, (highest, second_highest) = best_by_fall(kept, baseline)
        assert best == "gradient-input"
        assert highest > 2 * second_highest
        assert curve_verdicts(kept, baseline, "gradient-input") == (0, 1)


def test_rollout_gives_no_evidence_here(kept):
    first, second = kept.settings.baselines
    assert curve_verdicts(kept, first, "rollout") == (0, 0)
    assert curve_verdicts(kept, second, "rollout") == (1, -1)
    untrained = mean_score(kept.untrained(first, "rollout"))
    assert all(improvement(kept.score(first, "rollout"), untrained, curve).sign == 0 for curve in CURVES)


def test_absolute_gradient_finds_the_sensitive_patches(kept):
    first, second = kept.settings.baselines
    for baseline in (first, second):
        assert curve_verdicts(kept, baseline, "gradient") == (1, 0)
        assert verdicts(kept.score(baseline, "gradient"), kept.score(baseline, "random"))["size"] == 1
    others = [name for name in MAPS if name != "gradient"]
    sizes = [verdicts(kept.score(second, "gradient"), kept.score(second, name))["size"] for name in others]
    assert sizes == [1] * len(others)
    assert verdicts(kept.score(first, "gradient"), kept.score(first, "class-map"))["size"] == 0


def test_earlier_weights_give_the_other_verdicts_of_the_page():
    """The warning "A verdict belongs to one network": 14 x 14 tokens in the first stage."""
    record = read(KEPT.with_name("faithfulness-14x14.json"))
    first, second = record.settings.baselines
    assert record.weights["test_accuracy"] == 0.936
    assert curve_verdicts(record, first, "rollout") == (1, 1)
    for baseline in (first, second):
        assert curve_verdicts(record, baseline, "last-attention") == (1, 0)
        assert curve_verdicts(record, baseline, "grad-cam") == (0, 0)
        assert curve_verdicts(record, baseline, "class-map") == (1, 1)
        assert best_by_fall(record, baseline)[0] == "gradient-input"


def test_ten_epochs_of_training_change_verdicts():
    """The same warning."""
    record = read(KEPT.with_name("faithfulness-third.json"))
    first, second = record.settings.baselines
    assert record.weights["test_accuracy"] == 0.9443
    assert curve_verdicts(record, first, "rollout") == (0, -1)
    assert curve_verdicts(record, second, "rollout") == (1, 0)
    assert curve_verdicts(record, second, "gradient-input") == (1, 0)
    for baseline in (first, second):
        assert curve_verdicts(record, baseline, "class-map") == (1, 1)
        assert best_by_fall(record, baseline)[0] == "gradient-input"
