"""The commands `hatnet train` and `hatnet evaluate`."""

import json
import shutil
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from hatnet.config import get_config
from hatnet.data import DataError, open_data
from hatnet.data.photo import load_photo, normalise
from hatnet.models import create_model
from hatnet.network import HATNet
from hatnet.training.checkpoint_evaluation import evaluate_checkpoint
from hatnet.weights.checkpoints import save
from hatnet.weights.official import authors_names, authors_shapes
from tests.training.image_files import folder_data
from tests.training.runs import ALONE, ONE_EPOCH, run
from tests.training.small_command import small_options


def test_cheap_checks_come_before_reading_all_images(hatnet, tmp_path, monkeypatch, capsys):
    """Reading a million files first would cost an hour."""
    data = folder_data(tmp_path / "data", images=8)
    monkeypatch.setattr("hatnet.cli.train.without_broken_files", lambda *_, **__: pytest.fail("read images"))
    monkeypatch.chdir(tmp_path)
    command = ["train", "fashion-quick", "--data", data.name, "--batch-size", "8", "--slice-size", "8"]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "run.json").write_text("{}")
    for options, message in (
        (["--out", "taken"], "holds a run already"),
        (["--weights", "none.safetensors"], "no checkpoint file at none.safetensors"),
        (["--batch-size", "64", "--slice-size", "64"], "batch_size=64 is more than the 16 images there are"),
        (["--precision", "float16", "--device", "cpu"], "is for GPUs"),
        (["--workers", "-1"], "workers=-1 must be a whole number from 0 to 256"),
    ):
        with pytest.raises(SystemExit):
            hatnet(*command, *options)
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "fashion-quick", "--image-size", "32"], "have 28 x 28 pixels, image_size=32: give --crop-padding"),
        (["train", "fashion-quik"], "unknown recipe 'fashion-quik', did you mean 'fashion-quick'"),
        (["train", "--stem-strides", "1", "1", "fashon"], "unknown recipe 'fashon', did you mean 'fashion'"),
        (["train", "fashion", "--data-dir", "{tmp}"], "fashion-mnist is not in {tmp}"),
        (["train", "fashion-quick", "--data", "folder:{tmp}/none"], "no folder {tmp}/none: folder: needs the path"),
        (["train", "fashion-quick", "--device", "tpu"], "device='tpu' must be cpu, cuda or one GPU such as"),
        (["evaluate", "{tmp}/none.safetensors"], "no checkpoint file at {tmp}/none.safetensors"),
        (["evaluate", "fashion-mnist", "--batch-size", "-1"], "batch_size=-1 must be a whole number from 1"),
        (["evaluate", "fashion-mnist", "--batch-size", "0"], "batch_size=0 must be a whole number from 1"),
        (["evaluate", "{tmp}"], "no checkpoint file at {tmp}/last.safetensors"),
    ],
)
def test_wrong_arguments_are_explained_before_work_starts(arguments, message, hatnet, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        hatnet(*(part.format(tmp=tmp_path) for part in arguments))
    assert ended.value.code == 2
    assert message.format(tmp=tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, TypeError])
def test_a_defect_keeps_its_traceback(error, hatnet, monkeypatch):
    monkeypatch.setattr("hatnet.cli.evaluate.evaluate_checkpoint", Mock(side_effect=error("a defect")))
    with pytest.raises(error, match="a defect"):
        hatnet("evaluate", __file__, "--device", "cpu")


def test_too_little_memory_on_a_cpu_is_an_error_with_advice(hatnet, monkeypatch, capsys):
    """PyTorch has no class for this error. `tests/cli/test_errors.py` tests the error of a GPU."""
    monkeypatch.setattr("hatnet.cli.evaluate.evaluate_checkpoint", lambda *_, **__: torch.empty(10**15))
    with pytest.raises(SystemExit, match="2"):
        hatnet("evaluate", __file__, "--device", "cpu")
    error = capsys.readouterr().err
    assert error.startswith("error: can't allocate memory: you tried to allocate 4000000000000000")
    assert "\nHalve --slice-size (train" in error
    assert "--batch-size (evaluate)" in error


@pytest.fixture
def trained(tmp_path):
    """A training on 8 photos of 28 x 28 pixels, tested on 8 others."""
    data = folder_data(tmp_path / "photos", images=4)
    return run(tmp_path / "run", replace(ONE_EPOCH, data=data.name, batch_size=4, slice_size=4), data=data)


def test_evaluate_draws_its_result_and_leaves_out_broken_test_images(trained, hatnet, tmp_path, capsys):
    data = trained.data
    for path in (data.test.paths[5], data.train.paths[2]):
        path.write_text("not an image")
    hatnet("evaluate", tmp_path / "run", "--data-dir", tmp_path / "kept")
    printed = capsys.readouterr().out
    assert f"1 of 8 test images cannot be used and are left out:\n  {data.test.paths[5]}" in printed
    assert "of 7 images are classified right" in printed
    assert str(data.train.paths[2]) not in printed
    facts = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert facts["images"] == np.sum(facts["confusion (rows true, columns predicted)"]) == 7
    assert (tmp_path / "run" / "evaluation.svg").read_text().count("<svg") == 1


