"""Weights to start from: random ones, trained ones from a file, and those that come with the package."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hatnet.data import open_data
from hatnet.data.transforms import for_testing
from hatnet.models import create_model
from hatnet.training.batches import batches_for_testing
from hatnet.training.classification import evaluate
from hatnet.training.initial_weights import first_recipe, random_network
from hatnet.training.recipes import from_json
from hatnet.weights.checkpoints import CheckpointError, about, load, save
from hatnet.weights.pretrained import existing_weights, pretrained_file
from tests.training.runs import ALONE, SMALL, outcome, run, small_data, start, stop_after, thin


@pytest.mark.parametrize("initial", ["authors", "fan-in"])
def test_random_weights_of_a_recipe_have_its_spread_and_its_seed(initial):
    """Of every matrix and kernel: 0.02, or one over the root of the inputs. The classifier has 0.02 in both cases."""
    recipe = replace(SMALL, initial_weights=initial)
    recipes, config = (recipe, recipe, replace(recipe, seed=4)), SMALL.config(10, 1)
    model, again, other = (random_network(each, config) for each in recipes)
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            weight, inputs = module.weight.detach(), module.weight[0].numel()
            want = 0.02 if initial == "authors" or name == "classifier" else inputs**-0.5
            count = weight.numel()
            assert abs(float(weight.square().mean().sqrt()) / want - 1) < 4 / math.sqrt(2 * count), name
            assert abs(float(weight.mean())) < 4 * want / math.sqrt(count), name
            assert torch.equal(weight, again.get_parameter(f"{name}.weight"))
            assert not torch.equal(weight, other.get_parameter(f"{name}.weight"))


def starting_from(weights):
    return replace(SMALL, weights=str(weights))


def test_training_can_start_from_trained_weights(whole, tmp_path):
    for weights in (whole / "last.safetensors", whole):
        training = start(tmp_path, starting_from(weights))
        assert "classifier of the weights is kept" in training.start.lines[-1]
        for name, tensor in load(whole / "last.safetensors").state_dict().items():
            assert torch.equal(training.model.state_dict()[name], tensor), name
            assert torch.equal(training.learner.average.model.state_dict()[name], tensor), name


def test_weights_for_other_classes_are_loaded_without_their_classifier(tmp_path):
    torch.manual_seed(0)
    other = thin(SMALL.config(7, 1))
    save(other, tmp_path / "seven.safetensors")
    training = start(tmp_path, starting_from(tmp_path / "seven.safetensors"))
    assert "The classifier is new" in training.start.lines[-1]
    mine = training.model.state_dict()
    for name, tensor in other.state_dict().items():
        assert name.startswith("classifier") or torch.equal(mine[name], tensor), name
    assert mine["classifier.weight"].shape == (10, 16)


def test_a_classifier_for_as_many_other_classes_is_not_loaded(whole, tmp_path):
    """Ten kinds of trees are not ten kinds of clothes."""
    trees = replace(small_data(), classes=tuple(f"tree {number}" for number in range(10)))
    training = start(tmp_path, starting_from(whole), trees)
    assert "The classifier is new" in training.start.lines[-1]
    trained = load(whole / "last.safetensors").state_dict()
    assert not torch.equal(training.model.classifier.weight, trained["classifier.weight"])
    assert torch.equal(training.model.stem.conv1.weight, trained["stem.conv1.weight"])


def test_a_tuning_run_resumes_without_the_file_it_started_from(whole, tmp_path):
    weights, stopped = shutil.copy(whole / "last.safetensors", tmp_path / "weights.safetensors"), tmp_path / "stopped"
    run(tmp_path / "left alone", starting_from(weights))
    run(stopped, starting_from(weights), monitor=stop_after(1))
    weights.unlink()
    run(stopped, starting_from(weights), resume=True)
    assert outcome(stopped) == outcome(tmp_path / "left alone")
    known = about(stopped / "last.safetensors")
    assert known["started_from"] == about(whole / "last.safetensors")
    assert first_recipe(known) == SMALL
    assert json.loads((stopped / "run.json").read_text())["started_from"] == known["started_from"]


def test_a_first_recipe_of_wrong_types_is_named():
    with pytest.raises(ValueError, match=r"the recipe in the file cannot be read: lr='fast' must be of the type float"):
        first_recipe({"recipe": {"lr": "fast"}})


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(tmp_path):
    weights = tmp_path / "micro.safetensors"
    save(create_model("micro", in_channels=1), weights)
    with pytest.raises(CheckpointError, match=r"micro.safetensors does not fit(.|\n)*of another shape"):
        start(tmp_path / "run", starting_from(weights))
    with pytest.raises(FileNotFoundError, match=r"no checkpoint file at .*none.safetensors"):
        start(tmp_path / "run", starting_from(tmp_path / "none.safetensors"))
    assert not (tmp_path / "run").exists()


def test_a_path_with_the_name_of_weights_in_the_package_is_told_from_the_name():
    with pytest.raises(FileNotFoundError, match=r"at fashion-mnist; .* this name: give it as a text, not as a Path"):
        existing_weights(Path("fashion-mnist"))


PRETRAINED = pretrained_file("micro", "fashion-mnist")


def test_the_guide_gives_the_recorded_accuracy_of_the_small_pretrained_weights():
    assert PRETRAINED.stat().st_size < 3e6
    assert about(PRETRAINED)["data"] == "fashion-mnist"
    docs, accuracy = Path(__file__).parents[2] / "docs", about(PRETRAINED)["test_accuracy"]
    assert (docs / "training.md").read_text(encoding="utf-8").count(f"**{100 * accuracy:.2f} %**") == 2
    kept = docs / "measurements" / "fashion-micro-full" / "fourth"
    assert json.loads((kept / "evaluation.json").read_text(encoding="utf-8"))["accuracy"] == accuracy >= 0.945
    run = json.loads((kept / "run.json").read_text(encoding="utf-8"))
    assert run["result"]["test accuracy of the last epoch"] == accuracy


@pytest.mark.parametrize(("every", "margin"), [(10, 0.05), pytest.param(1, 0.02, marks=pytest.mark.long)])
def test_pretrained_weights_classify_the_embedded_test_images(every, margin):
    """The embedded images are 2,500 of the 10,000 that the published accuracy is for."""
    known, model = about(PRETRAINED), create_model("micro", pretrained="fashion-mnist")
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
