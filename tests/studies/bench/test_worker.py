"""Processes of a visit: what they measure, how they wait for each other, and how they fail."""

import json
import platform
import subprocess
import sys
import time
from dataclasses import asdict, replace
from queue import SimpleQueue

import pytest
import torch

from hatnet.studies.bench import Layout, Settings, worker
from hatnet.studies.bench import visit as visits
from hatnet.studies.bench.runner import Runner, Task, times_of, warm_up
from hatnet.studies.bench.visit import Plan, run_visit

TASK = Task(
    network="micro", size=32, batch=2, dtype="float32", device="cpu", training=False, compile=False, threads=1,
    seconds=0.01, seed=0, throughput=True, latency=False, roofline=False,
)  # fmt: skip
SETTINGS = Settings(networks=("micro",), size=32, batch=2, rounds=1, seconds=0.01, roofline=False)


class Alone(worker.Channel):
    """The channel of a process that never has to wait."""

    def __init__(self):
        self.phases, self.lines = 0, SimpleQueue()

    def write(self, line):
        self.phases += 1
        self.lines.put("go")


@pytest.mark.parametrize(
    "changes", [{}, {"latency": True}, {"latency": True, "throughput": False}, {"training": True}], ids=str
)
def test_process_measures_what_its_task_names(changes):
    task = replace(TASK, **changes)
    found = worker.measure(task, Alone())
    want = {"batches", "before", "added"} if task.throughput else set()
    want |= {"latencies"} if task.latency else set()
    assert found.keys() == want
    for name in {"batches", "latencies"} & want:
        assert len(found[name]) >= 3
        assert min(found[name]) > 0


def test_networks_are_timed_on_equal_images_in_evaluation_mode():
    seen = []
    for name in ("micro", "authors-micro"):
        runner = Runner(replace(TASK, network=name))
        runner.model.register_forward_pre_hook(lambda module, given: seen.append(given[0].clone()))
        runner.step(2)()
        assert not runner.model.training
    assert seen[0].shape == (2, 3, 32, 32)
    assert torch.equal(*seen)


def test_step_of_training_changes_every_parameter_that_the_network_uses():
    runner = Runner(replace(TASK, training=True))
    before = {name: value.clone() for name, value in runner.network.named_parameters()}
    runner.step(4)()
    assert all(not torch.equal(before[name], value) for name, value in runner.network.named_parameters())
    assert runner.network.training


def test_step_of_inference_changes_and_keeps_nothing():
    runner = Runner(TASK)
    grads = []
    runner.network.register_forward_hook(lambda module, given, output: grads.append(output.requires_grad))
    runner.step(2)()
    assert grads == [False]


@pytest.mark.parametrize(
    ("dtype", "want"), [("float32", torch.float32), ("autocast", torch.bfloat16), ("bfloat16", torch.bfloat16)]
)
def test_precision_is_autocast_only_if_requested(dtype, want):
    runner = Runner(replace(TASK, dtype=dtype))
    found = []
    runner.network.classifier.register_forward_hook(lambda module, given, output: found.append(output.dtype))
    runner.step(1)()
    assert found == [want]


@pytest.mark.parametrize(
    ("durations", "want"), [([9, 3, 3.1, 3], 3), ([9, 6, 4, 3, 2.9], 5), ([2.0**-index for index in range(30)], 8)]
)
def test_warm_up_ends_when_two_steps_take_the_same_time(monkeypatch, durations, want):
    steps, calls = iter(durations), []
    monkeypatch.setattr("hatnet.studies.bench.runner.timed", lambda step: calls.append(1) or next(steps))
    warm_up(lambda: None)
    assert len(calls) == want


def test_batches_are_timed_for_the_seconds_and_at_least_thrice(monkeypatch):
    monkeypatch.setattr("hatnet.studies.bench.runner.timed", lambda step: 2.0)
    assert times_of(lambda: None, seconds=0.1) == [2.0] * 3
    assert times_of(lambda: None, seconds=9.0) == [2.0] * 5


PEAK = """
import torch
from hatnet.studies.bench.runner import peak_memory
there = torch.ones(2**25)  # 128 MiB
with peak_memory(torch.device("cpu")) as memory:
    torch.ones(2**24)  # 64 MiB, freed at once
print(memory.before - there.nbytes, memory.added)
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="the peak can be forgotten on Linux only")
def test_peak_memory_is_what_was_added_and_not_what_was_there():
    """In a new process, which has no memory left from other tests that it could use again."""
    printed = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True).stdout
    others, added = map(int, printed.split())
    assert others > 0
    assert added == pytest.approx(2**26, rel=0.1)


def test_the_memory_of_a_gpu_leaves_out_what_was_only_tried(monkeypatch):
    """cuDNN's first step takes workspace for each algorithm that it tries."""

    class GPU:
        used = peak = 0

        def take(self, amount):
            self.peak = max(self.peak, self.used + amount)

        def forget(self, _):
            self.peak = self.used

    class Network:
        def __init__(self, task):
            gpu.used += 10  # weights
            self.trials = [100]

        def step(self, batch):
            return lambda: gpu.take(self.trials.pop() if self.trials else 30)

    gpu = GPU()
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", gpu.forget)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: gpu.used)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: gpu.peak)
    monkeypatch.setattr(worker, "Runner", Network)
    assert worker.measure(replace(TASK, device="cuda"), Alone())["added"] == 40