def test_evaluation_on_other_sizes_or_classes_is_refused(trained, hatnet, tmp_path, capsys):
    others = folder_data(tmp_path / "others", (28, 28), (40, 28)).name
    for data, message in (
        (others, "cat/0.png has 28 x 40 pixels, image_size=28: the test takes images as they are"),
        ("fashion-subset", "has 2 classes, fashion-subset has 10"),
    ):
        with pytest.raises(SystemExit):
            hatnet("evaluate", tmp_path / "run", "--data", data, "--data-dir", tmp_path / "kept")
        assert message in capsys.readouterr().err
        assert not (tmp_path / "run" / "evaluation.json").exists()


def test_the_authors_weights_are_evaluated_on_a_folder_in_imagenets_layout(hatnet, tmp_path, capsys):
    """Class folders `n01440764` and so on in train and val, JPEG files that differ in size, grey ones among them."""
    config, names = get_config("tiny", num_classes=6), [f"n0{number}" for number in range(1440764, 1440770)]
    torch.manual_seed(0)
    model = HATNet(config).eval()
    shapes, ours = authors_shapes(config), model.state_dict()
    theirs = {name: ours[own].view(shapes[name]) for own, name in authors_names(config).items()}
    torch.save({"model": theirs}, tmp_path / "HAT-Net_Tiny.pth")
    right = 0
    for label, name in enumerate(names):
        for part in ("train", "val"):
            (tmp_path / "imagenet" / part / name).mkdir(parents=True)
            file = tmp_path / "imagenet" / part / name / f"ILSVRC2012_{part}_0000{label}.JPEG"
            Image.new("L" if label == 0 else "RGB", (300 + label, 260)).save(file)
        right += int(model(torch.from_numpy(normalise(load_photo(file)))[None].float()).argmax()) == label
    folder = f"folder:{tmp_path / 'imagenet'}"
    hatnet("evaluate", tmp_path / "HAT-Net_Tiny.pth", "--data", folder, "--data-dir", tmp_path, "--device", "cpu")
    facts = json.loads((tmp_path / "evaluation.json").read_text())
    assert list(facts["class accuracy"]) == names
    assert (facts["images"], facts["accuracy"]) == (6, right / 6)
    assert facts["top5"] == 5 / 6, "all pictures are black: one class of six is never among the first five"
    assert "83.33 % of 6 images is among the five most probable" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("given", ["imagenet", "imagenet/val"])
def test_evaluation_needs_no_training_images(given, tmp_path):
    """Every image counts: a folder that the weights were not trained on is no longer split."""
    save(create_model("tiny", num_classes=2), tmp_path / "tiny.safetensors")
    for name in ("n01440764", "n01443537"):
        (tmp_path / "imagenet" / "val" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (64, 48)).save(tmp_path / "imagenet" / "val" / name / f"{number}.JPEG")
    data = f"folder:{tmp_path / given}"
    found = evaluate_checkpoint(tmp_path / "tiny.safetensors", ALONE, data=data, data_dir=tmp_path / "kept")
    assert found.evaluation.images == 6


def test_of_a_folder_without_parts_only_what_training_left_for_the_test_is_tested(tmp_path):
    for name in ("a", "b"):
        (tmp_path / "flat" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (28, 28), (number, 0, 0)).save(tmp_path / "flat" / name / f"{number}.png")
    data = open_data(f"folder:{tmp_path / 'flat'}")
    run(tmp_path / "run", replace(ONE_EPOCH, data=data.name, batch_size=8, slice_size=8), data=data)
    shutil.copytree(tmp_path / "flat", tmp_path / "other")
    for given, count in ((None, 4), (data.name, 4), (f"folder:{tmp_path / 'other'}", 20)):
        weights, kept = tmp_path / "run" / "last.safetensors", tmp_path / "kept"
        assert evaluate_checkpoint(weights, ALONE, data=given, data_dir=kept).evaluation.images == count


def test_weights_without_a_recipe_are_not_evaluated_by_guess(tmp_path):
    where = {"data": folder_data(tmp_path / "data", images=2).name, "data_dir": tmp_path / "kept"}
    for name in ("micro", "tiny"):
        save(create_model(name, num_classes=2), tmp_path / f"{name}.safetensors", {"note": "made by hand"})
    with pytest.raises(DataError, match="micro.safetensors doesn't say how it was trained"):
        evaluate_checkpoint(tmp_path / "micro.safetensors", ALONE, **where)
    assert evaluate_checkpoint(tmp_path / "tiny.safetensors", ALONE, **where).evaluation.images == 4


def test_a_tilde_in_out_and_data_dir_is_the_home_folder(hatnet, tmp_path, monkeypatch):
    """A shell expands it only at the start of a word without quotes."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    options = small_options(tmp_path)
    options[options.index("--data-dir") + 1] = "~/lists"
    hatnet("train", "fashion-quick", *options, "--image-size", "28", "--out", "~/run")
    hatnet("evaluate", "~/run", "--data-dir", "~/lists", "--out", "~")
    assert not (tmp_path / "~").exists()
    assert all((tmp_path / name).exists() for name in ("run/last.safetensors", "evaluation.json", "lists"))
