"""Training from weights: their network, normalisation and classes hold unless something else was requested."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from hatnet.config import get_config
from hatnet.data import open_data
from hatnet.data.image_folder import IMAGENET_MEAN, IMAGENET_STD
from hatnet.data.images import balanced
from hatnet.data.sources import FASHION
from hatnet.models import create_model
from hatnet.network import HATNet
from hatnet.training.recipes import get_recipe
from hatnet.training.resuming import load_state
from hatnet.training.trained_weights import differences, tuned_config
from hatnet.weights.checkpoints import CheckpointError, about, load, save, write
from hatnet.weights.official import authors_names, authors_shapes
from hatnet.weights.source import Source, find_source
from tests.training.image_files import folder_data, write_folder
from tests.training.runs import ONE_EPOCH, SMALL, outcome, run, small_data, start, stop_after, thin

SHIPPED = replace(get_recipe("fashion-quick"), weights="fashion-mnist", batch_size=8, slice_size=8)


@pytest.fixture(scope="module")
def fashion():
    """The embedded data with few images, and the shipped network's logits for its test images, computed alone."""
    whole = open_data("fashion-subset")
    train, test = (images.part(balanced(images.labels, 6)) for images in (whole.train, whole.test))
    model = create_model("micro", pretrained="fashion-mnist")
    with torch.no_grad():
        logits = model(torch.from_numpy((test.pixels.numpy() / 255 - 0.2860) / 0.3530).float())
    assert float((logits.argmax(1) == test.labels).float().mean()) > 0.9
    return replace(whole, train=train, test=test), logits


@torch.no_grad()
def logits_of(training):
    """Of all test images, as the training prepares them."""
    return torch.cat([training.model.eval()(images) for images, _ in training.tests])


def test_fine_tuning_starts_where_the_shipped_weights_are(fashion, tmp_path):
    data, want = fashion
    training = start(tmp_path, SHIPPED, data, build=None)
    assert torch.allclose(logits_of(training), want, rtol=0, atol=1e-4)
    *lines, classifier = training.start.lines
    assert lines == [
        "stem_strides: 1 2 (the recipe's) -> 1 1 (the weights')",
        "grid_sizes: 7 4 (the recipe's) -> 7 7 (the weights')",
    ]
    assert "classifier of the weights is kept: the same 10 classes" in classifier
    assert training.recipe.grid_sizes == (7, 7)


def test_what_the_recipe_and_the_weights_agree_on_is_no_change(fashion, tmp_path):
    """The recipe's strides are not those of its variant, but they are the weights'."""
    training = start(tmp_path, replace(SHIPPED, stem_strides=(1, 1)), fashion[0], build=None)
    assert not [line for line in training.start.lines if "stem_strides" in line]


def test_fine_tuning_starts_there_on_a_folder_of_files_too(fashion, tmp_path):
    """Files are read in colour, the stem is adapted, and classes are in the order of their folders."""
    data, want = fashion
    for part, images in (("train", data.train), ("val", data.test)):
        for index, (pixels, label) in enumerate(zip(images.pixels[:, 0].numpy(), images.labels, strict=True)):
            folder = tmp_path / "photos" / part / data.classes[label]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{index:03}.png")
    files = open_data(f"folder:{tmp_path / 'photos'}")
    assert files.classes == tuple(sorted(FASHION)) != FASHION
    training = start(tmp_path / "run", SHIPPED, files, build=None)
    images = [int(path.stem) for path in files.test.paths]
    rows = [FASHION.index(name) for name in files.classes]
    assert torch.allclose(logits_of(training), want[images][:, rows], rtol=0, atol=1e-4)
    text = "\n".join(training.start.lines)
    assert "Pixels are normalised as for the weights: mean 0.286, 0.286, 0.286, std 0.353" in text
    assert "adapted from grey to colour" in text
    assert "with its 10 classes in the order of the data" in text
    assert "in_channels: 1 (the weights') -> 3 (the data's)" in text


def test_another_image_size_is_listed(fashion, tmp_path):
    training = start(tmp_path, replace(SHIPPED, image_size=32, crop_padding=None), fashion[0], build=None)
    assert "Images of 32 pixels; the weights were trained on 28." in training.start.lines


def test_a_requested_window_holds_even_where_it_is_the_recipes_default(fashion, tmp_path):
    training = start(tmp_path, replace(SHIPPED, grid_sizes=(7, 4)), fashion[0], build=None)
    assert training.model.config.grid_sizes == (7, 4)
    assert training.model.config.stem_strides == (1, 1)
    assert "grid_sizes: 7 7 (the weights') -> 7 4 (given)" in training.start.lines
    assert get_recipe("fashion-quick").config(10, 1).grid_sizes == (7, 4), "random weights keep the recipe's default"


