"""Several processes train what one process trains, or refuse to start."""

import json
import math
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from hatnet.training import Monitor, Processes, join
from hatnet.training.run_folder import read_metrics
from hatnet.weights.checkpoints import load
from tests.training.image_files import folder_data
from tests.training.runs import ALONE
from tests.training.small_command import small_options


def test_a_single_process_does_not_wait_for_its_device(monkeypatch):
    """Waiting for a GPU after every step would slow training down."""
    monkeypatch.setattr(Processes, "sum", lambda *_: pytest.fail("waited for the device"))
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.from_first([7, 8]) == [7, 8]
    assert not ALONE.differ(7)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def exchange(rank, port, ready, results):
    """Every exchange between two processes."""
    os.environ.update(
        WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )  # fmt: skip
    model = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(model.weight, float(rank + 7))
    with join("cpu") as processes:
        found = {
            "place": (processes.rank, processes.size, processes.is_first),
            "sum": processes.sum(torch.tensor([1.0, rank])).tolist(),
            "any": [processes.any(flag) for flag in (False, rank == 0, rank == 1, True)],
            "from first": processes.from_first([5, -(2**40)] if rank == 0 else [1, 2, 3]),
            "differ": [processes.differ(4), processes.differ(rank)],
        }
        processes.copy_from_first(model)
        if rank == 0:
            time.sleep(0.3)
            ready.set()
        processes.wait()
        found["waited"] = ready.is_set()
    results.put((rank, found | {"weight": model.weight.tolist(), "left": not torch.distributed.is_initialized()}))


@pytest.mark.parametrize(("size", "want"), [(1, 2), (2, 7), (3, 7)])
def test_weights_are_replaced_by_the_sum_where_there_are_other_processes(size, want, monkeypatch):
    """The last process adds zeros; here the others add 7."""
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: values.add_(7))
    model = torch.nn.Linear(2, 1)
    torch.nn.init.constant_(model.weight, 2)
    Processes(size - 1, size, torch.device("cpu")).copy_from_first(model)
    assert model.weight.tolist() == [[want, want]]


def test_two_processes_exchange_flags_numbers_and_weights():
    fork = multiprocessing.get_context("fork")
    results, ready, port = fork.Queue(), fork.Event(), free_port()
    children = [fork.Process(target=exchange, args=(rank, port, ready, results)) for rank in (0, 1)]
    for child in children:
        child.start()
    found = dict(results.get(timeout=600) for _ in children)
    for child in children:
        child.join(600)
    for rank in (0, 1):
        assert found[rank] == {
            "place": (rank, 2, rank == 0), "sum": [2, 1], "any": [False, True, True, True], "from first": [5, -2**40],
            "differ": [False, True], "weight": [[7, 7]], "left": True, "waited": True,
        }  # fmt: skip


def torchrun(processes: int, *command: str) -> subprocess.CompletedProcess:
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    here = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run([*launch, *command], capture_output=True, text=True, timeout=1500, env=os.environ | here)


