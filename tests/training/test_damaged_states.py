"""Damaged or wrong states and records of a run are refused before work starts."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from hatnet.data.broken_files import broken_files, result_file
from hatnet.studies.scaling.record import read
from hatnet.training.recipes import to_json
from hatnet.training.resuming import State, load_state, save_state
from hatnet.training.run_folder import read_metrics
from hatnet.weights.checkpoints import CheckpointError
from tests.damage import answers
from tests.training.image_files import folder_data
from tests.training.runs import SMALL, outcome, run, start, stop_after


@pytest.fixture(scope="module")
def first_epochs(tmp_path_factory):
    """The folder of a training that stopped after two of three epochs. Tests must not change it."""
    return run(tmp_path_factory.mktemp("stopped"), monitor=stop_after(10)).folder.path


@pytest.fixture
def stopped(first_epochs, tmp_path):
    return shutil.copytree(first_epochs, tmp_path / "run")


def test_every_damage_of_a_state_is_refused(whole, tmp_path):
    content = (whole / "state.safetensors").read_bytes()
    for damage, answer in answers(load_state, tmp_path / "x", content, 300).items():
        assert "is damaged" in answer, damage
        assert "Put a copy of the file back, or start a new run" in answer, damage


CHANGES = {
    "step": ["3", None, -1, 10**9, 2.5],
    "history": [{}, [3], [{"epoch": 1}], [{"epoch": "1"}], None],
    "running": [[], {}, {"loss_sum": "1", "seconds": 1}, {"seconds": 1.0}],
    "scaler": [[], 3],
    "origin": [[], "x"],
    "data": [[], None],
    "left_out": [{"train": 3}, {"train": ["1"]}, {"elsewhere": [1]}, []],
    "network": [[], "x", {"name": 3}],
}


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in CHANGES.items() for value in values])
def test_a_state_with_wrong_facts_is_refused(key, value, stopped):
    """With a right checksum, or with none, as in files of earlier versions."""
    path = stopped / "state.safetensors"
    state, recipe = load_state(path)
    save_state(path, replace(state, **{key: value}), recipe)
    with pytest.raises(CheckpointError, match="does not hold a whole state|is of another"):
        start(stopped, resume=True)
    facts = {name: entry for name, entry in vars(state).items() if name != "tensors"} | {key: value}
    metadata = {"recipe": json.dumps(to_json(recipe)), "state": json.dumps(facts), "format": "hatnet training"}
    save_file(state.tensors, path, metadata)
    with pytest.raises(CheckpointError, match="does not hold a whole state|is of another"):
        start(stopped, resume=True)


@pytest.mark.parametrize(
    "texts",
    [
        {"recipe": "{}"}, {"recipe": '{"data": 3}'}, {"recipe": "[]"}, {"state": "[" * 5000}, {"state": "null"},
        {"state": '{"steps": 3}'}, {"state": "{}"},
    ],
    ids=str,
)  # fmt: skip
def test_a_state_with_wrong_metadata_is_refused(texts, tmp_path):
    right = {"format": "hatnet training", "recipe": json.dumps(to_json(SMALL)), "state": '{"step": 0}'}
    save_file({"a": torch.zeros(1)}, tmp_path / "x", right)
    assert load_state(tmp_path / "x")[0].step == 0
    for changed in (right | texts, {key: text for key, text in right.items() if key not in texts}):
        save_file({"a": torch.zeros(1)}, tmp_path / "x", changed)
        with pytest.raises(CheckpointError):
            load_state(tmp_path / "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensors, name: tensors.pop(f"model.{name}"), r"missing \(1\): model.{name}"),
        (lambda tensors, name: tensors.pop(f"average.{name}"), r"missing \(1\): average.{name}"),
        (lambda tensors, name: tensors.pop(f"optimiser.exp_avg.{name}"), r"missing \(1\): optimiser.exp_avg.{name}"),
        (lambda tensors, name: tensors.update(other=torch.zeros(1)), r"unexpected \(1\): other"),
        (lambda tensors, name: tensors.update({f"optimiser.step.{name}": torch.zeros(2)}), "of another shape"),
        (lambda tensors, name: tensors.update({f"model.{name}": torch.zeros(10).int()}), "not floating"),
    ],
)
def test_a_state_with_other_tensors_is_refused_with_all_differences(change, message, stopped):
    state, recipe = load_state(stopped / "state.safetensors")
    change(state.tensors, "classifier.bias")
    save_state(stopped / "state.safetensors", state, recipe)
    with pytest.raises(CheckpointError, match=message.format(name="classifier.bias")):
        start(stopped, resume=True)


@pytest.mark.parametrize("network", [{"name": 3}, {"channels": [10**6] * 3, "depths": [10**6] * 3}])
def test_a_state_of_an_impossible_network_is_refused_before_it_is_built(network, first_epochs, tmp_path):
    state, recipe = load_state(first_epochs / "state.safetensors")
    save_state(tmp_path / "x", replace(state, network=state.network | network), recipe)
    with pytest.raises(CheckpointError, match="does not hold a whole state"):
        load_state(tmp_path / "x")


def test_a_newer_state_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("hatnet.weights.tensor_file.VERSION", "4")
    save_state(tmp_path / "x", State(0, {"a": torch.zeros(1)}), SMALL)
    monkeypatch.undo()
    with pytest.raises(CheckpointError, match="written by a newer version of hatnet .'hatnet training', version '4'"):
        load_state(tmp_path / "x")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 5000, '{"started again": 3}', "\0"])
def test_a_damaged_run_json_is_refused_and_can_be_deleted(text, stopped, whole):
    facts = stopped / "run.json"
    facts.write_text(text)
    with pytest.raises(ValueError, match=r"run.json is damaged .*put a copy back, or delete it: --resume then writes"):
        start(stopped, resume=True)
    facts.unlink()
    run(stopped, resume=True)
    assert outcome(stopped) == outcome(whole)
    assert "result" in json.loads(facts.read_text())


def test_run_json_has_a_version_and_a_newer_one_is_refused(stopped):
    facts = json.loads((stopped / "run.json").read_text())
    assert facts["version"] == 1
    (stopped / "run.json").write_text(json.dumps(facts | {"version": 2}))
    with pytest.raises(ValueError, match=r"run.json was written by a newer version of hatnet; update the package"):
        start(stopped, resume=True)


@pytest.mark.parametrize("text", ["epoch,step\n1\n", "epoch,step\n1,x\n", "epoch\n1,2\n", "epoch\n\0\n", 'epoch\n"1\n'])
def test_damaged_metrics_are_refused(text, tmp_path):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(ValueError, match=r"metrics.csv is damaged .*put a copy back, or delete it"):
        read_metrics(tmp_path / "metrics.csv")
    with pytest.raises(ValueError, match=r"metrics.csv is damaged"):
        start(tmp_path, resume=True)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "[" * 5000, '{"broken": [99]}', '{"broken": [-1]}', '{"broken": ["1"]}', '{"broken": 3}']
)
def test_a_damaged_record_of_broken_files_is_made_again(text, tmp_path):
    images = folder_data(tmp_path / "data", images=3).train
    images.paths[2].write_text("no image")
    assert broken_files(images, tmp_path) == [images.paths[2]]
    record = result_file(images, tmp_path)
    record.write_text(text)
    assert broken_files(images, tmp_path) == [images.paths[2]]
    assert json.loads(record.read_text())["broken"] == [2]


@pytest.mark.parametrize("text", ["[" * 5000, "", "3", '{"kind": []}'])
def test_a_damaged_record_of_a_study_is_refused(text, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ValueError, match=r"x.json is not a record of hatnet scaling"):
        read(tmp_path / "x.json")


def test_nan_is_written_as_null(tmp_path, monkeypatch):
    monkeypatch.setattr("hatnet.training.loop.run_facts", lambda *_: {"version": 1, "x": math.nan})
    run(tmp_path, monitor=stop_after(1))
    facts = json.loads((tmp_path / "run.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert facts["x"] is None