def test_a_run_from_before_the_recipes_default_windows_had_their_own_field_resumes(tmp_path):
    run(tmp_path, replace(SMALL, grid_sizes=(7, 4)), monitor=stop_after(1))
    assert run(tmp_path, replace(SMALL, untrained_grid_sizes=(7, 4)), resume=True).step == 15
    with pytest.raises(CheckpointError, match=r"another network(.|\n)*grid_sizes: \[8, 4\] here, \[7, 4\] there"):
        start(tmp_path, SMALL, resume=True)


def test_every_difference_is_listed():
    recipe, trained = get_config("tiny", num_classes=2), get_config("micro", in_channels=1)
    network = replace(trained, num_classes=2, grid_sizes=(5, 3))
    *taken, classes, grid_sizes = differences(SMALL, recipe, Source(HATNet(trained), ""), network)
    assert "name: tiny (the recipe's) -> micro (the weights')" in taken
    assert "depths: 2 2 6 3 (the recipe's) -> 2 2 2 (the weights')" in taken
    assert not any(line.startswith("grid_sizes") for line in taken), "they are requested, not the weights'"
    assert classes == "num_classes: 10 (the weights') -> 2 (the data's)"
    assert grid_sizes == "grid_sizes: 8 4 (the weights') -> 5 3 (given)"
    assert differences(SMALL, network, Source(HATNet(network), ""), network) == []


def test_a_custom_network_is_trained_and_resumed_without_its_file(tmp_path):
    odd = replace(
        thin(get_config("micro", in_channels=1)).config, name="custom", grid_sizes=(5, 3), kernel_sizes=(5, 3, 3)
    )
    weights = tmp_path / "odd.safetensors"
    save(HATNet(odd), weights, {"classes": ["a"] * 5 + ["b"] * 5})
    recipe = replace(SMALL, variant="tiny", weights=str(weights))
    run(tmp_path / "whole", recipe, build=None)
    run(tmp_path / "run", recipe, build=None, monitor=stop_after(1))
    weights.unlink()
    run(tmp_path / "run", recipe, build=None, resume=True)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")
    trained = load(tmp_path / "run" / "last.safetensors").config
    assert trained == replace(odd, drop_path_rate=SMALL.drop_path, classifier_drop_rate=SMALL.classifier_drop)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["recipe"]["grid_sizes"] == [5, 3]
    assert "name: tiny (the recipe's) -> custom (the weights')" in facts["changes at the start"]


def test_windows_and_images_that_do_not_fit_the_weights_are_refused(tmp_path):
    held = find_source("fashion-mnist").model.config
    with pytest.raises(ValueError, match=r"grid_sizes=\(7, 7, 7\) must have 2 entries for 3 stages"):
        tuned_config(replace(SHIPPED, grid_sizes=(7, 7, 7)), held, held)
    with pytest.raises(ValueError, match="image of 2 x 2 pixels is too small"):
        tuned_config(replace(SHIPPED, image_size=2), held, held)


def test_normalisation_follows_the_weights_and_survives_a_resume(tmp_path):
    weights = tmp_path / "w.safetensors"
    save(thin(SMALL.config(10, 1)), weights, {"mean": [0.5], "std": [0.25], "classes": list(FASHION)})
    recipe = replace(SMALL, weights=str(weights))
    run(tmp_path / "run", recipe, monitor=stop_after(1))
    weights.unlink()
    resumed = run(tmp_path / "run", recipe, resume=True)
    assert (resumed.data.mean, resumed.data.std) == ((0.5,), (0.25,))
    assert load_state(tmp_path / "run" / "state.safetensors")[0].normalisation == {"mean": [0.5], "std": [0.25]}
    assert about(tmp_path / "run" / "last.safetensors")["std"] == [0.25]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"mean": [0.1, 0.2]}, "mean in about has 2 entries, but the network has 1"),
        ({"mean": ["x"]}, r"about.mean\[0\]='x' must be of the type float"),
        ({"std": [0.0]}, "about.std=0.0 must be from 1e-06 to 1000"),
        ({"classes": ["a"]}, "classes in about has 1 entries, but the network has 10"),
    ],
)
def test_facts_that_contradict_the_network_are_refused(facts, message, tmp_path):
    write(thin(SMALL.config(10, 1)), tmp_path / "w.safetensors", facts)
    with pytest.raises(CheckpointError, match=message):
        find_source(tmp_path / "w.safetensors")


@pytest.mark.parametrize(("names", "line"), [((), "file names no classes, but has 10"), (None, "new, for 10 classes")])
def test_a_classifier_without_names_is_kept_for_as_many_classes(names, line, tmp_path):
    facts = {} if names == () else {"classes": [f"tree {number}" for number in range(10)]}
    save(thin(SMALL.config(10, 1)), tmp_path / "w.safetensors", facts)
    training = start(tmp_path / "run", replace(SMALL, weights=str(tmp_path / "w.safetensors")))
    assert line in training.start.lines[-1]


