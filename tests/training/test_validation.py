"""A validation part chooses the best weights, and the test images are used once, at the end."""

import json
from dataclasses import replace
from hashlib import blake2b

import pytest
import torch

from hatnet.data import DataError, ImageTensor, fingerprint, open_data
from hatnet.data.split_off import split_off
from hatnet.training import Training
from hatnet.training.checkpoint_evaluation import evaluate_checkpoint
from hatnet.training.preparation import with_validation
from hatnet.training.resuming import load_state
from hatnet.training.run_folder import read_metrics
from hatnet.weights.checkpoints import CheckpointError, about
from hatnet.weights.pretrained import weights_file
from tests.training.image_files import folder_data, write_folder
from tests.training.runs import ALONE, ONE_EPOCH, SMALL, outcome, run, small_data, start, stop_after
from tests.training.test_distributed import torchrun

VALIDATED = replace(SMALL, validation=0.25)


def numbered(*counts):
    """Images whose only pixel is their number, with so many of each class."""
    labels = torch.cat([torch.full((count,), label) for label, count in enumerate(counts)])
    return ImageTensor(torch.arange(sum(counts), dtype=torch.uint8).view(-1, 1, 1, 1), labels)


def numbers(images):
    return images.pixels.flatten().tolist()


@pytest.mark.parametrize(("fraction", "counts"), [(0.25, [2, 1, 5]), (0.01, [1, 1, 1]), (0.5, [4, 1, 10])])
def test_every_image_is_in_one_part_and_every_class_in_both(fraction, counts):
    images = numbered(8, 2, 20)
    kept, off = split_off(images, fraction, 0, "abc", "validation")
    assert sorted(numbers(kept) + numbers(off)) == list(range(30))
    assert torch.bincount(off.labels).tolist() == counts
    assert numbers(kept) == sorted(numbers(kept))
    again = split_off(images, fraction, 0, "abc", "validation")
    assert numbers(again[1]) == numbers(off) != numbers(split_off(images, fraction, 1, "abc", "validation")[1])
    with pytest.raises(DataError, match=r"class 'b' has 1 image, too few to split 0.25 of them off for validation"):
        split_off(numbered(4, 1, 4), 0.25, 0, "abc", "validation")


def test_validation_images_are_not_trained_on():
    data = small_data()
    split = with_validation(VALIDATED, data)
    assert (len(split.train), len(split.validation), len(split.test)) == (60, 20, 30)
    pixels = {name: {image.numpy().tobytes() for image in part.pixels} for name, part in split.parts.items()}
    assert not pixels["training"] & pixels["validation"]
    assert pixels["training"] | pixels["validation"] == {image.numpy().tobytes() for image in data.train.pixels}
    assert fingerprint(split) != fingerprint(with_validation(replace(VALIDATED, seed=4), data))
    assert with_validation(SMALL, data) is data


@pytest.fixture(scope="module")
def validated(tmp_path_factory):
    return run(tmp_path_factory.mktemp("validated"), VALIDATED)


def test_the_validation_part_chooses_the_best_weights_and_the_test_is_recorded(validated):
    folder = validated.folder.path
    rows = read_metrics(folder / "metrics.csv")
    assert not any(name.startswith("test_") for name in rows[0])
    best = max(rows, key=lambda row: row["validation_accuracy"])
    known = about(folder / "best.safetensors")
    assert (known["epoch"], known["validation_accuracy"]) == (best["epoch"], best["validation_accuracy"])
    result = json.loads((folder / "run.json").read_text())["result"]
    assert result["test of best.safetensors (once, at the end)"] == validated.tested
    assert (
        result["best validation accuracy (chosen by looking at the validation images)"] == known["validation_accuracy"]
    )
    assert known["test_accuracy"] == validated.tested["test_accuracy"]


