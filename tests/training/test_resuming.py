"""Kills, full disks and non-finite losses lose little: a run resumes bit for bit, and only the run that it was."""

import json
import math
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from hashlib import blake2b
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from hatnet.data import ImageTensor
from hatnet.data.images import fingerprint
from hatnet.network import HATNet
from hatnet.training import Monitor, NonFiniteLossError
from hatnet.training.resuming import load_state
from hatnet.training.run_folder import read_metrics
from hatnet.training.seeds import derive
from hatnet.weights.checkpoints import CheckpointError, load
from tests.training.image_files import folder_data
from tests.training.kills import FORK_SERVER, die_in_write, kill_at_random, run_in_child
from tests.training.runs import ONE_EPOCH, SMALL, outcome, run, small_data, start, stop_after, thin

OLD_RUN = Path(__file__).parent / "run_of_version_0.1"
INVERTED = replace(small_data(), train=ImageTensor(255 - small_data().train.pixels, small_data().train.labels))


@pytest.mark.parametrize(("seed", "workers", "equal"), [(3, 0, True), (3, 1, True), (4, 0, False)])
def test_the_seed_decides_every_bit_whatever_the_workers(seed, workers, equal, whole, tmp_path):
    run(tmp_path, replace(SMALL, seed=seed), workers=workers)
    assert (outcome(tmp_path)[0] == outcome(whole)[0]) == equal
    assert (outcome(tmp_path) == outcome(whole)) == equal


def test_hashes_are_those_that_earlier_runs_have_stored():
    """A resumed run must find its draws and its data again, also with a later version: here, computed by hand."""

    def digest(*parts):
        return blake2b(b"".join(parts), digest_size=8).hexdigest()

    assert derive(7, "order", 3) == int(digest(b"(7, 'order', 3)"), 16) // 2
    data = small_data()
    names, parts = "\n".join(data.classes).encode(), (data.train, data.test)
    assert fingerprint(data) == {
        "training images": 80,
        "test images": 30,
        "classes": 10,
        "names and labels": digest(names, *(part.labels.numpy().astype("<i8").tobytes() for part in parts)),
        "pixels or files": digest(*(part.pixels.numpy().tobytes() for part in parts)),
    }


def test_a_run_resumes_after_loss_scaling_skipped_its_only_step(tmp_path):
    """With float16, the first gradients may be infinite. The moments of AdamW are then zero."""
    training = start(tmp_path)
    training.folder.begin(0, {})
    training.learner.scaler = torch.amp.GradScaler("cpu")
    training.learner.model.classifier.weight.register_hook(lambda gradient: gradient * math.inf)
    training.loss_sum += training.learner.take_step(training.batches)
    training.save()
    del training
    tensors = load_state(tmp_path / "state.safetensors")[0].tensors
    assert not tensors["optimiser.exp_avg.classifier.bias"].any()
    assert start(tmp_path, resume=True).step == 1


@pytest.mark.parametrize("after", [1, 4, 10])
def test_a_stopped_training_resumes_bit_for_bit(whole, tmp_path, after, monkeypatch):
    monkeypatch.setattr("hatnet.training.loop.CHECK_EVERY", 1)
    assert run(tmp_path, monitor=stop_after(after)).step == after
    run(tmp_path, resume=True)
    assert outcome(tmp_path) == outcome(whole)


def test_a_training_without_an_average_resumes_bit_for_bit(tmp_path):
    plain, stopped = replace(SMALL, ema=0.0), tmp_path / "stopped"
    run(tmp_path / "whole", plain)
    assert run(stopped, plain, monitor=stop_after(10)).learner.average is None
    assert sections(stopped) == {"model", "optimiser"}
    ended = run(stopped, plain, resume=True)
    assert outcome(stopped) == outcome(tmp_path / "whole")
    for name, tensor in load(stopped / "last.safetensors").state_dict().items():
        assert torch.equal(ended.model.state_dict()[name], tensor), name


def test_a_training_resumes_though_files_have_become_unreadable(hatnet, monkeypatch, tmp_path, capfd):
    data = folder_data(tmp_path / "data", images=9)
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


def sections(folder: Path) -> set[str]:
    state, _ = load_state(folder / "state.safetensors")
    return {name.split(".")[0] for name in state.tensors}


def test_a_state_holds_no_generator_state(whole):
    assert sections(whole) == {"model", "average", "optimiser"}
    state, recipe = load_state(whole / "state.safetensors")
    assert (state.step, recipe) == (15, SMALL)


def test_a_run_is_not_overwritten(whole):
    before = outcome(whole)
    with pytest.raises(ValueError, match="holds a run already: give --resume"):
        run(whole)
    assert outcome(whole) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"recipe": replace(SMALL, lr=0.1, seed=9)},
            r"another recipe.*\nseed: 9 here, 3 there\nlr: 0.1 here, 0.003 there",
        ),
        (  # the recipe names a variant, and a later version may mean another network by it
            {"build": lambda config: thin(replace(config, grid_sizes=(3, 2)))},
            r"of another network.*\ngrid_sizes: \[3, 2\] here, \[8, 4\] there",
        ),
        ({"data": small_data(train=7)}, r"of another data set(.|\n)*training images: 70 here, 80 there"),
        ({"data": INVERTED}, r"of another data set(.|\n)*pixels or files: \w+ here, \w+ there"),
    ],
)
def test_a_state_of_another_recipe_network_or_data_set_is_refused_with_the_differences(options, message, whole):
    with pytest.raises(CheckpointError, match=message):
        start(whole, resume=True, **options)


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
    narrow = {"channels": (4, 4, 4), "head_dim": 4, "depths": (1, 1, 1), "stem_channels": 4, "expansions": (1, 1, 1)}
    training = start(folder, resume=True, build=lambda config: HATNet(replace(config, **narrow)))
    assert training.step == 7
    history = training.run()
    for row, kept in zip(history, read_metrics(OLD_RUN / "finished.csv"), strict=True):
        assert row["train_loss"] == pytest.approx(kept["train_loss"], rel=1e-3)
    assert json.loads((folder / "run.json").read_text())["started again"][0]["after step"] == 7
    ours, theirs = load(folder / "last.safetensors"), load(OLD_RUN / "finished.safetensors")
    for (name, weight), kept in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(weight, kept, rtol=0, atol=1e-3), name