def test_the_authors_colour_weights_start_a_training_on_grey_images(tmp_path):
    config = get_config("tiny", num_classes=10)
    torch.manual_seed(0)
    ours, shapes = HATNet(config).state_dict(), authors_shapes(config)
    theirs = {name: ours[own].view(shapes[name]) for own, name in authors_names(config).items()}
    torch.save(theirs, tmp_path / "theirs.pth")
    recipe = replace(SMALL, image_size=32, crop_padding=None, weights=str(tmp_path / "theirs.pth"))
    training = start(tmp_path / "run", recipe, build=None)
    assert (training.model.config.name, training.model.config.in_channels) == ("tiny", 1)
    assert any("adapted from colour to grey" in line for line in training.start.lines)
    pixels = torch.rand(1, 32, 32, 1)
    seen = training.model.stem.conv1((pixels - training.data.mean[0]) / training.data.std[0])
    normalised = (pixels - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)
    want = F.conv2d(normalised.permute(0, 3, 1, 2), ours["stem.conv1.weight"], ours["stem.conv1.bias"], 2, 1)
    assert torch.allclose(seen.permute(0, 3, 1, 2)[:, :, 1:, 1:], want[:, :, 1:, 1:], atol=1e-5), "but for the padding"


@pytest.mark.parametrize("given", [True, False], ids=["stated", "unknown"])
def test_grey_weights_start_on_colour_images_with_one_mean_and_deviation(given, tmp_path):
    """Those of the weights; if they state none, the averages over the channels of the data."""
    facts = {"mean": [0.25], "std": [0.5], "classes": ["elk", "emu"]} if given else {"classes": ["elk", "emu"]}
    save(thin(SMALL.config(2, 1)), tmp_path / "w.safetensors", facts)
    data = replace(folder_data(tmp_path / "photos"), mean=(0.1, 0.2, 0.6), std=(0.2, 0.3, 0.7))
    recipe = replace(SMALL, batch_size=2, slice_size=2, weights=str(tmp_path / "w.safetensors"))
    training = start(tmp_path / "run", recipe, data)
    mean, std = (0.25, 0.5) if given else (0.3, 0.4)
    assert training.data.mean == pytest.approx((mean,) * 3)
    assert training.data.std == pytest.approx((std,) * 3)
    assert f"mean {mean}, {mean}, {mean}, std {std}, {std}, {std} (data: mean 0.1" in "".join(training.start.lines)
    assert training.start.lines[-1] == "The classifier is new, for 2 classes; the weights have 2 others."


def test_the_command_prints_what_changes_and_refuses_a_contradicting_variant(hatnet_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = ["train", "fashion-quick", "--weights", "fashion-mnist", "--device", "cpu", "--out", "run"]
    status, _, error = hatnet_command(*command, "--variant", "tiny")
    assert (status, list(tmp_path.iterdir())) == (2, [])
    assert "fashion-mnist holds 'micro', not 'tiny'; leave --variant out" in error
    monkeypatch.setattr("hatnet.cli.train.open_shared_data", lambda *_: small_data())
    monkeypatch.setattr("hatnet.training.loop.Training.run", lambda self, _: None)
    status, printed, _ = hatnet_command(*command, "--batch-size", 8, "--slice-size", 8)
    printed = " ".join(printed.split())
    assert "HAT-Net Micro on fashion-subset: 80 training and 30 test images" in printed
    assert "stem_strides: 1 2 (the recipe's) -> 1 1 (the weights')" in printed
    assert "the test images choose best.safetensors" in printed


def test_weights_and_folders_hold_from_anywhere(tmp_path, monkeypatch, whole):
    """`~`, and relative paths from another working directory, also to resume and to evaluate."""
    write_folder(tmp_path / "photos", images=4, size=(28, 28))
    shutil.copy(whole / "last.safetensors", tmp_path / "w.safetensors")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    given = replace(ONE_EPOCH, data="folder:~/photos", weights="~/w.safetensors", batch_size=4, slice_size=4, epochs=2)
    data = open_data(given.data)
    run(tmp_path / "run", given, data=data, monitor=stop_after(2))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    other = replace(given, data="folder:../photos/", weights="../w.safetensors")
    assert run(tmp_path / "run", other, data=open_data(other.data), resume=True).step == 4
    monkeypatch.chdir("/")
    known = about(tmp_path / "run" / "last.safetensors")
    assert known["data"] == f"folder:{tmp_path / 'photos'}" == known["recipe"]["data"]
    assert known["recipe"]["weights"] == str(tmp_path / "w.safetensors")
    assert len(open_data(known["data"]).test) == 8
