"""The weights that come with the package."""

import json
from pathlib import Path

import pytest
import torch

from hatnet.data import open_data
from hatnet.data.transforms import for_testing
from hatnet.models import create_model
from hatnet.training.batches import batches_for_testing
from hatnet.training.classification import evaluate
from hatnet.training.recipes import from_json
from hatnet.weights.checkpoints import CheckpointError, about
from hatnet.weights.pretrained import pretrained_file
from tests.training.runs import ALONE


def test_pretrained_weights_are_small_and_record_their_training():
    path = pretrained_file("micro", "fashion-mnist")
    assert path.stat().st_size < 3e6
    assert about(path)["data"] == "fashion-mnist"


def test_the_guide_gives_the_recorded_accuracy_of_the_pretrained_weights():
    docs = Path(__file__).parents[2] / "docs"
    accuracy = about(pretrained_file("micro", "fashion-mnist"))["test_accuracy"]
    assert (docs / "training.md").read_text(encoding="utf-8").count(f"**{100 * accuracy:.2f} %**") == 2
    kept = docs / "measurements" / "fashion-micro-full" / "fourth"
    assert json.loads((kept / "evaluation.json").read_text(encoding="utf-8"))["accuracy"] == accuracy >= 0.945
    run = json.loads((kept / "run.json").read_text(encoding="utf-8"))
    assert run["result"]["test accuracy of the last epoch"] == accuracy


@pytest.mark.parametrize(("every", "margin"), [(10, 0.05), pytest.param(1, 0.02, marks=pytest.mark.long)])
def test_pretrained_weights_classify_the_embedded_test_images(every, margin):
    """The embedded images are 2,500 of the 10,000 that the published accuracy is for."""
    known, model = about(pretrained_file("micro", "fashion-mnist")), create_model("micro", pretrained="fashion-mnist")
    assert not model.training
    data = open_data("fashion-subset")
    images = data.test.part(torch.arange(0, 2500, every))
    batches = batches_for_testing(images, for_testing(from_json(known["recipe"]), data), 0, 1, 250, 0)
    assert evaluate(model, batches, ALONE).accuracy > known["test_accuracy"] - margin


def test_pretrained_weights_accept_other_windows_but_no_other_classes():
    changed = create_model("micro", pretrained="fashion-mnist", grid_sizes=(5, 3))
    assert changed.config.grid_sizes == (5, 3)
    with pytest.raises(CheckpointError, match="the weights of micro trained on fashion-mnist"):
        create_model("micro", pretrained="fashion-mnist", num_classes=7)
    with pytest.raises(ValueError, match="no weights of 'tiny' trained on 'fashion-mnist'; there are: micro on"):
        create_model("tiny", pretrained="fashion-mnist")
