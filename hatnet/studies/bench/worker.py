"""One process of a visit: `python -m hatnet.studies.bench.worker`, started by `hatnet.studies.bench.visit`.

It reads a task as a line of JSON, and writes its results as one. In between it writes `ready` before each phase of the
measurement, and continues with batches until all processes are ready and a line arrives. So no process ever measures
while another one rests.
"""

import json
import os
import sys
from queue import SimpleQueue
from threading import Thread
from typing import Any, TextIO

import torch

from hatnet.studies.bench.parts import part_times
from hatnet.studies.bench.peaks import PEAKS, peak_rate
from hatnet.studies.bench.runner import Runner, Step, Task, forget_trials, peak_memory, times_of, warm_up


class Channel:
    """Lines to and from the process that started this one, without which this one ends. Other output goes to stderr."""

    def __init__(self, source: TextIO, target: TextIO) -> None:
        self.target = target
        self.lines: SimpleQueue[str] = SimpleQueue()
        Thread(target=self._read, args=(source,), daemon=True).start()

    def _read(self, source: TextIO) -> None:
        for line in source:
            self.lines.put(line)
        os._exit(1)  # the other process has ended; a compilation would last for minutes

    def write(self, line: str) -> None:
        self.target.write(line + "\n")
        self.target.flush()

    def wait_for_all(self, step: Step) -> None:
        """Run steps until all processes have come to this call."""
        self.write("ready")
        step()
        while self.lines.empty():
            step()
        self.lines.get()


def measure(task: Task, channel: Channel) -> dict[str, Any]:
    """Time one network in this process. Returns batches and single images in seconds, memory in bytes, and rates."""
    found: dict[str, Any] = {}
    device = torch.device(task.device)
    with peak_memory(device) as memory:
        runner = Runner(task)
        step = runner.step(task.batch if task.throughput else 1)
        warm_up(step)
        forget_trials(device)
        channel.wait_for_all(step)
        if task.throughput:
            found["batches"] = times_of(step, task.seconds)
    if task.throughput:
        found |= {"before": memory.before, "added": memory.added}
        channel.wait_for_all(step)
    if task.latency:
        single = runner.step(1)
        warm_up(single)
        found["latencies"] = times_of(single, task.seconds / 2)
    if task.roofline:
        found["parts"] = part_times(runner.network, step)
        found["peaks"] = {}
        for name in PEAKS:
            channel.wait_for_all(step)
            found["peaks"][name] = peak_rate(name, runner)
        channel.wait_for_all(step)
    return found


def main() -> None:
    """Do one task, read from stdin."""
    target = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the results
    channel = Channel(sys.stdin, target)
    task = Task(**json.loads(channel.lines.get()))
    channel.write(json.dumps(measure(task, channel)))


if __name__ == "__main__":
    main()