@pytest.mark.long
def test_two_processes_under_torchrun_give_the_result_of_one(tmp_path):
    """All random draws are on, 25 test images can never be shared evenly, and one file is broken."""
    data = folder_data(tmp_path / "data", images=13)
    data.test.paths[-1].unlink()
    data.train.paths[5].write_text("not an image")
    found = []
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        ended = torchrun(
            processes, "-m", "hatnet", "train", "fashion-quick", "--data", data.name, "--epochs", "2",
            "--batch-size", "8", "--slice-size", "2", "--mixup", "0.8", "--drop-path", "0.2", "--classifier-drop",
            "0.2", "--out", str(folder), "--data-dir", str(tmp_path), "--device", "cpu", "--workers", "0",
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count("Done:") == 1, "only the first process prints"
        assert "1 of 26 training images cannot be used" in ended.stdout
        assert "neighbour taken" not in ended.stdout, "both processes leave it out from the start"
        found.append((load(folder / "last.safetensors"), read_metrics(folder / "metrics.csv")))
    (one, one_rows), (two, two_rows) = found
    for (name, parameter), other in zip(one.named_parameters(), two.parameters(), strict=True):
        if not name.endswith(("qkv.bias", "kv.bias")):  # softmax ignores a key's bias, so AdamW magnifies its rounding
            limit = 1e-3 * float(other.detach().abs().max()) + 1e-6
            assert torch.allclose(parameter, other, rtol=0, atol=limit), name
    images = torch.randn(5, 3, 28, 28)
    assert torch.allclose(one(images), two(images), rtol=0, atol=1e-3)
    for one_row, two_row in zip(one_rows, two_rows, strict=True):
        for loss in ("train_loss", "test_loss"):
            assert math.isclose(one_row[loss], two_row[loss], rel_tol=1e-4)
        assert (25 * two_row["test_accuracy"]) % 1 in (pytest.approx(0), pytest.approx(1)), "25 images, each once"


@pytest.mark.long
@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--seed", "not all processes were given the same recipe and see the same images and labels"),
        ("--out", "not all processes see the state in {folder}: it must lie on a disk that all machines share"),
    ],
)
def test_processes_with_different_settings_refuse_to_train_together(option, words, hatnet, monkeypatch, tmp_path):
    """Each machine has its own command line and disks. Here --seed or --out ends in the rank of the process."""
    data, first = folder_data(tmp_path / "data", images=9), tmp_path / "0"
    command = [
        "hatnet", "train", "fashion-quick", "--data", data.name, "--data-dir", str(tmp_path), "--epochs", "2",
        "--batch-size", "8", "--slice-size", "4", "--workers", "0", "--device", "cpu", "--resume", "--out", str(first),
    ]  # fmt: skip
    monkeypatch.setattr("hatnet.cli.train.Monitor", lambda: Monitor(stop=True))
    with pytest.raises(SystemExit, match="130"):
        hatnet(*command[1:])  # leaves a state after one step
    before = (first / "state.safetensors").read_bytes()
    if option == "--seed":
        shutil.rmtree(first)
    number = "os.environ['RANK']" if option == "--seed" else f"{str(tmp_path)!r} + '/' + os.environ['RANK']"
    script = tmp_path / "command.py"
    script.write_text(
        f"import os, sys\nfrom hatnet.cli.main import main\nsys.argv = {command!r} + [{option!r}, {number}]\nmain()\n"
    )
    ended = torchrun(2, str(script))
    assert ended.returncode != 0
    told = [f"error: {words.format(folder=tmp_path / rank)}" in ended.stderr for rank in "01"]
    assert any(told), ended.stderr  # torchrun may end the other process before it says so
    assert not (tmp_path / "1").exists()
    state = first / "state.safetensors"
    assert not state.exists() if option == "--seed" else state.read_bytes() == before


@pytest.mark.long
def test_several_seeds_under_torchrun_give_one_table(tmp_path):
    ended = torchrun(
        2, "-m", "hatnet", "train", "fashion-quick", *small_options(tmp_path), "--slice-size", "4", "--seeds", "0", "1",
        "--out", str(tmp_path / "run"),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("Done:") == 2
    assert ended.stdout.count("The spread is") == 1
    assert json.loads((tmp_path / "run-seeds.json").read_text())["seeds"] == [0, 1]


@pytest.mark.long
def test_a_lost_process_without_torchrun_ends_the_other_in_one_line(tmp_path):
    command = [sys.executable, "-m", "hatnet", "train", "fashion-quick", "--slice-size", "32", "--device", "cpu"]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2"}
    place |= {"LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    first, second = (
        subprocess.Popen(
            [*command, "--out", str(tmp_path / "run")], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | place | {"RANK": rank, "LOCAL_RANK": rank},
        )
        for rank in ("0", "1")
    )  # fmt: skip
    while not (tmp_path / "run" / "run.json").exists():
        assert first.poll() is None, first.communicate()
        time.sleep(0.1)
    time.sleep(1)
    second.kill()
    second.communicate()
    _, error = first.communicate(timeout=60)
    assert first.returncode == 1
    assert error.startswith("stopped: another process of this training has ended")
    assert error.count("\n") == 1


FOUR = {"WORLD_SIZE": "4", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "4"}


@pytest.mark.parametrize(
    ("device", "environment", "message"),
    [
        *((name, {}, f"device='{name}' must be cpu, cuda or one GPU such as") for name in ("mps", "meta", "cuda:x")),
        ("cpu", {"WORLD_SIZE": "2"}, "WORLD_SIZE=2 is set but not RANK, .*start several processes with torchrun"),
        ("cuda", FOUR, "4 processes on this machine, but 2 GPUs: start torchrun with --nproc-per-node 2"),
    ],
)
def test_impossible_devices_and_processes_are_refused(device, environment, message, monkeypatch):
    for name in FOUR:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=message):
        join(device).__enter__()


def test_a_gpu_can_be_chosen_with_or_without_its_number(monkeypatch):
    """PyTorch accepts "cuda" as a device, but not in `set_device`."""
    chosen = []
    monkeypatch.setattr("hatnet.training.distributed.usable_device", torch.device)  # as if this machine had a GPU
    monkeypatch.setattr(torch._C, "_cuda_setDevice", chosen.append, raising=False)
    for name, numbers in (("cuda", []), ("cuda:1", [1])):
        with join(name) as processes:
            assert processes.device == torch.device(name)
        assert chosen == numbers
