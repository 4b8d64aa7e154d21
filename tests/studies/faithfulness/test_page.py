"""The conclusions of docs/faithfulness.md follow from the kept records. Other weights make other sentences true."""

from pathlib import Path

import pytest

from hatnet.studies.faithfulness import METHODS, read
from hatnet.studies.faithfulness.statistics import improvement, interval, mean_score, verdicts

RECORDS = Path(__file__).parents[3] / "docs" / "measurements"
MAPS = [name for name, method in METHODS.items() if method.kind != "control"]
CURVES = ("insertion", "deletion")

# Verdicts by insertion and by deletion against random maps, with the first baseline and with the second: 1 is better,
# -1 worse, 0 not significant.
VERDICTS = {
    "faithfulness": {
        "class-map": [(1, 1), (1, 1)],
        "last-attention": [(1, 1), (1, 1)],
        "grad-cam": [(1, 1), (1, 1)],
        "grad-cam-early": [(1, 0), (1, 0)],
        "gradient-input": [(0, 1), (0, 1)],
        "rollout": [(0, 0), (1, -1)],
        "gradient": [(1, 0), (1, 0)],
    },
    # The warning "A verdict belongs to one network": 14 x 14 tokens in the first stage, and ten more epochs.
    "faithfulness-14x14": {
        "class-map": [(1, 1), (1, 1)],
        "last-attention": [(1, 0), (1, 0)],
        "grad-cam": [(0, 0), (0, 0)],
        "rollout": [(1, 1), (1, 0)],
    },
    "faithfulness-third": {
        "class-map": [(1, 1), (1, 1)],
        "gradient-input": [(0, 1), (1, 0)],
        "rollout": [(0, -1), (1, 0)],
    },
}


@pytest.fixture(scope="module")
def records():
    return {name: read(RECORDS / f"{name}.json") for name in VERDICTS}


@pytest.fixture
def kept(records):
    return records["faithfulness"]


def compare(record, method, other, *measures):
    """The verdicts by some measures, for each baseline."""
    scores = ((record.score(baseline, method), record.score(baseline, other)) for baseline in record.settings.baselines)
    return [tuple(verdicts(*pair)[measure] for measure in measures) for pair in scores]


@pytest.mark.parametrize(("name", "method"), [(name, method) for name in VERDICTS for method in VERDICTS[name]])
def test_verdicts_against_random_maps_are_those_of_the_page(records, name, method):
    assert compare(records[name], method, "random", *CURVES) == VERDICTS[name][method]


def test_class_map_deserves_trust_for_where(kept):
    others = {*METHODS, "occlusion"} - {"class-map", "last-attention"}
    assert all(compare(kept, "class-map", other, *CURVES) == [(1, 1), (1, 1)] for other in others)
    assert compare(kept, "class-map", "last-attention", *CURVES) == [(1, 1), (1, 0)]
    first, second = kept.settings.baselines
    for baseline in (first, second):
        assert abs(interval(kept.score(baseline, "class-map").occlusion).mean) < 0.15
    for untrained in kept.untrained(first, "class-map"):
        assert all(improvement(kept.score(first, "class-map"), untrained, curve).sign == 1 for curve in CURVES)


def test_last_attention_and_grad_cam_fail_against_controls(kept):
    assert compare(kept, "last-attention", "random", "occlusion") == [(-1,), (-1,)]
    assert compare(kept, "grad-cam", "brightness", "insertion") == [(-1,), (0,)]


def test_gradient_times_input_predicts_the_fall_of_the_logit(records):
    for name, record in records.items():
        for baseline in record.settings.baselines:
            falls = {method: interval(record.score(baseline, method).occlusion).mean for method in MAPS}
            second, best = sorted(MAPS, key=falls.__getitem__)[-2:]
            assert best == "gradient-input"
            assert falls[best] > 2 * falls[second] or name != "faithfulness"


def test_rollout_is_no_better_than_that_of_untrained_networks(kept):
    first = kept.settings.baselines[0]
    untrained = mean_score(kept.untrained(first, "rollout"))
    assert all(improvement(kept.score(first, "rollout"), untrained, curve).sign == 0 for curve in CURVES)


def test_absolute_gradient_finds_the_sensitive_patches(kept):
    assert compare(kept, "gradient", "random", "size") == [(1,), (1,)]
    assert compare(kept, "gradient", "class-map", "size") == [(0,), (1,)]
    assert all(compare(kept, "gradient", other, "size")[1] == (1,) for other in MAPS if other != "gradient")


def test_test_accuracies_of_the_page_are_those_of_the_weights(records):
    assert records["faithfulness-14x14"].weights["test_accuracy"] == 0.936
    assert records["faithfulness-third"].weights["test_accuracy"] == 0.9443
