"""Small trainings for tests."""

import csv
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch

from hatnet.config import HATNetConfig
from hatnet.data import Split, open_data
from hatnet.data.images import balanced
from hatnet.network import HATNet
from hatnet.training import Monitor, Processes, Recipe, Training
from hatnet.weights.checkpoints import load

ALONE = Processes(0, 1, torch.device("cpu"))

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
        f"{part} {name}": digest
        for part in ("last", "best")
        for name, digest in digests(load(folder / f"{part}.safetensors")).items()
    }
    return weights, rows


def digests(model: torch.nn.Module) -> dict[str, str]:
    """A digest of every parameter and buffer."""
    return {
        name: sha256(tensor.contiguous().numpy().tobytes()).hexdigest()[:16]
        for name, tensor in model.state_dict().items()
    }
