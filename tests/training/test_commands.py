"""The commands `hatnet train` and `hatnet evaluate`."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hatnet.cli.main import main
from hatnet.data import DataError, open_data
from hatnet.models import create_model
from hatnet.training import Training
from hatnet.training.checkpoint_evaluation import evaluate_checkpoint
from hatnet.weights.checkpoints import save
from tests.training.image_files import photos, write_folder
from tests.training.runs import ALONE, SMALL, small_data


def test_cheap_checks_come_before_reading_all_images(tmp_path, monkeypatch, capsys):
    """Reading a million files to say that the folder is taken would cost an hour."""
    data = write_folder(tmp_path / "data", images=8, size=(28, 28))
    monkeypatch.setattr("hatnet.cli.train.without_broken_files", lambda *_, **__: pytest.fail("read images"))
    command = ["hatnet", "train", "fashion-quick", "--data", f"folder:{data}", "--batch-size", "8", "--slice-size", "8"]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "run.json").write_text("{}")
    for options, message in (
        (["--out", "taken"], "holds a run already"),
        (["--weights", "none.safetensors"], "no weights to start from"),
        (["--batch-size", "64", "--slice-size", "64"], "batch_size=64 is more than the 16 images there are"),
        (["--precision", "float16", "--device", "cpu"], "is for GPUs"),
        (["--workers", "-1"], "workers=-1 must not be negative"),
    ):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [*command, *options])
        with pytest.raises(SystemExit):
            main()
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "fashion-quick", "--image-size", "32"],
            "the images of fashion-subset have 28 x 28 pixels, image_size=32: give --crop-padding None",
        ),
        (["train", "fashion-quik"], "unknown recipe 'fashion-quik', did you mean 'fashion-quick'"),
        (["train", "--stem-strides", "1", "1", "fashon"], "unknown recipe 'fashon', did you mean 'fashion'"),
        (["train", "fashion", "--data-dir", "{tmp}"], "fashion-mnist is not in {tmp}"),
        (["train", "fashion-quick", "--data", "folder:{tmp}/none"], "no folder {tmp}/none/train"),
        (["train", "fashion-quick", "--weights", "{tmp}/none.safetensors"], "no weights to start from at {tmp}/none"),
        (["train", "fashion-quick", "--device", "tpu"], "device='tpu' must be cpu, cuda or one GPU such as"),
        (["evaluate", "{tmp}/none.safetensors"], "no checkpoint file at {tmp}/none.safetensors"),
        (["evaluate", "{tmp}/none.safetensors", "--batch-size", "-1"], "batch_size=-1 must be at least 1"),
        (["evaluate", "{tmp}/none.safetensors", "--batch-size", "0"], "batch_size=0 must be at least 1"),
        (["evaluate", "{tmp}"], "no checkpoint file at {tmp}/last.safetensors"),
    ],
)
def test_wrong_arguments_are_explained_before_work_starts(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hatnet", *(part.format(tmp=tmp_path) for part in arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert message.format(tmp=tmp_path) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, TypeError])
def test_a_defect_keeps_its_traceback(error, monkeypatch):
    def fail(*_, **__):
        raise error("a defect")

    monkeypatch.setattr("hatnet.cli.evaluate.evaluate_checkpoint", fail)
    monkeypatch.setattr(sys, "argv", ["hatnet", "evaluate", str(Path(__file__)), "--device", "cpu"])
    with pytest.raises(error, match="a defect"):
        main()


@pytest.mark.parametrize(
    ("raised", "cause"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore of it"),
            "CUDA out of memory. Tried to allocate 2 GiB.",
        ),
        (None, "can't allocate memory: you tried to allocate 4000000000000000"),
    ],
)
def test_too_little_memory_is_an_error_with_advice(raised, cause, monkeypatch, capsys):
    def fill(*_, **__):
        if raised is None:
            torch.empty(10**15)  # as PyTorch says it on a CPU
        raise raised

    monkeypatch.setattr("hatnet.cli.evaluate.evaluate_checkpoint", fill)
    monkeypatch.setattr(sys, "argv", ["hatnet", "evaluate", str(Path(__file__)), "--device", "cpu"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {cause}")
    assert "\nHalve --slice-size (train" in error
    assert "--batch-size (evaluate)" in error


def test_the_evaluate_command_writes_and_draws_its_result(whole, tmp_path, monkeypatch, capsys):
    data = write_folder(tmp_path / "data", images=4, size=(28, 28))
    torch.manual_seed(0)
    recipe = replace(SMALL, data=f"folder:{data}", epochs=1, warmup_epochs=0, batch_size=4, slice_size=4)
    monkeypatch.setattr(
        sys, "argv", ["hatnet", "evaluate", str(tmp_path / "run"), "--data-dir", str(tmp_path / "kept")]
    )
    Training(recipe, open_data(recipe.data), tmp_path / "run", ALONE).run()
    main()
    facts = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert facts["images"] == 8
    assert np.sum(facts["confusion (rows true, columns predicted)"]) == 8
    assert (tmp_path / "run" / "evaluation.svg").read_text().count("<svg") == 1
    assert "of 8 images are classified right" in capsys.readouterr().out


def test_evaluation_leaves_out_broken_test_images_and_ignores_training_images(tmp_path, monkeypatch, capsys):
    data = open_data(f"folder:{write_folder(tmp_path / 'photos', images=4, size=(28, 28))}")
    torch.manual_seed(0)
    recipe = replace(SMALL, data=data.name, epochs=1, warmup_epochs=0, batch_size=4, slice_size=4)
    Training(recipe, data, tmp_path / "run", ALONE).run()
    for path in (data.test.paths[5], data.train.paths[2]):
        path.write_text("not an image")
    monkeypatch.setattr(
        sys, "argv", ["hatnet", "evaluate", str(tmp_path / "run"), "--data-dir", str(tmp_path / "kept")]
    )
    main()
    printed = capsys.readouterr().out
    assert f"1 of 8 test images can't be read and are left out:\n  {data.test.paths[5]}" in printed
    assert "of 7 images are classified right" in printed
    assert str(data.train.paths[2]) not in printed
    assert json.loads((tmp_path / "run" / "evaluation.json").read_text())["images"] == 7


def test_evaluation_of_images_of_another_size_is_refused(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    data = photos(tmp_path / "photos", ((28, 28), (28, 28)))
    Training(replace(SMALL, epochs=1, warmup_epochs=0), data, tmp_path / "run", ALONE).run()
    photos(tmp_path / "others", ((28, 28), (40, 28)))
    arguments = ["--data", f"folder:{tmp_path / 'others'}", "--data-dir", str(tmp_path / "kept")]
    monkeypatch.setattr(sys, "argv", ["hatnet", "evaluate", str(tmp_path / "run"), *arguments])
    with pytest.raises(SystemExit):
        main()
    assert "cat/0.png has 28 x 40 pixels, image_size=28: the test takes images as they are" in capsys.readouterr().err


def test_weights_without_a_recipe_are_not_evaluated_by_guess(tmp_path):
    data = write_folder(tmp_path / "data", images=2, size=(28, 28))
    save(create_model("micro", num_classes=2), tmp_path / "micro.safetensors", {"note": "made by hand"})
    with pytest.raises(DataError, match="micro.safetensors doesn't say how it was trained"):
        evaluate_checkpoint(tmp_path / "micro.safetensors", ALONE, data=f"folder:{data}", data_dir=tmp_path / "kept")
    save(create_model("tiny", num_classes=2), tmp_path / "tiny.safetensors", {"note": "made by hand"})
    found = evaluate_checkpoint(tmp_path / "tiny.safetensors", ALONE, data=f"folder:{data}", data_dir=tmp_path / "kept")
    assert found.evaluation.images == 4


def test_evaluation_on_other_classes_is_refused(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    Training(replace(SMALL, epochs=1, warmup_epochs=0), small_data(), tmp_path / "run", ALONE).run()
    data = write_folder(tmp_path / "data", images=2, size=(28, 28))
    monkeypatch.setattr(sys, "argv", ["hatnet", "evaluate", str(tmp_path / "run"), "--data", f"folder:{data}"])
    with pytest.raises(SystemExit):
        main()
    assert "knows 10 classes" in capsys.readouterr().err
    assert not (tmp_path / "run" / "evaluation.json").exists()
