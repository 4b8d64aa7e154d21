"""The folder of a run: its settings, its metrics, and the weights. Every file is written whole or not at all."""

import csv
import io
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from typing import Any

import torch

from hatnet.config import HATNetConfig
from hatnet.data import Split
from hatnet.files import json_bytes, parse_json, read_whole, remove_partial_files, write_whole
from hatnet.machine import device_model, software
from hatnet.network import HATNet
from hatnet.training.distributed import Processes
from hatnet.training.recipes import Recipe, to_json
from hatnet.training.task import Row, Task
from hatnet.weights.checkpoints import write

Facts = dict[str, Any]  # what a JSON file holds
VERSION = 1  # of the facts; those of version 0.1 of the package have none
MOST_BYTES = 2**27  # of the facts


class RunFolder:
    """Where each file of a run is, and what the start, an epoch and the end write."""

    def __init__(self, path: Path, task: Task) -> None:
        self.path, self.task = path, task
        self.state = path / "state.safetensors"  # for resuming
        self.last = path / "last.safetensors"  # weights of the last epoch
        self.best = path / "best.safetensors"  # weights of the epoch with the best test accuracy
        self.metrics = path / "metrics.csv"
        self.curves = path / "curves.svg"
        self.facts = path / "run.json"

    def is_under_way(self) -> bool:
        """Whether more than one epoch was done, so that there must have been a state."""
        return self.metrics.exists() and len(read_metrics(self.metrics)) > 1

    def begin(self, step: int, facts: Facts) -> None:
        """Write the facts. If the run is resumed after `step` steps, add a line to those of its first start."""
        self.path.mkdir(parents=True, exist_ok=True)
        remove_partial_files(self.path)  # which a kill left
        if step and self.facts.is_file():
            again = {"after step": step} | {key: facts[key] for key in ("date", "hardware", "versions")}
            first = self.read_facts()
            facts = first | {"started again": [*first.get("started again", []), again]}
        self._write_facts(facts)

    def write_epoch(self, model: HATNet, about: Facts, history: list[Row]) -> None:
        """Write the tested weights with their description, metrics and curves after the last epoch of `history`."""
        from hatnet.training.figures import draw_curves

        write(model, self.last, about)
        if self.task.selection.best(history) is history[-1]:
            write(model, self.best, about)
        self.write_metrics(history)
        draw_curves(history, self.task.metrics, self.curves)

    def write_metrics(self, history: list[Row]) -> None:
        """Write one row per epoch. A metric that an older version did not compute is NaN."""
        text = io.StringIO()
        rows = csv.DictWriter(text, columns(self.task), restval=nan, extrasaction="ignore", lineterminator="\n")
        rows.writeheader()
        rows.writerows(history)
        write_whole(self.metrics, text.getvalue().encode())

    def finish(self, history: list[Row]) -> None:
        """Add the result to the facts."""
        facts = self.read_facts()
        metric, seconds = self.task.selection, sum(row["seconds"] for row in history)
        best = metric.best(history)
        facts["result"] = {
            f"test {metric.name} of the last epoch": history[-1][metric.column],
            f"best test {metric.name} (chosen by looking at the test images)": best[metric.column],
            "epoch of the best": best["epoch"],
            "seconds of training": round(seconds, 1),
            "images per second": round(sum(row["images_per_second"] * row["seconds"] for row in history) / seconds, 1),
            "memory in MB": max(row["memory_mb"] for row in history),
        }
        self._write_facts(facts)

    def read_facts(self) -> Facts:
        """The facts of this run. Raises ValueError if they are damaged, or a newer version wrote them."""
        try:
            facts = parse_json(read_whole(self.facts, MOST_BYTES))
            restarts = facts.get("started again", []) if isinstance(facts, dict) else None
            if not isinstance(restarts, list):
                raise ValueError("it holds no facts of a run")
        except ValueError as error:
            advice = "put a copy back, or delete it: --resume then writes a new one"
            raise ValueError(f"{self.facts} is damaged ({error}); {advice}") from error
        if facts.get("version", VERSION) not in range(VERSION + 1):
            raise ValueError(f"{self.facts} was written by a newer version of hatnet; update the package")
        return facts

    def _write_facts(self, facts: Facts) -> None:
        write_whole(self.facts, json_bytes(facts))


def columns(task: Task) -> dict[str, str]:
    """The columns of metrics.csv and what they hold."""
    return {
        "epoch": "epochs done",
        "step": "steps done",
        "learning_rate": "of the last step",
        "train_loss": "mean over the epoch, of augmented and mixed images with smoothed labels, in nats",
        **{metric.column: metric.description for metric in task.metrics},
        "seconds": "of the epoch's training steps",
        "images_per_second": "in those seconds",
        "memory_mb": "peak memory of a GPU, or of the process on a CPU, in 10^6 bytes",
    }


def read_metrics(path: Path) -> list[Row]:
    """Read what `write_metrics` wrote. Raises ValueError, naming the file, for anything else."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file, strict=True)]
    except (ValueError, TypeError, csv.Error) as error:  # a row with too few or too many entries is a TypeError
        raise ValueError(f"{path} is damaged ({error}); put a copy back, or delete it") from error


def run_facts(
    recipe: Recipe, data: Split, config: HATNetConfig, processes: Processes, precision: torch.dtype, start: Facts
) -> Facts:
    """Recipe, network, versions and hardware of a run; `start` describes the weights that it started from."""
    return {
        "version": VERSION,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": to_json(recipe),
        **({"started_from": start} if start else {}),
        "data": {"name": data.name, "training images": len(data.train), "test images": len(data.test)},
        "network": config.__dict__,
        "precision": str(precision).removeprefix("torch."),
        "hardware": {
            "device": device_model(processes.device),
            "processes": processes.size,
            "threads per process": torch.get_num_threads(),
        },
        "versions": software(),
    }


def about_weights(recipe: Recipe, data: Split, epoch: int, result: Row, start: Facts) -> Facts:
    """Describe weights for their checkpoint; `start` describes the weights that training started from."""
    return {
        "data": data.name,
        "classes": data.classes,
        "mean": data.mean,
        "std": data.std,
        "image_size": recipe.image_size,
        "epoch": epoch,
        **result,
        "recipe": to_json(recipe),
        **({"started_from": start} if start else {}),
    }