def test_the_recorded_test_is_that_of_the_best_weights(validated, monkeypatch):
    monkeypatch.setattr("hatnet.training.checkpoint_evaluation.open_shared_data", lambda *_: small_data())
    found = evaluate_checkpoint(validated.folder.best, ALONE).evaluation
    assert (found.images, found.accuracy) == (30, validated.tested["test_accuracy"])
    assert found.loss == pytest.approx(validated.tested["test_loss"], rel=1e-5)


def test_the_folder_of_a_run_stands_for_its_result(validated, whole):
    folder = validated.folder.path
    assert weights_file(folder) == folder / "best.safetensors"
    assert (whole / "best.safetensors").exists()
    assert weights_file(whole) == whole / "last.safetensors", "the test images chose the best ones"


def test_the_test_images_are_read_once_and_not_again_on_resume(tmp_path, monkeypatch):
    read, data = [], small_data()
    image = ImageTensor.image
    monkeypatch.setattr(
        ImageTensor,
        "image",
        lambda self, index: (read.append(index) if self is data.test else None, image(self, index))[1],
    )
    run(tmp_path, VALIDATED, data=data)
    assert sorted(read) == list(range(30))
    again = run(tmp_path, VALIDATED, data=data, resume=True)
    assert len(read) == 30
    assert again.tested["test_accuracy"] == about(tmp_path / "best.safetensors")["test_accuracy"]


@pytest.mark.parametrize("after", [1, 9])
def test_a_validated_run_resumes_bit_for_bit(after, validated, tmp_path, monkeypatch):
    monkeypatch.setattr("hatnet.training.loop.CHECK_EVERY", 1)
    run(tmp_path, VALIDATED, monitor=stop_after(after))
    assert "validation images" in load_state(tmp_path / "state.safetensors")[0].data
    run(tmp_path, VALIDATED, resume=True)
    assert outcome(tmp_path) == outcome(validated.folder.path)
    with pytest.raises(CheckpointError, match="validation: 0.5 here, 0.25 there"):
        start(tmp_path, replace(VALIDATED, validation=0.5), resume=True)


def test_a_run_killed_before_its_test_is_tested_on_resume(validated, tmp_path, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(Training, "_finish", lambda _: None)
        run(tmp_path, VALIDATED)
    assert "test_accuracy" not in about(tmp_path / "best.safetensors")
    assert run(tmp_path, VALIDATED, resume=True).tested == validated.tested


def test_train_val_and_test_folders_are_three_parts(tmp_path):
    write_folder(tmp_path, parts=("train", "val", "test"))
    data = open_data(f"folder:{tmp_path}")
    assert {name: part.paths[0].parts[-3] for name, part in data.parts.items()} == {
        "training": "train", "validation": "val", "test": "test",
    }  # fmt: skip
    with pytest.raises(DataError, match="has a validation part of its own: leave --validation out"):
        with_validation(VALIDATED, data)
    (tmp_path / "val" / "fox").mkdir()
    with pytest.raises(DataError, match=r"train and .*val must have the same class folders; .* fox"):
        open_data(f"folder:{tmp_path}")


@pytest.mark.parametrize("test", ["val", "test"])
def test_two_folders_are_training_and_test_as_before(test, tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path, parts=('train', test))}")
    assert data.choosing == "test"
    assert data.test.paths[0].parts[-3] == test


def test_class_folders_alone_are_split_for_the_test_always_alike(tmp_path):
    write_folder(tmp_path, parts=(".",), images=10)
    data, again = (open_data(f"folder:{tmp_path}") for _ in range(2))
    assert data.classes == ("cat", "dog")
    assert (data.train.labels.bincount().tolist(), data.test.labels.bincount().tolist()) == ([8, 8], [2, 2])
    assert not {*data.train.paths} & {*data.test.paths}
    assert data.test.paths == again.test.paths
    names = b"\n".join(b"%s/%d.png" % (name, number) for name in (b"cat", b"dog") for number in range(10))
    assert data.drawn_from == blake2b(names, digest_size=8).hexdigest(), "weights of earlier runs hold it"
    assert "4 of its images, a fifth of each class, are split off for the test" in data.note


