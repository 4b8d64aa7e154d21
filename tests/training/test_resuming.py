"""A resumed run ends with the same bits as an uninterrupted one; other settings or data are refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hatnet.config import HATNetConfig
from hatnet.data import ImageTensor, open_data
from hatnet.network import HATNet
from hatnet.training import Monitor, Training
from hatnet.training.run_folder import read_metrics
from hatnet.training.state import load_state
from hatnet.weights.checkpoints import CheckpointError, load
from tests.training.image_files import write_folder
from tests.training.runs import ALONE, SMALL, outcome, run, small_data, thin

OLD_RUN = Path(__file__).parent / "run_of_version_0.1"


def thinnest(config: HATNetConfig) -> HATNet:
    """The network of the kept run."""
    narrow = {"channels": (4, 4, 4), "head_dim": 4, "depths": (1, 1, 1), "stem_channels": 4, "expansions": (1, 1, 1)}
    return HATNet(replace(config, **narrow))


def test_two_trainings_with_one_seed_are_equal_bit_for_bit(whole, tmp_path):
    run(tmp_path)
    assert outcome(tmp_path) == outcome(whole)


def test_worker_processes_change_no_bit(whole, tmp_path):
    run(tmp_path, workers=1)
    assert outcome(tmp_path) == outcome(whole)


def test_another_seed_gives_another_result(whole, tmp_path):
    run(tmp_path, replace(SMALL, seed=4))
    assert outcome(tmp_path)[0] != outcome(whole)[0]


@pytest.mark.parametrize("after", [1, 4, 10])
def test_a_stopped_training_resumes_bit_for_bit(whole, tmp_path, after, monkeypatch):
    monkeypatch.setattr("hatnet.training.loop.CHECK_EVERY", 1)
    monitor = Monitor()
    monitor.report = lambda progress: setattr(monitor, "stop", progress.step == after)
    stopped = run(tmp_path, monitor=monitor)
    assert stopped.step == after
    run(tmp_path, resume=True)
    assert outcome(tmp_path) == outcome(whole)


def test_a_training_without_an_average_resumes_bit_for_bit(tmp_path):
    plain, monitor = replace(SMALL, ema=0.0), Monitor()
    run(tmp_path / "whole", plain)
    monitor.report = lambda progress: setattr(monitor, "stop", progress.step == 10)
    assert run(tmp_path / "stopped", plain, monitor=monitor).learner.average is None
    state, _ = load_state(tmp_path / "stopped" / "state.safetensors")
    assert {name.split(".")[0] for name in state.tensors} == {"model", "optimiser"}
    ended = run(tmp_path / "stopped", plain, resume=True)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")
    for name, tensor in load(tmp_path / "stopped" / "last.safetensors").state_dict().items():
        assert torch.equal(ended.model.state_dict()[name], tensor), name


def test_a_training_resumes_though_files_have_become_unreadable(hatnet, monkeypatch, tmp_path, capfd):
    """Files left out at the start stay out; files that have become unreadable since are passed over."""
    data = open_data(f"folder:{write_folder(tmp_path / 'data', images=9, size=(28, 28))}")
    paths = data.train.paths
    paths[3].write_text("not an image")

    def train(monitor: Monitor) -> None:
        monkeypatch.setattr("hatnet.cli.train.Monitor", lambda: monitor)
        hatnet(
            "train", "fashion-quick", "--data", data.name, "--data-dir", tmp_path, "--out", tmp_path / "run",
            "--epochs", 2, "--batch-size", 8, "--slice-size", 8, "--workers", 0, "--device", "cpu", "--resume",
        )  # fmt: skip

    with pytest.raises(SystemExit, match="130"):
        train(Monitor(stop=True))
    assert load_state(tmp_path / "run" / "state.safetensors")[0].left_out == {"train": [3], "test": []}
    paths[3].write_bytes(paths[4].read_bytes())
    paths[0].write_bytes(paths[0].read_bytes()[:99])
    data.test.paths[2].write_text("not an image")
    train(Monitor())
    printed = capfd.readouterr().out
    assert f"left out, its neighbour taken: {paths[0]}" in printed
    assert f"left out of the test: {data.test.paths[2]}" in printed
    assert "17 training and 18 test images" in " ".join(printed.split())
    assert len(read_metrics(tmp_path / "run" / "metrics.csv")) == 2


def test_a_state_holds_no_generator_state(whole):
    state, recipe = load_state(whole / "state.safetensors")
    assert recipe == SMALL
    assert {name.split(".")[0] for name in state.tensors} == {"model", "average", "optimiser"}
    assert state.step == 15


def test_a_run_is_not_overwritten(whole):
    before = outcome(whole)
    with pytest.raises(ValueError, match="holds a run already: give --resume"):
        run(whole)
    assert outcome(whole) == before


def test_a_state_of_another_recipe_is_refused_with_the_differences(whole):
    with pytest.raises(CheckpointError, match=r"another recipe.*\nseed: 9 here, 3 there\nlr: 0.1 here, 0.003 there"):
        run(whole, replace(SMALL, lr=0.1, seed=9), resume=True)


def test_a_state_of_another_network_is_refused_with_the_differences(whole):
    """The recipe names a variant, and a later version may mean another network by it."""

    def other(config: HATNetConfig) -> HATNet:
        return thin(replace(config, grid_sizes=(3, 2)))

    with pytest.raises(CheckpointError, match=r"of another network.*\ngrid_sizes: \[3, 2\] here, \[8, 4\] there"):
        Training(SMALL, small_data(), whole, ALONE, resume=True, build=other)


def test_a_state_of_other_data_is_refused_with_the_differences(whole):
    with pytest.raises(CheckpointError, match=r"of another data set(.|\n)*training images: 70 here, 80 there"):
        Training(SMALL, small_data(train=7), whole, ALONE, resume=True, build=thin)
    data = small_data()
    inverted = replace(data, train=ImageTensor(255 - data.train.pixels, data.train.labels))
    with pytest.raises(CheckpointError, match=r"of another data set(.|\n)*pixels or files: \w+ here, \w+ there"):
        Training(SMALL, inverted, whole, ALONE, resume=True, build=thin)


def test_a_finished_run_without_its_state_is_not_restarted(whole, tmp_path):
    folder = shutil.copytree(whole, tmp_path / "copy")
    (folder / "state.safetensors").unlink()
    with pytest.raises(ValueError, match=r"state.safetensors has gone, so its run cannot be resumed"):
        run(folder, resume=True)
    assert (folder / "run.json").read_text() == (whole / "run.json").read_text()


def test_a_damaged_state_is_refused(whole, tmp_path):
    content = (whole / "state.safetensors").read_bytes()
    (tmp_path / "state.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match=r"state.safetensors is damaged"):
        run(tmp_path, resume=True)


def test_a_run_of_version_0_1_resumes_and_ends_where_it_ended(tmp_path):
    """Version 0.1 wrote the kept files, after 7 of 15 steps and after the last. Processors round differently."""
    folder = shutil.copytree(OLD_RUN, tmp_path / "run")
    training = Training(SMALL, small_data(), folder, ALONE, resume=True, build=thinnest)
    assert training.step == 7
    history = training.run()
    for row, kept in zip(history, read_metrics(OLD_RUN / "finished.csv"), strict=True):
        assert row["train_loss"] == pytest.approx(kept["train_loss"], rel=1e-3)
    assert json.loads((folder / "run.json").read_text())["started again"][0]["after step"] == 7
    ours, theirs = load(folder / "last.safetensors"), load(OLD_RUN / "finished.safetensors")
    for (name, weight), kept in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(weight, kept, rtol=0, atol=1e-3), name
