"""Kill trainings at random times and resume them; `python -m tests.training.kills 100` does so a hundred times."""

import multiprocessing
import os
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import torch

from hatnet.files import PARTIAL
from hatnet.training import Recipe
from tests.training.runs import outcome, run

# Children that compute gradients are forked by a server that has imported these modules and done nothing else: once
# autograd has threads, which it has with a GPU or with PyTorch's fake one, forks of this process cannot use it.
# A training imports the last two when it needs them; every child would do so again, for longer than it trains.
FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(["tests.training.runs", "torchvision.transforms.v2", "hatnet.training.figures"])


def run_in_child(folder: Path) -> None:
    """Resume `folder` and save the state after every step. One thread, as in the parent, so that bits can be equal."""
    torch.set_num_threads(1)
    run(folder, resume=True, save_every=0.0)


def die_in_write(folder: Path, recipe: Recipe, number: int) -> None:
    """Train, and be killed in the write of this number (from 1): once its content, but not its name, is on the disk."""
    torch.set_num_threads(1)
    fsync, writes = os.fsync, count(1)

    def sync_or_die(descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and next(writes) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        fsync(descriptor)

    os.fsync = sync_or_die
    run(folder, recipe, save_every=0.0)


def kill_at_random(
    folder: Path, generator: np.random.Generator, longest: float, train: Callable[[Path], None] = run_in_child
) -> int:
    """Start the training and kill it after a random time, again and again until it finishes; return the kills.

    From the second kill on, every other one waits for a file that is half written, so that it hits a save. In the end
    neither half-written files nor the lock may be left.
    """
    kills = 0
    while True:
        child = FORK_SERVER.Process(target=train, args=(folder,))
        child.start()
        child.join(generator.uniform(0, longest * 1.1**kills))  # longer each time, for slow machines
        while kills % 2 and child.is_alive() and not list(folder.glob(f".*{PARTIAL}*")):
            time.sleep(0.0002)
        if not child.is_alive():
            assert child.exitcode == 0, f"the training ended with status {child.exitcode}"
            left = [path.name for path in folder.iterdir() if PARTIAL in path.name or path.name == "run.lock"]
            assert not left, f"{left} are left"
            return kills
        child.kill()
        child.join()
        kills += 1


def main(times: int) -> None:
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        began = time.monotonic()
        run(Path(temporary) / "whole")
        seconds = time.monotonic() - began
        kills = trainings = 0
        while kills < times:
            folder = Path(temporary) / str(trainings)
            kills += kill_at_random(folder, generator, longest=seconds / 10)
            trainings += 1
            if outcome(folder) != outcome(Path(temporary) / "whole"):
                sys.exit(f"training {trainings} differs from the uninterrupted one")
            print(f"{kills} kills, {trainings} trainings: all end with the bits of the uninterrupted one", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
