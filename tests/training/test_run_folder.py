"""The folder of a run records settings, metrics, curves, weights, version and commit."""

import json
import re
import subprocess
from importlib.metadata import version

import pytest
import torch

from hatnet.machine import git_commit, software
from hatnet.training.classification import CLASSIFICATION
from hatnet.training.recipes import from_json
from hatnet.training.resuming import load_state
from hatnet.training.run_folder import RunFolder, columns, read_metrics
from hatnet.weights.checkpoints import about, load
from tests.training.runs import SMALL


def test_a_run_records_its_settings_metrics_curves_and_weights(whole):
    names = {"run.json", "metrics.csv", "curves.svg", "last.safetensors", "best.safetensors", "state.safetensors"}
    assert {path.name for path in whole.iterdir()} == names
    facts = json.loads((whole / "run.json").read_text())
    assert from_json(facts["recipe"]) == SMALL
    assert {"date", "data", "network", "precision", "hardware", "versions", "result"} <= facts.keys()
    rows = read_metrics(whole / "metrics.csv")
    assert list(rows[0]) == list(columns(CLASSIFICATION))
    assert facts["result"]["test accuracy of the last epoch"] == rows[-1]["test_accuracy"]
    assert (whole / "curves.svg").read_text().count("<svg") == 1


def test_a_folder_must_be_a_path():
    with pytest.raises(TypeError, match="folder='runs/mine' must be a Path"):
        RunFolder("runs/mine", CLASSIFICATION)


def test_weights_are_the_average_and_record_how_they_were_trained(whole):
    known = about(whole / "last.safetensors")
    assert known["data"] == "fashion-subset"
    assert known["classes"][0] == "t-shirt"
    assert from_json(known["recipe"]) == SMALL
    state, _ = load_state(whole / "state.safetensors")
    for name, kept in load(whole / "last.safetensors").named_parameters():
        assert torch.equal(kept, state.tensors[f"average.{name}"]), name


def test_a_run_records_the_version_and_the_commit(whole, monkeypatch):
    assert json.loads((whole / "run.json").read_text())["versions"]["hatnet"] == version("hatnet")
    monkeypatch.setattr("hatnet.machine.git_commit", lambda _: "0123abcd")
    assert software()["commit"] == "0123abcd"
    monkeypatch.setattr("hatnet.machine.git_commit", lambda _: None)
    assert "commit" not in software()


def test_the_commit_of_a_checkout_is_recorded_if_git_is_there(tmp_path, monkeypatch):
    assert git_commit(tmp_path) is None, "no checkout"
    (tmp_path / ".git").mkdir()
    assert git_commit(tmp_path) is None, "a damaged one"
    (tmp_path / ".git").rmdir()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "First"], check=True)
    assert re.fullmatch("[0-9a-f]{40}", git_commit(tmp_path) or "")
    monkeypatch.setenv("PATH", "")
    assert git_commit(tmp_path) is None, "git is not installed"
