"""The measurement of maps of objects: what is removed, in which order, and that the site shows the record."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.measure_object_maps import (
    BASELINES,
    FRACTIONS,
    METHODS,
    Object,
    drops,
    gradient_times_input,
    nearness,
    sentence,
    table,
)

MEASUREMENTS = Path(__file__).parents[2] / "docs" / "measurements"


class Watching:
    """A segmenter of 24 x 40 pixels whose probability of class 1 is that of the brightness of one square, far away."""

    def __init__(self):
        self.seen = []
        self.transform = SimpleNamespace(image_mean=(0.0, 0.0, 0.0))

    def __call__(self, images):
        self.seen.append(images)
        logits = torch.zeros(len(images), 2, *images.shape[2:])
        logits[:, 1] = images[:, 0, 16:, 32:].mean(dim=(1, 2))[:, None, None]
        return logits


@pytest.fixture
def watched():
    mask = torch.zeros(24, 40, dtype=torch.bool)
    mask[2:5, 3:10] = True  # touches two of the 15 squares
    return Object(0, Watching(), torch.ones(3, 24, 40), mask, label=1)


def test_squares_are_removed_in_the_given_order_and_never_touch_the_object(watched):
    assert watched.outside.tolist() == [False, False] + [True] * 13
    found = drops(watched, "nearest first", torch.Generator().manual_seed(0))
    assert list(found) == list(BASELINES)
    assert found["blur"] == pytest.approx([0] * 5)  # a white image stays white
    assert found["mean"] == pytest.approx([0] * 5)  # the watched square is the last
    (removed,) = [images for images in watched.model.seen if len(images) == len(FRACTIONS) and images.min() < 1]
    black = removed[:, 0] == 0
    assert [int(each.sum()) // 64 for each in black] == [1, 3, 4, 5, 6]
    assert not black[:, watched.mask].any()
    distance = -nearness(watched)
    assert all(distance[each].float().mean() < distance[~each & ~watched.mask].float().mean() for each in black)


def test_a_square_that_counts_lowers_the_probability_once_it_is_removed(watched, monkeypatch):
    first = torch.zeros(24, 40)
    first[16:, 32:] = 1
    monkeypatch.setitem(METHODS, "random", lambda each: first)
    e = torch.e
    fall = e / (1 + e) - 0.5  # of the softmax of (0, 1) to that of (0, 0)
    assert drops(watched, "random", torch.Generator())["mean"] == pytest.approx([fall] * 5, abs=1e-5)


def test_chance_has_an_order_for_each_generator(watched):
    orders = [drops(watched, "random", torch.Generator().manual_seed(seed))["mean"] for seed in range(8)]
    assert len({tuple(order) for order in orders}) > 1
    assert orders[0] == drops(watched, "random", torch.Generator().manual_seed(0))["mean"]


def test_a_gradient_times_its_input_is_positive_where_the_input_speaks_for_the_class(watched):
    for brightness in (1, -1):  # of the square that is watched, beside black
        watched.image[:, 16:, 32:] = brightness
        found = gradient_times_input(watched)
        assert (found[16:, 32:] * brightness > 0).all()
        assert (found[:16] == 0).all()


def test_the_page_shows_the_record():
    record = json.loads((MEASUREMENTS / "object-maps.json").read_text())
    assert record["fractions"] == list(FRACTIONS)
    inside = record["share of the map and of the image inside the object"]
    assert all(len(values) == len(inside) for values in record["drops"].values())
    text = (MEASUREMENTS / "object-maps.txt").read_text(encoding="utf-8")
    scenes = record["scene of each object"]
    assert text == f"{table(record['drops'], scenes)}\n{sentence(inside, scenes)}\n"
