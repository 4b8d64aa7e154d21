"""The folder of a run: its settings, its metrics, and the weights. Every file is written whole or not at all."""

import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from math import nan
from pathlib import Path
from typing import Any

import torch

from hatnet.config import HATNetConfig
from hatnet.data import Split
from hatnet.device import thread_facts
from hatnet.files import json_bytes, read_json, write_whole
from hatnet.machine import device_model, software
from hatnet.training.distributed import Processes
from hatnet.training.networks import Network
from hatnet.training.recipes import Recipe, to_json
from hatnet.training.task import Row, Task
from hatnet.weights.checkpoints import about, write

Facts = dict[str, Any]  # what a JSON file holds
VERSION = 1  # of the facts; those of version 0.1 of the package have none


class RunFolder:
    """Where each file of a run is, and what the start, an epoch and the end write."""

    def __init__(self, path: Path, task: Task) -> None:
        if not isinstance(path, Path):
            raise TypeError(f"folder={path!r} must be a Path, such as Path('runs/mine')")
        self.path, self.task = path, task
        self.part = "test"  # the part of the data that is tested after every epoch: test or validation
        self.state = path / "state.safetensors"  # for resuming
        self.last = path / "last.safetensors"  # weights of the last epoch
        self.best = path / "best.safetensors"  # weights of the epoch with the best accuracy on that part
        self.metrics = path / "metrics.csv"
        self.curves = path / "curves.svg"
        self.facts = path / "run.json"

    def require_new(self, resume: bool) -> None:
        """Raise a ValueError if the folder holds a run already, unless it is to be resumed."""
        if not resume and (self.state.exists() or self.facts.exists()):
            raise ValueError(f"{self.path} holds a run already: give --resume to go on, or --out another folder")

    def is_under_way(self) -> bool:
        """Whether more than one epoch was done, so that there must have been a state."""
        return self.metrics.exists() and len(read_metrics(self.metrics)) > 1

    def begin(self, step: int, facts: Facts) -> None:
        """Write the facts. If the run is resumed after `step` steps, add a line to those of its first start."""
        self.path.mkdir(parents=True, exist_ok=True)
        if step and self.facts.is_file():
            again = {"after step": step} | {key: facts[key] for key in ("date", "hardware", "versions")}
            first = self.read_facts()
            facts = first | {"started again": [*first.get("started again", []), again]}
        self._write_facts(facts)

    def write_epoch(self, model: Network, facts: Facts, history: list[Row]) -> None:
        """Write the tested weights with their description, metrics and curves after the last epoch of `history`."""
        from hatnet.training.figures import draw_curves

        write(model, self.last, facts)
        if self.task.selection.best(history, self.part) is history[-1]:
            write(model, self.best, facts)
        self.write_metrics(history)
        draw_curves(history, self.task.metrics, self.curves, self.part)

    def write_metrics(self, history: list[Row]) -> None:
        """Write one row per epoch. A metric that an older version did not compute is NaN."""
        text = io.StringIO()
        rows = csv.DictWriter(
            text, columns(self.task, self.part), restval=nan, extrasaction="ignore", lineterminator="\n"
        )
        rows.writeheader()
        rows.writerows(history)
        write_whole(self.metrics, text.getvalue().encode())

    def final_test(self) -> Row:
        """The test of the best weights that `write_final_test` stored with them; empty before."""
        known = about(self.best)
        return {metric.column(): known[metric.column()] for metric in self.task.metrics if metric.column() in known}

    def write_final_test(self, model: Network, result: Row) -> None:
        """Write the best weights again, with the result of their test."""
        write(model, self.best, about(self.best) | result)

    def finish(self, history: list[Row], tested: Row) -> None:
        """Add the result to the facts. `tested` are the metrics of the best weights on test images seen only once."""
        facts = self.read_facts()
        metric, seconds = self.task.selection, sum(row["seconds"] for row in history)
        best, column = metric.best(history, self.part), metric.column(self.part)
        chosen_by = f"chosen by looking at the {self.part} images"
        facts["result"] = {
            **({"test of best.safetensors (once, at the end)": tested} if tested else {}),
            f"{self.part} {metric.name} of the last epoch": history[-1][column],
            f"best {self.part} {metric.name} ({chosen_by})": best[column],
            "epoch of the best": best["epoch"],
            "seconds of training": round(seconds, 1),
            "images per second": round(sum(row["images_per_second"] * row["seconds"] for row in history) / seconds, 1),
            "memory in MB": max(row["memory_mb"] for row in history),
        }
        self._write_facts(facts)

    def read_facts(self) -> Facts:
        """The facts of this run. Raises ValueError if they are damaged, or a newer version wrote them."""
        try:
            facts = read_json(self.facts)
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


def columns(task: Task, part: str = "test") -> dict[str, str]:
    """The columns of metrics.csv and what they hold."""
    return {
        "epoch": "epochs done",
        "step": "steps done",
        "learning_rate": "of the last step",
        "train_loss": "mean over the epoch, of augmented and mixed images with smoothed labels, in nats",
        **{metric.column(part): metric.description.format(part=part) for metric in task.metrics},
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
    recipe: Recipe, data: Split, config: HATNetConfig, processes: Processes, precision: torch.dtype, start: Facts,
    lines: Sequence[str] = (),
) -> Facts:  # fmt: skip
    """Recipe, network, versions and hardware of a run.

    `start` describes the weights that it started from, `lines` what was changed in them.
    """
    return {
        "version": VERSION,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": to_json(recipe),
        **({"started_from": start} if start else {}),
        **({"changes at the start": [*lines]} if lines else {}),
        "data": {"name": data.name} | {f"{part} images": len(images) for part, images in data.parts.items()},
        "network": config.__dict__,
        "precision": str(precision).removeprefix("torch."),
        "hardware": {
            "device": device_model(processes.device),
            "processes": processes.size,
            **thread_facts(),
        },
        "versions": software(),
    }


def about_weights(recipe: Recipe, data: Split, epoch: int, result: Row, start: Facts) -> Facts:
    """Describe weights for their checkpoint; `start` describes the weights that training started from."""
    return {
        "data": data.name,
        **({"drawn_from": data.drawn_from} if data.drawn_from else {}),
        "classes": data.classes,
        "mean": data.mean,
        "std": data.std,
        "image_size": recipe.image_size,
        "epoch": epoch,
        **result,
        "recipe": to_json(recipe),
        **({"started_from": start} if start else {}),
    }