SCRIPT = """
import json, os, sys, time
time.sleep(float(os.environ.get("SLEEP", 0)))
task = json.loads(sys.stdin.readline())
if task["seed"] == 1:
    print("a warning", file=sys.stderr)
    sys.exit("ValueError: it failed")
if task["seed"] == 2:
    os.kill(os.getpid(), 9)
time.sleep(0.1 * task["seed"])
for phase in range(2):
    print("ready", flush=True)
    assert sys.stdin.readline() == "go\\n"
names = ("OMP_NUM_THREADS", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
print(json.dumps({"batches": [time.monotonic()], "peaks": {n: os.environ.get(n) for n in names}}), flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Processes that run a short script instead of a measurement."""
    (tmp_path / "quick_worker.py").write_text(SCRIPT)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(visits, "MODULE", "quick_worker")


def test_processes_of_a_visit_start_with_their_threads_and_allocator(script):
    for allocator, want in (("default", [None, None]), ("keep", ["0", "-1"])):
        visit = run_visit(replace(SETTINGS, allocator=allocator), Plan("micro", Layout(3, 2)), 1)
        assert not visit.refused
        assert [list(process.values()) for process in visit.peaks] == [["2", *want]] * 3
        assert (visit.network, visit.processes, visit.threads, visit.round) == ("micro", 3, 2, 1)
        assert visit.seconds > 0


@pytest.mark.parametrize(
    ("seed", "message"), [(1, "ValueError: it failed"), (2, "ended by signal 9, perhaps for lack of memory")]
)
def test_failure_of_a_process_is_the_reason_of_the_refusal(script, seed, message):
    visit = run_visit(replace(SETTINGS, seed=seed), Plan("micro", Layout(2, 1)), 0)
    assert visit.refused == message
    assert visit.batches == []


def test_no_process_survives_a_visit_that_is_interrupted(script, monkeypatch):
    monkeypatch.setenv("SLEEP", "600")
    started, start = [], time.perf_counter()
    popen = visits.subprocess.Popen
    monkeypatch.setattr(
        visits.subprocess, "Popen", lambda *given, **how: started.append(popen(*given, **how)) or started[-1]
    )

    def interrupted(processes, task):
        raise KeyboardInterrupt

    monkeypatch.setattr(visits, "_results", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_visit(SETTINGS, Plan("micro", Layout(2, 1)), 0)
    assert [process.poll() is not None for process in started] == [True, True]
    assert time.perf_counter() - start < 60


def test_process_continues_with_batches_until_all_are_ready():
    """So no process is measured while another rests."""

    class Slow(Alone):
        def write(self, line):
            self.phases += 1

    channel, steps = Slow(), []

    def step():
        steps.append(1)
        if len(steps) == 5:
            channel.lines.put("go\n")

    channel.wait_for_all(step)
    assert len(steps) == 5


@pytest.mark.long
def test_process_ends_with_the_one_that_started_it():
    """Whatever it does at that time: here it sleeps, and could not read."""
    code = "import sys, time; from hatnet.studies.bench.worker import Channel; Channel(sys.stdin, sys.stdout)"
    running = subprocess.Popen([sys.executable, "-c", f"{code}; time.sleep(600)"], stdin=subprocess.PIPE)
    running.stdin.close()
    assert running.wait(timeout=120) == 1


@pytest.mark.long
def test_two_real_processes_measure_at_the_same_time():
    settings = replace(SETTINGS, seconds=0.3)
    start = time.perf_counter()
    visit = run_visit(settings, Plan("micro", Layout(2, 1)), 4)
    assert not visit.refused
    assert 0.3 < visit.seconds <= time.perf_counter() - start + 1e-3
    assert [len(entries) for entries in (visit.batches, visit.before, visit.added)] == [2] * 3
    assert all(sum(process) >= 0.3 for process in visit.batches)
    assert all(10e6 < count < 500e6 for count in visit.added)


def test_task_takes_its_fields_from_the_settings():
    sent = []

    def results(processes, task):
        sent.append(json.loads(task))
        return []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(visits, "_results", results)
        patch.setattr(visits, "MODULE", "this")  # nothing of that name starts
        run_visit(replace(SETTINGS, batch=7, seed=5), Plan("micro", Layout(1, 3), throughput=False, latency=True), 1)
    want = replace(TASK, batch=7, seed=5, threads=3, throughput=False, latency=True)
    assert sent == [asdict(want)]
