"""Several seeds in one command, and what is written for TensorBoard."""

import json
import os
import signal
import sys
from types import ModuleType

import numpy as np
import pytest

from hatnet.training.run_folder import RunFolder, read_metrics
from tests.training.small_command import small_options, stop_runs


def test_seeds_are_trained_in_turn_and_summed_up_though_stopped_between(hatnet, tmp_path, monkeypatch, capsys):
    command = [
        "train",
        "fashion-quick",
        *small_options(tmp_path),
        "--out",
        tmp_path / "runs" / "mine",
        "--seeds",
        3,
        1,
        4,
    ]
    stop_runs(monkeypatch, False, True)  # the second seed
    with pytest.raises(SystemExit, match="130"):
        hatnet(*command)
    folders = [tmp_path / "runs" / f"mine-seed-{seed}" for seed in (3, 1, 4)]
    assert [folder.exists() for folder in folders] == [True, True, False]
    with pytest.raises(SystemExit, match="2"):
        hatnet(*command)
    assert f"{folders[0]} holds a run already: give --resume" in capsys.readouterr().err
    before = (folders[0] / "last.safetensors").stat().st_mtime_ns
    stop_runs(monkeypatch)
    hatnet(*command, "--resume")
    assert (folders[0] / "last.safetensors").stat().st_mtime_ns == before, "a finished seed is not trained again"

    accuracy = [read_metrics(folder / "metrics.csv")[-1]["test_accuracy"] for folder in folders]
    facts = json.loads((tmp_path / "runs" / "mine-seeds.json").read_text())
    assert facts["seeds"] == [3, 1, 4]
    assert facts["metrics"]["accuracy"] == accuracy
    assert facts["mean"]["accuracy"] == pytest.approx(np.mean(accuracy))
    assert facts["sample standard deviation"]["accuracy"] == pytest.approx(np.std(accuracy, ddof=1))
    printed = capsys.readouterr().out
    assert f"{100 * np.mean(accuracy):.2f} %" in printed
    assert "sample standard deviation" in printed


def test_ctrl_c_during_the_last_test_of_a_seed_starts_no_other_seed(hatnet, tmp_path, monkeypatch):
    command = ["train", "fashion-quick", *small_options(tmp_path), "--out", tmp_path / "mine", "--seeds", 0, 1]
    finish = RunFolder.finish
    with monkeypatch.context() as interrupted:
        interrupted.setattr(RunFolder, "finish", lambda *given: os.kill(os.getpid(), signal.SIGINT) or finish(*given))
        with pytest.raises(SystemExit, match="130"):
            hatnet(*command)
    assert "result" in json.loads((tmp_path / "mine-seed-0" / "run.json").read_text())
    assert not (tmp_path / "mine-seed-1").exists()
    hatnet(*command, "--resume")
    assert json.loads((tmp_path / "mine-seeds.json").read_text())["seeds"] == [0, 1]


def test_default_folders_carry_the_seed(hatnet, tmp_path, monkeypatch):
    options = small_options(tmp_path)
    monkeypatch.chdir(tmp_path)
    hatnet("train", "fashion-quick", *options, "--seed", 7)
    assert (tmp_path / "runs" / "data-micro-seed-7" / "last.safetensors").exists()


class Writer:
    """PyTorch's writer, as far as it is used: keeps what is added."""

    made: list["Writer"] = []  # noqa: RUF012

    def __init__(self, folder, purge_step=None):
        self.folder, self.purge_step, self.scalars, self.closed = folder, purge_step, {}, False
        self.made.append(self)

    def add_scalar(self, name, value, step):
        assert not self.closed
        self.scalars[name, step] = value

    def close(self):
        self.closed = True


@pytest.fixture
def writers(monkeypatch):
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    monkeypatch.setattr(Writer, "made", [])
    return Writer.made


def test_tensorboard_gets_every_report_once_though_the_run_is_resumed(writers, hatnet, tmp_path, monkeypatch):
    command = ["train", "fashion-quick", *small_options(tmp_path), "--out", tmp_path / "run", "--tensorboard"]
    stop_runs(monkeypatch, True)
    with pytest.raises(SystemExit, match="130"):
        hatnet(*command)
    stop_runs(monkeypatch)
    hatnet(*command, "--resume")
    first, second = writers
    assert (first.purge_step, second.purge_step) == (None, 2), "later steps of the first process are hidden"
    assert first.closed
    assert second.closed
    assert first.folder == second.folder == str(tmp_path / "run" / "tensorboard")
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    for step, writer in ((1, first), (2, second)):
        assert {place for _, place in writer.scalars} == {step}
        assert writer.scalars["training/loss", step] == rows[step - 1]["train_loss"]
        assert writer.scalars["test/accuracy", step] == rows[step - 1]["test_accuracy"]


def test_tensorboard_without_its_package_is_refused_at_once(hatnet_command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    status, _, error = hatnet_command("train", "fashion-quick", "--tensorboard", "--out", tmp_path / "run")
    assert status == 2
    assert "--tensorboard needs its package: python -m pip install tensorboard" in error
    assert not (tmp_path / "run").exists()
