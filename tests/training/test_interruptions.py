"""Kills, full disks and non-finite losses lose nothing but the time since the last save."""

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from hatnet.training import Monitor, NonFiniteLossError
from hatnet.training.resuming import load_state
from tests.training.runs import kill_at_random, outcome, run, start


def test_a_killed_training_resumes_bit_for_bit(curves, whole, tmp_path):
    """SIGKILL at random times until it finishes; `python -m tests.training.runs 100` kills a hundred."""
    kills = kill_at_random(tmp_path, np.random.default_rng(1), longest=1.0)
    assert outcome(tmp_path) == outcome(whole)
    assert kills >= 1, "a test without kills cannot fail"


@pytest.mark.long
def test_sigterm_to_all_processes_stops_training_in_order(tmp_path):
    """SIGTERM to the process group, workers included, as a scheduler sends it."""
    command = [sys.executable, "-m", "hatnet", "train", "fashion-quick", "--workers", "1", "--out", str(tmp_path)]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, start_new_session=True) as child:
        while not (tmp_path / "run.json").exists():
            assert child.poll() is None
            time.sleep(0.1)
        time.sleep(2)
        os.killpg(child.pid, signal.SIGTERM)
        printed, _ = child.communicate(timeout=60)
    assert child.returncode == 130, printed
    assert "nothing is lost" in printed
    assert load_state(tmp_path / "state.safetensors")[0].step > 0


def test_a_full_disk_leaves_the_last_good_state(curves, whole, tmp_path):
    """The system refuses files above a size, as a full disk would. Then there is room again."""

    def run_with_small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            run(tmp_path, resume=True)
        except OSError:
            os._exit(3)

    run(tmp_path, monitor=Monitor(stop=True))
    before = (tmp_path / "state.safetensors").read_bytes()
    child = multiprocessing.get_context("fork").Process(target=run_with_small_files)
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