def test_a_killed_training_resumes_bit_for_bit(curves, whole, tmp_path):
    """SIGKILL at random times until it finishes; `python -m tests.training.kills 100` kills a hundred."""
    generator = np.random.default_rng(1)
    for number in count():
        kills = kill_at_random(tmp_path / str(number), generator, longest=1.0)
        assert outcome(tmp_path / str(number)) == outcome(whole)
        if kills:  # a test without kills cannot fail
            break


def test_a_training_killed_in_any_of_its_writes_resumes_and_leaves_no_partial_file(tmp_path):
    """From the first write of its facts to the last, of its result, when the state already says that all is done."""
    recipe = replace(ONE_EPOCH, validation=0.25)
    run(tmp_path / "whole", recipe)
    for number in range(1, 100):
        folder = tmp_path / str(number)
        child = FORK_SERVER.Process(target=die_in_write, args=(folder, recipe, number))
        child.start()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        assert list(folder.glob(".*.part.*"))
        run(folder, recipe, resume=True)
        assert not list(folder.glob(".*"))
        assert outcome(folder) == outcome(tmp_path / "whole")
        assert "result" in json.loads((folder / "run.json").read_text())
    assert number > 9, "facts, a state per step, weights twice, metrics, curves, tested weights, result"


@pytest.mark.long
def test_twenty_kills_lose_nothing(whole, tmp_path):
    """Half of them hit a save. A few trainings, since a training ends after some kills."""
    kills, generator = 0, np.random.default_rng(2)
    while kills < 20:
        folder = tmp_path / str(kills)
        kills += kill_at_random(folder, generator, longest=0.3)
        assert outcome(folder) == outcome(whole)


@pytest.mark.long
def test_sigterm_to_all_processes_stops_training_in_order(tmp_path):
    command = [sys.executable, "-m", "hatnet", "train", "fashion-quick", "--workers", "1", "--out", str(tmp_path)]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, start_new_session=True) as child:
        while not (tmp_path / "run.json").exists():
            assert child.poll() is None
            time.sleep(0.1)
        time.sleep(2)
        os.killpg(child.pid, signal.SIGTERM)  # as a scheduler sends it
        printed, _ = child.communicate(timeout=600)
    assert child.returncode == 143, printed
    assert "nothing is lost" in printed
    assert load_state(tmp_path / "state.safetensors")[0].step > 0


def run_with_small_files(folder):
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    try:
        run_in_child(folder)  # it saves after every step, so that the state is the first large file
    except OSError:
        os._exit(3)


def test_a_full_disk_leaves_the_last_good_state(curves, whole, tmp_path):
    """The system refuses files above a size, as a full disk would. Then there is room again."""
    run(tmp_path, monitor=Monitor(stop=True))
    before = (tmp_path / "state.safetensors").read_bytes()
    child = FORK_SERVER.Process(target=run_with_small_files, args=(tmp_path,))
    child.start()
    child.join()
    assert child.exitcode == 3, "it ends with an OSError"
    assert (tmp_path / "state.safetensors").read_bytes() == before
    assert not list(tmp_path.glob(".*")), "no half-written files are left"
    run(tmp_path, resume=True)
    assert outcome(tmp_path) == outcome(whole)


def test_a_non_finite_loss_stops_training_with_advice(tmp_path):
    training = start(tmp_path)
    with torch.no_grad():
        training.model.classifier.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"not finite at step 1 .*lower lr than 0.003"):
        training.run()
    assert not (tmp_path / "state.safetensors").exists(), "no state to resume from"


def test_weights_spoilt_by_the_last_step_are_not_saved(whole, tmp_path):
    """The loss of that step is still finite. The state of the epoch before is kept, and resumes."""
    training = start(tmp_path)
    training.model.classifier.weight.register_hook(lambda slope: slope * (torch.inf if training.step == 9 else 1))
    with pytest.raises(NonFiniteLossError, match="not finite at step 10"):
        training.run()
    assert load_state(tmp_path / "state.safetensors")[0].step == 5
    run(tmp_path, resume=True)
    assert outcome(tmp_path) == outcome(whole)


def test_a_resumed_run_records_its_restart_and_removes_partial_files(tmp_path):
    run(tmp_path, monitor=Monitor(stop=True))
    first = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / ".state.safetensors.part.x1").write_bytes(b"half")
    run(tmp_path, resume=True)
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["date"] == first["date"]
    assert [again["after step"] for again in facts["started again"]] == [1]
    assert not list(tmp_path.glob(".*"))
    run(tmp_path, resume=True)  # there is nothing left to do
    assert json.loads((tmp_path / "run.json").read_text()) == facts
