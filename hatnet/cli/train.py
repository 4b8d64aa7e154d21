"""The command `hatnet train` (extras `cli` and `train`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import tyro
from rich.progress import MofNCompleteColumn, TextColumn

from hatnet.cli.console import console, progress, progress_bar
from hatnet.data import ImageFolder, Split, absolute
from hatnet.device import use_threads
from hatnet.training import Monitor, Progress, Training
from hatnet.training.classification import CLASSIFICATION
from hatnet.training.distributed import Processes, join
from hatnet.training.progress import stoppable
from hatnet.training.recipes import EXPECT, RECIPES, Recipe
from hatnet.training.run_folder import RunFolder
from hatnet.training.shared_data import open_shared_data, without_broken_files
from hatnet.training.task import words_of
from hatnet.training.trained_weights import require_variant

if TYPE_CHECKING:
    AnyRecipe = Recipe
else:
    AnyRecipe = tyro.extras.subcommand_type_from_defaults(RECIPES, EXPECT, prefix_names=False)


def train(
    recipe: Annotated[AnyRecipe, tyro.conf.arg(name="")],
    out: Path | None = None,
    resume: bool = False,
    data_dir: Path = Path("data"),
    download: bool = False,
    device: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    save_every: float = 60.0,
) -> None:
    """Train a HAT-Net by a recipe. Every field of the recipe can be changed here.

    Ctrl-C stops within a few steps and loses nothing: the same command with --resume continues. Under torchrun all
    processes train one model together.

    Args:
        recipe: the settings to start from.
        out: folder of the run; by default runs/DATA-VARIANT, with -tuned after it if the run starts from weights.
        resume: continue from the state in that folder, or start if there is none.
        data_dir: folder for data sets.
        download: fetch the data set if it is missing.
        device: cpu, cuda, or one GPU such as cuda:1; by default the GPU if there is one, else the CPU.
        workers: processes that prepare images, for each process that trains.
        threads: of PyTorch on a CPU.
        save_every: seconds between saves of the state within an epoch.
    """
    use_threads(threads)
    folder, monitor = out or default_folder(recipe), Monitor()
    if _given("--variant") and not (resume and RunFolder(folder, CLASSIFICATION).state.exists()):
        require_variant(recipe)
    with join(default_device(device)) as processes:
        data = open_shared_data(recipe.data, data_dir, download, processes)
        training = Training(
            recipe, data, folder, processes, resume=resume, save_every=save_every,
            clean=lambda data: without_broken_files(data, data_dir, processes, bar=progress),
            workers=default_workers(data, processes) if workers is None else workers,
        )  # fmt: skip
        if not processes.is_first:
            with stoppable(monitor):
                training.run(monitor)
            return
        _print_start(training, folder)
        with stoppable(monitor), _shown(monitor, training):
            training.run(monitor)
    _print_end(training, folder)


def default_folder(recipe: Recipe) -> Path:
    """The folder of a run that is not given one."""
    tuned = "" if recipe.weights is None else "-tuned"
    return Path("runs") / f"{Path(absolute(recipe.data).removeprefix('folder:')).name}-{recipe.variant}{tuned}"


def _given(option: str) -> bool:
    """Whether the option is on the command line, even with its default value."""
    return any(word == option or word.startswith(f"{option}=") for word in sys.argv)


def default_device(name: str | None) -> str:
    """The device that was asked for, by default the GPU if there is one, else the CPU."""
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def default_workers(data: Split, processes: Processes) -> int:
    """None for images in memory on a CPU, else the processors of this machine for each process on it, at most 8."""
    if processes.device.type == "cpu" and not isinstance(data.train, ImageFolder):
        return 0
    return max(min(8, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))), 1)


def _print_start(training: Training, folder: Path) -> None:
    data, processes, name = training.data, training.processes, training.model.config.name
    *others, last = (f"{len(images):,} {part}" for part, images in data.parts.items())
    precision = str(training.precision).removeprefix("torch.")
    console.print(
        f"HAT-Net {name.capitalize()} on {data.name}: {', '.join(others)} and {last} images; "
        f"{processes.size} x {processes.device}, {precision}\n"
        f"Everything goes to {folder.resolve()}"
    )
    if training.step:
        console.print(f"Going on after step {training.step:,} of {training.steps:,}")
        return
    if data.validation is None:
        console.print(
            "There is no validation part, so the test images choose best.safetensors, whose accuracy is then too "
            "optimistic (--validation 0.1 splits off a part)."
        )
    if training.recipe.weights is not None:
        console.print(f"Starting from {training.recipe.weights}")
    for line in training.start.lines:
        console.print(line)


def _print_end(training: Training, folder: Path) -> None:
    if training.step < training.steps:
        console.print(
            f"Stopped after step {training.step:,}; nothing is lost: the same command with --resume continues."
        )
        raise KeyboardInterrupt
    metric = training.task.selection
    row, weights, by = training.history[-1], folder, ""
    if training.tested:
        row, weights = training.tested, training.folder.best
        by = " by best.safetensors, which the validation images chose"
    sentence = metric.sentence.format(value=metric.text(row[metric.column()]), images="the test images")
    console.print(f"[bold green]Done:[/] {sentence}{by}. [bold]hatnet evaluate {weights}[/] draws which ones.")


@contextmanager
def _shown(monitor: Monitor, training: Training) -> Iterator[None]:
    """A progress bar, and one line per epoch."""
    columns = (MofNCompleteColumn(), TextColumn("{task.fields[facts]}"))
    with progress_bar(*columns, label=0, width=8, averaged_over=300) as bars:
        bar = bars.add_task("step", total=training.steps, completed=training.step, facts="")

        def report(now: Progress) -> None:
            facts = f"loss {now.loss:.3f} rate {now.learning_rate:.0e} {now.images_per_second:,.0f} images/s"
            bars.update(bar, completed=now.step, facts=f"{facts} {now.memory_mb / 1000:.1f} GB")
            if now.evaluation is not None:
                console.print(
                    f"epoch {now.epoch + 1:>3} of {training.recipe.epochs}  training loss {now.loss:.4f}  "
                    + words_of(training.task, training.history[-1], training.folder.part)
                )

        monitor.report = report
        yield
