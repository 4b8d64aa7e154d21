"""The folder of a run: what was to be done, how it went, and the weights."""

from __future__ import annotations

import csv
import io
import json
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from hatnet.config import HATNetConfig
from hatnet.data import Split
from hatnet.files import remove_partial_files, write_whole
from hatnet.training.distributed import World
from hatnet.training.recipes import Recipe, to_json

COLUMNS = {  # of metrics.csv
    "epoch": "epochs done",
    "step": "steps done",
    "learning_rate": "of the last step",
    "train_loss": "mean over the epoch, of augmented and mixed images with smoothed labels, in nats",
    "test_loss": "cross-entropy of the test images, in nats",
    "test_accuracy": "part of the test images classified right",
    "seconds": "of the epoch's training steps",
    "images_per_second": "in those seconds",
    "memory_mb": "the most a GPU held, or the process on a CPU, in 10^6 bytes",
}


class RunFolder:
    """Where each file of a run is. Every file is written whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / "state.safetensors"  # to go on from
        self.last = path / "last.safetensors"  # weights of the last epoch
        self.best = path / "best.safetensors"  # weights of the epoch with the best test accuracy
        self.metrics = path / "metrics.csv"
        self.curves = path / "curves.svg"
        self.facts = path / "run.json"

    def is_under_way(self) -> bool:
        """Whether more than an epoch was done, so that a state must have been here."""
        return self.metrics.exists() and len(read_metrics(self.metrics)) > 1

    def write_metrics(self, history: list[dict[str, float]]) -> None:
        """A row an epoch."""
        text = io.StringIO()
        rows = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        rows.writeheader()
        rows.writerows(history)
        write_whole(self.metrics, text.getvalue().encode())

    def write_facts(self, facts: dict[str, Any]) -> None:
        """What was run on what, and what came out."""
        write_whole(self.facts, (json.dumps(facts, indent=2) + "\n").encode())

    def begin(self, step: int, facts: dict[str, Any]) -> None:
        """Write the facts; where the run goes on after some steps, add to those of its first start.

        What a kill left half-written goes.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        remove_partial_files(self.path)
        if step and self.facts.is_file():
            again = {"after step": step} | {key: facts[key] for key in ("date", "hardware", "versions")}
            first = json.loads(self.facts.read_text())
            facts = first | {"started again": [*first.get("started again", []), again]}
        self.write_facts(facts)

    def finish(self, history: list[dict[str, float]]) -> None:
        """Add to the facts what came out."""
        facts = json.loads(self.facts.read_text())
        best = max(history, key=lambda row: row["test_accuracy"])
        facts["result"] = {
            "test accuracy of the last epoch": history[-1]["test_accuracy"],
            "best test accuracy (chosen by looking at the test images)": best["test_accuracy"],
            "epoch of the best": best["epoch"],
            "seconds of training": round(sum(row["seconds"] for row in history), 1),
            "images per second": round(
                sum(row["images_per_second"] * row["seconds"] for row in history)
                / sum(row["seconds"] for row in history),
                1,
            ),
            "memory in MB": max(row["memory_mb"] for row in history),
        }
        self.write_facts(facts)


def about_weights(recipe: Recipe, data: Split, epoch: int, accuracy: float, origin: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint says of its weights, and of those that they started from."""
    return {
        "data": data.name,
        "classes": data.classes,
        "mean": data.mean,
        "std": data.std,
        "image_size": recipe.image_size,
        "epoch": epoch,
        "test_accuracy": accuracy,
        "recipe": to_json(recipe),
        **_started_from(origin),
    }


def memory_mb(device: torch.device) -> float:
    """The most that a GPU held for this process, or else the process itself, in 10^6 bytes."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        import resource
    except ModuleNotFoundError:  # Windows
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def read_metrics(path: Path) -> list[dict[str, float]]:
    """What `write_metrics` wrote."""
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def facts_of(
    recipe: Recipe, data: Split, config: HATNetConfig, world: World, precision: torch.dtype, origin: dict[str, Any]
) -> dict[str, Any]:
    """The recipe, versions and hardware of a run."""
    import safetensors
    import torchvision

    device = torch.cuda.get_device_name(world.device) if world.device.type == "cuda" else _processor()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": to_json(recipe),
        **_started_from(origin),
        "data": {"name": data.name, "training images": len(data.train), "test images": len(data.test)},
        "network": config.__dict__,
        "precision": str(precision).removeprefix("torch."),
        "hardware": {
            "device": device,
            "processes": world.size,
            "threads per process": torch.get_num_threads(),
        },
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "safetensors": safetensors.__version__,
            "system": f"{platform.system()} {platform.machine()}",
        },
    }


def _started_from(origin: dict[str, Any]) -> dict[str, Any]:
    return {"started_from": origin} if origin else {}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