def test_a_test_part_that_is_drawn_anew_may_hold_training_images_which_is_not_silent(tmp_path):
    root = write_folder(tmp_path / "photos", parts=(".",), images=10, size=(28, 28))
    weights, recipe = tmp_path / "run" / "last.safetensors", replace(ONE_EPOCH, data=f"folder:{root}")
    trained_on = run(tmp_path / "run", recipe, data=open_data(recipe.data)).data.train.paths
    assert evaluate_checkpoint(weights, ALONE).evaluation.images == 4
    for number in range(3, 10):
        (root / "cat" / f"{number}.png").rename(root / "cat" / f"new-{number}.png")
    assert {path.name for path in trained_on} & {path.name for path in open_data(recipe.data).test.paths}
    with pytest.raises(DataError, match="have changed since .* now it may hold training images: put test images into"):
        evaluate_checkpoint(weights, ALONE)
    again = start(tmp_path / "again", replace(recipe, weights=str(weights)), open_data(recipe.data))
    assert any("the test images may be among those of that training" in line for line in again.start.lines)


def test_folders_that_cannot_be_split_are_refused(tmp_path):
    write_folder(tmp_path / "one", parts=(".",), classes=("cat",))
    with pytest.raises(DataError, match="has one class folder, cat: a classifier needs at least two"):
        open_data(f"folder:{tmp_path / 'one'}")
    write_folder(tmp_path / "parts", classes=("cat",))
    with pytest.raises(DataError, match="has one class folder, cat: a classifier needs at least two"):
        open_data(f"folder:{tmp_path / 'parts'}")
    write_folder(tmp_path / "few", parts=(".",), images=1)
    with pytest.raises(DataError, match=r"class 'cat' has 1 image, too few to split 0.2 of them off for the test"):
        open_data(f"folder:{tmp_path / 'few'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"must hold train and val \(or test\).* or such class folders alone"):
        open_data(f"folder:{tmp_path / 'empty'}")


def test_unreadable_files_are_left_out_before_the_split(tmp_path):
    """A resumed run leaves out the same files, so its parts are the same."""
    root = write_folder(tmp_path / "photos", images=8, size=(28, 28))
    data = open_data(f"folder:{root}")
    recipe = replace(ONE_EPOCH, validation=0.25, batch_size=4, slice_size=4, epochs=2)

    def clean(data):
        return replace(data, train=data.train.without({data.train.paths[3]}))

    stopped = run(tmp_path / "run", recipe, data=data, clean=clean, monitor=stop_after(1))
    assert load_state(tmp_path / "run" / "state.safetensors")[0].left_out == {"train": [3], "test": []}
    resumed = start(tmp_path / "run", recipe, data, resume=True)
    assert resumed.data.validation.paths == stopped.data.validation.paths
    assert data.train.paths[3] not in (*resumed.data.train.paths, *resumed.data.validation.paths)


def test_too_few_images_for_a_batch_name_options_that_work(tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path / 'photos', images=8, size=(28, 28))}")
    with pytest.raises(ValueError, match=r"more than the 12 images .* give --batch-size 2 --slice-size 2"):
        start(tmp_path / "run", VALIDATED, data)
    assert start(tmp_path / "run", replace(VALIDATED, batch_size=2, slice_size=2), data).steps == 3 * 6


@pytest.mark.long
def test_two_processes_test_the_best_weights_as_one_does(tmp_path):
    data, found = folder_data(tmp_path / "data", images=8), []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        ended = torchrun(
            processes, "-m", "hatnet", "train", "fashion-quick", "--data", data.name, "--validation", "0.2", "--epochs",
            "1", "--warmup-epochs", "0", "--batch-size", "4", "--slice-size", "2", "--out", str(folder), "--data-dir",
            str(tmp_path), "--device", "cpu", "--workers", "0",
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        assert "best.safetensors, which the validation images chose" in " ".join(ended.stdout.split())
        found.append(
            json.loads((folder / "run.json").read_text())["result"]["test of best.safetensors (once, at the end)"]
        )
    assert found[1] == pytest.approx(found[0], rel=1e-3)
