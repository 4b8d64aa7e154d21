"""A resumed run keeps its number of threads, and the commands let idle threads sleep."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from hatnet.training.resuming import load_state
from tests.training.runs import outcome, run, stop_after


@pytest.fixture(autouse=True)
def one_thread():
    """Each test starts and ends with one thread."""
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


def test_a_run_resumes_with_the_threads_of_its_start(whole, tmp_path):
    run(tmp_path, monitor=stop_after(10))
    torch.set_num_threads(2)  # another default, as on a machine with more processors
    run(tmp_path, resume=True)
    assert torch.get_num_threads() == 1
    assert outcome(tmp_path) == outcome(whole)


def test_threads_that_are_given_hold_on_resume_and_are_recorded(tmp_path):
    run(tmp_path, monitor=stop_after(10))
    run(tmp_path, monitor=stop_after(11), resume=True, threads=2)
    assert torch.get_num_threads() == 2
    assert load_state(tmp_path / "state.safetensors")[0].threads["threads per process"] == 2
    facts = json.loads((tmp_path / "run.json").read_text())
    assert facts["hardware"]["threads per process"] == 1
    assert facts["hardware"]["threads wait"] == os.environ.get("OMP_WAIT_POLICY", "default").lower()
    assert facts["started again"][0]["hardware"]["threads per process"] == 2


PRINT_POLICY_WHEN_TORCH_LOADS = """
import os, sys
class Finder:
    def find_spec(self, name, *_):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"))
            sys.exit()
sys.meta_path.insert(0, Finder())
import hatnet.models
"""


@pytest.mark.parametrize(
    ("script", "given", "policy"),
    [("hatnet", {}, "PASSIVE"), ("hatnet", {"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ("mine.py", {}, "None")],
)
def test_only_the_command_lets_threads_wait_passively_and_only_by_default(script, given, policy, tmp_path):
    path = tmp_path / script
    path.write_text(PRINT_POLICY_WHEN_TORCH_LOADS)
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= given | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, path], capture_output=True, text=True, env=environment, check=True)
    assert ended.stdout.strip() == policy
