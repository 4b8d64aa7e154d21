"""The command `hatnet train` (extras `cli` and `train`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import tyro
from rich.progress import MofNCompleteColumn, TextColumn

from hatnet.cli.console import console, progress, progress_bar
from hatnet.data import ImageFolder
from hatnet.device import use_threads
from hatnet.training import loop
from hatnet.training.distributed import join
from hatnet.training.recipes import EXPECT, RECIPES, Recipe
from hatnet.training.shared_data import open_together, without_broken_files
from hatnet.training.signals import stoppable

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
    """Train a HAT-Net as a recipe says; every field of the recipe can be changed here.

    Ctrl-C ends it within a few steps, and loses nothing: the same command with --resume goes on. Under torchrun all
    processes train one model together.

    Args:
        recipe: what to do.
        out: folder of the run; where not given runs/DATA-VARIANT, with -tuned behind it where it starts from weights.
        resume: go on from the state in that folder, or start where there is none.
        data_dir: where data sets are kept.
        download: fetch the data set if it is not there.
        device: cpu, cuda, or one GPU such as cuda:1; where not given, the GPU if there is one, else the CPU.
        workers: processes that prepare images, for each process that trains.
        threads: of PyTorch on a CPU.
        save_every: seconds after which the state is saved within an epoch.
    """
    tuned = "" if recipe.weights is None else "-tuned"
    folder = out or Path("runs") / f"{Path(recipe.data.removeprefix('folder:')).name}-{recipe.variant}{tuned}"
    use_threads(threads)
    if workers is not None and workers < 0:
        raise ValueError(f"workers={workers} must not be negative")
    with join(default_device(device)) as world:
        data = open_together(recipe.data, data_dir, download, world)
        start = loop.prepare(recipe, data, folder, world, resume=resume)  # what can be refused at once
        if start.state is None:
            data = without_broken_files(data, data_dir, world, bar=progress)
        in_memory = not isinstance(data.train, ImageFolder)
        if workers is None:
            workers = 0 if in_memory and world.device.type == "cpu" else _processors_each()
        training = loop.Training(recipe, data, folder, world, resume=resume, workers=workers, save_every=save_every)
        watch = loop.Watch()
        if not world.first:
            with stoppable(watch):
                training.run(watch)
            return
        precision = str(training.precision).removeprefix("torch.")
        console.print(
            f"HAT-Net {recipe.variant.capitalize()} on {data.name}: {len(data.train):,} training and "
            f"{len(data.test):,} test images; {world.size} x {world.device}, {precision}\n"
            f"Everything goes to {folder.resolve()}"
        )
        if training.step:
            console.print(f"Going on after step {training.step:,} of {training.order.steps:,}")
        elif recipe.weights is not None:
            fresh = f", with a fresh classifier for {len(data.classes)} classes" if training.fresh_classifier else ""
            console.print(f"Starting from {recipe.weights}{fresh}")
        with stoppable(watch), _shown(watch, training.step, training.order.steps, recipe.epochs):
            history = training.run(watch)
    if training.step < training.order.steps:
        console.print(f"Stopped after step {training.step:,}; nothing is lost: the same command with --resume goes on.")
        raise KeyboardInterrupt
    console.print(
        f"[bold green]Done:[/] {100 * history[-1]['test_accuracy']:.2f} % of the test images are classified right. "
        f"[bold]hatnet evaluate {folder}[/] draws which ones."
    )


@contextmanager
def _shown(watch: loop.Watch, done: int, steps: int, epochs: int) -> Iterator[None]:
    """A progress bar, and a line an epoch."""
    columns = (MofNCompleteColumn(), TextColumn("{task.fields[facts]}"))
    with progress_bar(*columns, label=0, width=8, averaged_over=300) as bars:
        task = bars.add_task("step", total=steps, completed=done, facts="")

        def report(step: loop.Progress) -> None:
            facts = f"loss {step.loss:.3f} rate {step.learning_rate:.0e} {step.images_per_second:,.0f} images/s"
            bars.update(task, completed=step.step, facts=f"{facts} {step.memory_mb / 1000:.1f} GB")
            if step.evaluation is not None:
                console.print(
                    f"epoch {step.epoch + 1:>3} of {epochs}  training loss {step.loss:.4f}  "
                    f"test loss {step.evaluation.loss:.4f}  test accuracy {100 * step.evaluation.accuracy:.2f} %"
                )

        watch.report = report
        yield


def default_device(name: str | None) -> str:
    """The device asked for; the GPU if there is one, else the CPU, where none is."""
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def _processors_each() -> int:
    """Processors of this machine for each process on it."""
    return max(min(8, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))), 1)
