"""Small trainings for tests; `python -m tests.training.runs 100` kills and resumes a hundred."""

import csv
import multiprocessing
import sys
import tempfile
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch

from hatnet.config import HATNetConfig
from hatnet.data import Split, open_data
from hatnet.data.images import balanced
from hatnet.files import PARTIAL
from hatnet.network import HATNet
from hatnet.training import Monitor, Processes, Recipe, Training
from hatnet.weights.checkpoints import load

ALONE = Processes(0, 1, torch.device("cpu"))

# Children that compute gradients are forked by a server that has imported this file and done nothing else: once
# autograd has threads, which it has with a GPU or with PyTorch's fake one, forks of this process cannot use it.
FORK_SERVER = multiprocessing.get_context("forkserver")
FORK_SERVER.set_forkserver_preload(["tests.training.runs"])

# Everything random is on: augmentation, mixing, dropout, drop path; slices, clipping, averaged weights.
SMALL = Recipe(
    data="fashion-subset", variant="micro", image_size=28, epochs=3, seed=3, batch_size=16, slice_size=8, lr=3e-3,
    warmup_epochs=0.5, clip=1.0, ema=0.9, crop_padding=2, rand_augment=5, erasing=0.5, mixup=0.8, cutmix=1.0,
    label_smoothing=0.1, drop_path=0.3, classifier_drop=0.2, initial_weights="fan-in",
)  # fmt: skip
ONE_EPOCH = replace(SMALL, epochs=1, warmup_epochs=0)


def small_data(train: int = 8, test: int = 3) -> Split:
    data = open_data("fashion-subset")
    parts = [images.part(balanced(images.labels, count)) for images, count in ((data.train, train), (data.test, test))]
    return replace(data, train=parts[0], test=parts[1])


def thin(config: HATNetConfig) -> HATNet:
    """A thin version of a recipe's network, whose steps take milliseconds."""
    return HATNet(replace(config, channels=(8, 16, 16), head_dim=8, depths=(1, 1, 1), stem_channels=4))


def start(folder, recipe=SMALL, data=None, processes=ALONE, *, build=thin, **options) -> Training:
    return Training(recipe, data or small_data(), folder, processes, build=build, **options)


def run(folder: Path, recipe: Recipe = SMALL, *, monitor: Monitor | None = None, **options) -> Training:
    """Train until the end, or until `monitor` stops it."""
    training = start(folder, recipe, **options)
    training.run(monitor)
    return training


def run_in_child(folder: Path) -> None:
    """Resume `folder` and save the state after every step. One thread, as in the parent, so that bits can be equal."""
    torch.set_num_threads(1)
    run(folder, resume=True, save_every=0.0)


def stop_after(step: int) -> Monitor:
    """A monitor that stops a training once it reports this step."""
    monitor = Monitor()
    monitor.report = lambda progress: setattr(monitor, "stop", progress.step == step)
    return monitor


def outcome(folder: Path) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Digests of the weights (their files record times as well) and metrics, which interruptions must not change."""
    measured = ("seconds", "images_per_second", "memory_mb")
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [{key: value for key, value in row.items() if key not in measured} for row in csv.DictReader(file)]
    weights = {
        f"{part} {name}": sha256(tensor.numpy().tobytes()).hexdigest()[:16]
        for part in ("last", "best")
        for name, tensor in load(folder / f"{part}.safetensors").state_dict().items()
    }
    return weights, rows


def kill_at_random(folder: Path, generator: np.random.Generator, longest: float) -> int:
    """Start the training and kill it after a random time, again and again until it finishes; return the kills.

    From the second kill on, every other one waits for a file that is half written, so that it hits a save. In the end
    neither half-written files nor the lock may be left.
    """
    kills = 0
    while True:
        child = FORK_SERVER.Process(target=run_in_child, args=(folder,))
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
