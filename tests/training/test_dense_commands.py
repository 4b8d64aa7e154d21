"""The commands `train` and `evaluate` for dense tasks, on a folder in COCO's format; and two processes."""

import json
import shutil
from dataclasses import replace
from math import isclose
from pathlib import Path

import pytest
import torch

from hatnet import create_model, load, save
from hatnet.training.recipes import to_json
from hatnet.training.run_folder import read_metrics
from tests.training.coco_files import write_coco
from tests.training.dense_runs import SMALL as SMALL_RECIPE
from tests.training.test_distributed import torchrun

OPTIONS = (
    "--image-size", "32", "--epochs", "2", "--batch-size", "4", "--slice-size", "2", "--width", "8", "--workers", "0",
    "--device", "cpu",
)  # fmt: skip
SMALL = ("--batch-size", "4", "--slice-size", "4")
SHOWN = {"segmentation": "mean IoU", "detection": "Box AP", "instances": "Mask AP"}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_coco(tmp_path_factory.mktemp("commands") / "data", side=40)


@pytest.mark.parametrize(
    "task", ["segmentation", *(pytest.param(task, marks=pytest.mark.long) for task in ("detection", "instances"))]
)
def test_a_folder_of_ones_own_is_trained_and_evaluated_by_changing_its_path(task, data, hatnet, tmp_path, capfd):
    hatnet("train", f"scenes-{task}", "--data", data, "--out", tmp_path, "--data-dir", tmp_path, *OPTIONS)
    printed = " ".join(capfd.readouterr().out.split())
    assert "12 training and 5 test images" in printed
    assert "Done: " in printed
    assert SHOWN[task] in printed
    assert "shows every class" in printed
    assert "accuracy is then too" not in printed
    hatnet("evaluate", tmp_path, "--data-dir", tmp_path, "--device", "cpu")
    printed = capfd.readouterr().out
    facts = json.loads((tmp_path / "evaluation.json").read_text())
    assert facts["images"] == 5
    classes = ["background", "box", "disc"] if task == "segmentation" else ["box", "disc"]
    table = facts["class IoU" if task == "segmentation" else "class box AP"]
    assert list(table) == classes
    assert all(name in printed for name in classes)
    assert (tmp_path / "evaluation.svg").stat().st_size > 1000


def dense_weights(path, data, **changes):
    """A segmenter that nobody trained, with the facts of a training."""
    model = create_model("micro", task="segmentation", num_classes=3, width=8)
    recipe = to_json(replace(SMALL_RECIPE, data=data, image_size=32)) | changes
    save(model, path, {"classes": ["background", "box", "disc"], "data": data, "image_size": 32, "recipe": recipe})
    return path


def test_a_coco_folder_is_tested_without_its_training_part(data, hatnet, tmp_path, capfd):
    """Figures are those of the whole folder; faulty annotations are still named."""
    dense_weights(tmp_path / "w.safetensors", data)
    alone = tmp_path / "alone"
    root = Path(data.partition(":")[2])
    shutil.copytree(root / "val", alone / "val")
    (alone / "annotations").mkdir()
    content = json.loads((root / "annotations" / "instances_val.json").read_text())
    content["annotations"].append(content["annotations"][0] | {"id": 999, "category_id": 77})
    (alone / "annotations" / "instances_val.json").write_text(json.dumps(content))
    found = {}
    for name, source in (("all", data), ("alone", f"coco:{alone}")):
        capfd.readouterr()
        (tmp_path / name).mkdir(exist_ok=True)
        words = ("--data", source, "--out", tmp_path / name, "--data-dir", tmp_path, "--device", "cpu")
        hatnet("evaluate", tmp_path / "w.safetensors", *words)
        found[name] = json.loads((tmp_path / name / "evaluation.json").read_text())
    assert "annotation 999" in " ".join(capfd.readouterr().out.split())
    assert {key: value for key, value in found["alone"].items() if key != "data"} == {
        key: value for key, value in found["all"].items() if key != "data"
    }


@pytest.mark.parametrize(
    ("changes", "source", "message"),
    [
        ({}, "folder:{photos}", "is for classification, not for segmentation"),
        ({"lr": "fast"}, "{data}", "w.safetensors holds a recipe that cannot be read: lr='fast' must be"),
    ],
)
def test_what_does_not_suit_a_dense_model_is_refused(changes, source, message, data, hatnet, tmp_path, capfd):
    weights = dense_weights(tmp_path / "w.safetensors", data, **changes)
    (tmp_path / "photos").mkdir()
    source = source.format(photos=tmp_path / "photos", data=data)
    with pytest.raises(SystemExit):
        hatnet("evaluate", weights, "--data", source, "--out", tmp_path, "--data-dir", tmp_path)
    assert message in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "evaluation.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train", "scenes-detection", "--data", "fashion-subset"), "is for classification, not for detection"),
        (("train", "fashion-quick", "--data", "{data}"), "not for classification"),
        (("train", "scenes-segmentation", "--scales", "2", "1"), "must be the smaller and the larger one"),
        (("train", "scenes-segmentation", "--mixup", "0.1"), "mixup=0.1 is for classification"),
        (("train", "scenes-segmentation", "--data", "{data}", "--image-size", "8"), "too small"),
        (("train", "scenes-segmentation", "--data", "{data}", "--width", "9"), "width=9 must be even"),
    ],
)
def test_what_does_not_fit_together_is_refused_before_work_starts(words, message, data, hatnet, tmp_path, capfd):
    with pytest.raises(SystemExit):
        hatnet(*(word.format(data=data) for word in words), *SMALL, "--out", tmp_path / "run", "--data-dir", tmp_path)
    assert message in " ".join(capfd.readouterr().err.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.parametrize("task", ["segmentation", "instances"])
def test_two_processes_train_one_dense_model(task, data, hatnet, tmp_path):
    """Batch normalisation sees a slice at a time in both, but its averages differ, since two slices are one update."""
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        words = ("train", f"scenes-{task}", "--data", data, "--out", str(folder), *OPTIONS, "--ema", "0")
        if processes == 1:
            hatnet(*words, "--threads", "1")
        else:
            ended = torchrun(2, "-m", "hatnet", *words)
            assert ended.returncode == 0, ended.stderr
            assert ended.stdout.count("Done:") == 1
        weights = [weight.detach().flatten() for weight in load(folder / "last.safetensors", task=task).parameters()]
        found.append((torch.cat(weights), read_metrics(folder / "metrics.csv")))
    (one, one_rows), (two, two_rows) = found
    for one_row, two_row in zip(one_rows, two_rows, strict=True):
        assert isclose(one_row["train_loss"], two_row["train_loss"], rel_tol=2e-3)
    assert float((one - two).abs().mean()) < 0.01 * float(one.std())
