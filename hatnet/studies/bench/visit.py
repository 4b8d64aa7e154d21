"""One visit of a network: fresh processes in one layout, which measure at the same time.

The allocator and the number of threads must be known before a process starts, so a visit never reuses one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import hatnet
from hatnet.studies.bench.record import Visit
from hatnet.studies.bench.runner import Task
from hatnet.studies.bench.settings import Layout, Settings

MODULE = "hatnet.studies.bench.worker"


@dataclass(frozen=True)
class Plan:
    """What to measure in a visit."""

    network: str
    layout: Layout
    throughput: bool = True
    latency: bool = False
    roofline: bool = False

    def __str__(self) -> str:
        kinds = [name for name in ("latency", "roofline") if getattr(self, name)]
        return f"{self.network} {self.layout}" + (f", {' and '.join(kinds)}" if kinds else "")


def run_visit(settings: Settings, plan: Plan, number: int) -> Visit:
    """Carry out a plan in round `number`. A process that fails ends the visit, which is then `refused` with its error.

    If this is interrupted, the processes end.
    """
    shared = asdict(settings)
    fields = {name: shared[name] for name in Task.__dataclass_fields__ if name in shared}
    flags = {name: getattr(plan, name) for name in ("network", "throughput", "latency", "roofline")}
    task = Task(**fields | flags | {"threads": plan.layout.threads})
    visit = Visit(plan.network, plan.layout.processes, plan.layout.threads, number)
    start = time.perf_counter()
    with _processes(plan.layout, settings) as processes:
        try:
            found = _results(processes, json.dumps(asdict(task)))
        except _ProcessError as error:
            visit.refused = str(error)
        else:
            for name in ("batches", "latencies", "parts", "peaks", "before", "added"):
                setattr(visit, name, [result[name] for result in found if name in result])
    visit.seconds = round(time.perf_counter() - start, 3)
    return visit


class _ProcessError(RuntimeError):
    """A process of a visit has failed."""


@dataclass(frozen=True)
class _Process:
    running: subprocess.Popen[str]
    errors: IO[str]

    def send(self, line: str) -> None:
        assert self.running.stdin is not None
        try:
            self.running.stdin.write(line + "\n")
            self.running.stdin.flush()
        except BrokenPipeError:
            raise _ProcessError(self.cause()) from None

    def receive(self) -> str:
        assert self.running.stdout is not None
        line = self.running.stdout.readline()
        if not line:
            raise _ProcessError(self.cause())
        return line.strip()

    def end(self) -> None:
        """End this process and those that it started to compile."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError):
                os.killpg(self.running.pid, signal.SIGKILL)
        else:
            self.running.kill()
        with suppress(BrokenPipeError):
            self.running.communicate()
        self.errors.close()

    def cause(self) -> str:
        """The last line of its errors, or the signal that ended it."""
        status = self.running.wait()
        self.errors.seek(0)
        lines = self.errors.read().split("\n")
        words = next((line.strip() for line in reversed(lines) if line.strip()), "")
        if status < 0:
            return f"ended by signal {-status}, " + ("perhaps for lack of memory" if status == -9 else words)
        return words[:300] or f"ended with status {status}"


@contextmanager
def _processes(layout: Layout, settings: Settings) -> Iterator[list[_Process]]:
    package = str(Path(hatnet.__file__).parents[1])
    path = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | settings.environment(layout.threads) | {"PYTHONPATH": path}
    processes: list[_Process] = []
    try:
        for _ in range(layout.processes):
            errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  closed below
            running = subprocess.Popen(
                [sys.executable, "-m", MODULE], env=environment, text=True, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
            )  # fmt: skip
            processes.append(_Process(running, errors))
        yield processes
    finally:
        for process in processes:
            process.end()


def _results(processes: Sequence[_Process], task: str) -> list[dict[str, Any]]:
    """Let all processes begin each phase together, until each has answered with its results."""
    for process in processes:
        process.send(task)
    while True:
        lines = [process.receive() for process in processes]
        if "ready" not in lines:
            return [json.loads(line) for line in lines]
        for process in processes:
            process.send("go")
