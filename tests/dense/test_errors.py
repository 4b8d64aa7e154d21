"""Scores of the networks for scenes with one kind of error removed: wrong classes or wrong outlines."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from hatnet.data.scenes.cutouts import Garments
from hatnet.data.scenes.writer import Settings, write_scenes
from hatnet.data.sources import open_data
from hatnet.training.average_precision import average_precision, found_objects
from tests.measure_errors import (
    AS_IS,
    CLASSES,
    OUTLINES,
    average_precision_at,
    detected,
    table,
    with_classes_right,
    with_outlines_right,
    without_classes,
)

RECORD = Path(__file__).parents[2] / "docs" / "measurements" / "scenes-errors"
CONFUSION = torch.tensor([[90.0, 6, 4], [10, 60, 30], [5, 15, 30]])  # background and two classes


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Eight training scenes of 64 pixels, with their objects."""
    folder = tmp_path_factory.mktemp("errors") / "scenes"
    write_scenes(folder, Settings(size=64, train=8, val=1, seed=3), Garments())
    return open_data(f"coco:{folder}", task="instances").train


def predicted(truth, change):
    """A prediction of the true objects, edited by `change`."""
    prediction = {
        "boxes": torch.as_tensor(truth["boxes"]), "labels": truth["labels"].clone(),
        "scores": torch.linspace(1, 0.9, len(truth["labels"])),
        "masks": torch.as_tensor(truth["masks"])[:, None].float(),
    }  # fmt: skip
    return change(prediction)


def found_in(images, change):
    truths = [images.label(index) for index in range(len(images))]
    return [each for truth in truths for each in found_objects(int(truth["image_id"]), predicted(truth, change))]


def wrong_classes(prediction):
    return prediction | {"labels": prediction["labels"] % 5 + 1}


def wrong_outlines(prediction):
    """Keep only the lowest third of each mask, so that its IoU with the truth is about a third."""
    masks = prediction["masks"].clone()
    for mask in masks:
        rows = mask[0].any(dim=1).nonzero()[:, 0]
        mask[0, : int(rows[2 * len(rows) // 3])] = 0
    return prediction | {"masks": masks}


def test_all_classes_right_removes_only_confusions_between_objects():
    assert with_classes_right(CONFUSION).tolist() == [[90, 6, 4], [10, 90, 0], [5, 0, 45]]


def test_all_outlines_right_makes_the_background_perfect_and_confuses_classes_as_often():
    right = with_outlines_right(CONFUSION)
    assert right[0].tolist() == [100, 0, 0]
    assert right[1:, 0].tolist() == [0, 0]
    assert right.sum(dim=1).tolist() == CONFUSION.sum(dim=1).tolist()
    assert (right[1, 2] / right[1, 1]).item() == pytest.approx(30 / 60)
    assert (right[2, 1] / right[2, 2]).item() == pytest.approx(15 / 30)


def test_a_detector_is_scored_in_three_ways(images):
    truths = [images.label(index) for index in range(len(images))]
    batches = [((truth,), (truth,)) for truth in truths]  # the detector below sees the truth in place of an image
    for change, lost, kept in ((wrong_classes, OUTLINES, CLASSES), (wrong_outlines, CLASSES, OUTLINES)):
        source = SimpleNamespace(model=lambda batch, change=change: [predicted(truth, change) for truth in batch])
        scores = detected(source, batches, images)
        assert max(scores[AS_IS], scores[lost]) < 0.4
        assert scores[kept] > 0.9


def test_an_object_found_twice_counts_once_when_classes_are_ignored():
    twice = {
        "boxes": torch.tensor([[0.0, 0, 10, 10], [1, 0, 10, 10], [20, 20, 30, 30]]), "labels": torch.tensor([1, 3, 2]),
        "scores": torch.tensor([0.6, 0.9, 0.5]),
    }  # fmt: skip
    found = without_classes(twice)
    assert found["scores"].tolist() == pytest.approx([0.9, 0.5])
    assert found["labels"].tolist() == [1, 1]


def test_average_precision_at_half_equals_ap50_of_an_evaluation(images):
    """With some wrong classes, so that it is neither 0 nor 1."""

    def some(prediction):
        labels = prediction["labels"].clone()
        labels[::3] = labels[::3] % 5 + 1
        return prediction | {"labels": labels}

    found, seen = found_in(images, some), [images.image_id(index) for index in range(len(images))]
    expected = average_precision(images.ground_truth(), seen, found, "mask").overall["AP50"]
    assert 0.1 < expected < 0.9
    assert average_precision_at(0.5, images.ground_truth(), found) == pytest.approx(expected, abs=1e-12)


def test_the_table_is_made_from_the_record():
    results = json.loads(RECORD.with_suffix(".json").read_text())["results"]
    assert RECORD.with_suffix(".txt").read_text() == table(results)
    for parts in results.values():
        for scores in parts.values():
            assert max(scores.values()) < 1
            assert scores[AS_IS] == min(scores[name] for name in (AS_IS, CLASSES, OUTLINES))


@pytest.mark.parametrize(("task", "score"), [("segmentation", "mean_IoU"), ("instances", "mask_AP50")])
def test_scores_of_the_test_scenes_equal_those_of_the_evaluation(task, score):
    ours = json.loads(RECORD.with_suffix(".json").read_text())["results"][task]["test"][AS_IS]
    evaluation = json.loads((RECORD.parent / f"scenes-{task}" / "evaluation.json").read_text())
    assert ours == pytest.approx(evaluation[score], abs=1e-3)
