"""The record of the bug lab says what the pages say about it."""

import json

import numpy as np
import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: pip install -e '.[docs]'")


@pytest.fixture
def record(site):
    return json.loads((site / "data/generated/bug-lab.json").read_text())


@pytest.fixture
def departures(record):
    """By title and weights, one number per size."""
    return {
        (bug["title"], weights): np.array(found)
        for bug in record["bugs"]
        for weights, found in bug["departures"].items()
    }


def test_a_missing_root_moves_the_output_as_the_text_says(departures):
    """0.6 to 6 % with the weights of the tests, 0.7 to 6 millionths with fresh ones; 0 if each query has one key."""
    for weights, low, high in (("unit", 0.0055, 0.065), ("fresh", 0.65e-6, 6.5e-6)):
        found = departures["Missing root", weights]
        assert np.count_nonzero(found == 0) == 1
        assert low < found[found > 0].min() < found.max() < high


def test_what_changes_anything_at_all_is_seen_in_float64(departures, record):
    assert all(((found == 0) | (found > 1e-12)).all() for found in departures.values())
    for noise in record["noise"].values():
        assert max(noise["float64"]) < 1e-15
        assert 1e-8 < max(noise["float32"]) < 3e-7


def test_three_bugs_hide_on_sizes_that_divide_or_have_one_row_of_windows(departures, record):
    for (H, W, G1), at in zip(record["grid"], range(len(record["grid"])), strict=True):
        cut = H % min(G1, H) > 0 or W % min(G1, W) > 0
        rows, columns = -(-H // G1), -(-W // G1)
        for weights in ("unit", "fresh"):
            assert (departures["No mask", weights][at] > 0) == cut
            assert (departures["Pooling counts padding", weights][at] > 0) == (H % 2 > 0 or W % 2 > 0)
            assert (departures["Windows put back wrongly", weights][at] > 0) == (rows > 1 and columns > 1)
