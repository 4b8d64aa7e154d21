"""The command `hatnet train` (extras `cli` and `train`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from inspect import Signature, signature
from math import inf
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import torch
import tyro
from rich import box
from rich.progress import MofNCompleteColumn, TextColumn
from rich.table import Table

from hatnet.cli.console import console, plain, print_path, progress, progress_bar
from hatnet.cli.output_files import run_folder
from hatnet.data import ImageFolder, Split, absolute
from hatnet.device import default_device, use_threads
from hatnet.training import Monitor, Progress, Training
from hatnet.training.distributed import join
from hatnet.training.progress import stoppable
from hatnet.training.recipes import EXPECT, RECIPES, Recipe
from hatnet.training.run_folder import RunFolder
from hatnet.training.several_seeds import seed_runs, spread, write_seeds
from hatnet.training.shared_data import open_shared_data, without_broken_files
from hatnet.training.task import Metric, Row, words_of
from hatnet.training.tasks import task_of
from hatnet.training.tensorboard import TensorBoardLog, require_tensorboard
from hatnet.training.trained_weights import find_weights

if TYPE_CHECKING:
    AnyRecipe = Recipe
else:
    AnyRecipe = tyro.extras.subcommand_type_from_defaults(RECIPES, EXPECT, prefix_names=False)


def train(
    recipe: Annotated[AnyRecipe, tyro.conf.arg(name="")],
    out: Path | None = None,
    seeds: tuple[int, ...] = (),
    resume: bool = False,
    data_dir: Path = Path("data"),
    download: bool = False,
    device: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    save_every: float = 60.0,
    tensorboard: bool = False,
) -> None:
    """Train a HAT-Net by a recipe. Every field of the recipe can be changed here.

    `hatnet recipes` lists the recipes. `--recipe FILE` instead of a name reads one from a file, or from the folder of a
    run, to repeat it.

    Ctrl-C stops within a few steps and loses nothing: the same command with --resume continues. Under torchrun all
    processes train one model together.

    Args:
        recipe: the settings to start from.
        out: folder of the run; by default runs/DATA-VARIANT-seed-SEED, with the task before the seed if it is not
            classification, and with -tuned if the run starts from weights.
        seeds: train once with each of these seeds, and report the mean and the spread. -seed-SEED is added to the
            folder's name.
        resume: continue from the state in the run's folder, or start if there is none.
        data_dir: folder for data sets.
        download: fetch the data set if it is missing.
        device: cpu, cuda, or one GPU such as cuda:1; by default the GPU if there is one, else the CPU.
        workers: processes that prepare images, per training process.
        threads: threads of PyTorch on a CPU. By default a resumed run keeps its number.
        save_every: seconds between saves of the state within an epoch.
        tensorboard: also write the progress for TensorBoard, into the run's folder (package tensorboard).
    """
    if not 0 < save_every < inf:
        raise ValueError(f"save_every={save_every} must be a number of seconds above 0")
    if tensorboard:
        require_tensorboard()
    use_threads(threads)
    base = run_folder(out or default_folder(recipe))
    runs = {base: recipe} if out and not seeds else seed_runs(recipe, seeds or (recipe.seed,), base)
    for folder in runs:
        if seeds:
            RunFolder(run_folder(folder), task_of(recipe)).require_new(resume)
        resumed = resume and RunFolder(folder, task_of(recipe)).state.exists()
        if recipe.weights is not None and _given("--variant") and not resumed:
            _require_variant(recipe)
    results: dict[int, Row] = {}
    with join(default_device(device)) as processes:
        data = open_shared_data(recipe.data, data_dir, download, processes, recipe.task)
        last = [*runs][-1]
        for folder, seeded in runs.items():
            training = Training(
                seeded, data, folder, processes, resume=resume, save_every=save_every, threads=threads,
                clean=lambda data: without_broken_files(data, data_dir, processes, bar=progress),
                workers=default_workers(data, processes.device) if workers is None else workers,
            )  # fmt: skip
            _run(training, folder, tensorboard, more=folder != last)
            results[seeded.seed] = training.result
        if seeds and processes.is_first:
            metrics = shown_metrics(training)
            _print_seeds(results, metrics, write_seeds(results, metrics, recipe, base))


def start_from(recipe: Recipe) -> Callable[..., None]:
    """The command `train` with this recipe as default, without the choice of a built-in one."""

    def command(**given: Any) -> None:
        train(**given)

    hints = get_type_hints(train, include_extras=True) | {"recipe": Annotated[Recipe, tyro.conf.arg(name="")]}
    parameters = dict(signature(train).parameters)
    parameters["recipe"] = parameters["recipe"].replace(default=recipe)
    command.__name__, command.__doc__, command.__annotations__ = train.__name__, train.__doc__, hints
    command.__signature__ = Signature(list(parameters.values()))  # type: ignore[attr-defined]
    return command


def default_folder(recipe: Recipe) -> Path:
    """The default folder of a run, without the seed."""
    task = "" if recipe.task == "classification" else f"-{recipe.task}"
    tuned = "" if recipe.weights is None else "-tuned"
    return (
        Path("runs")
        / f"{Path(absolute(recipe.data).partition(':')[2] or recipe.data).name}-{recipe.variant}{task}{tuned}"
    )


def _given(option: str) -> bool:
    """True if the option is on the command line, even with its default value."""
    return any(word == option or word.startswith(f"{option}=") for word in sys.argv)


def _require_variant(recipe: Recipe) -> None:
    """Raise a ValueError if the weights are those of another variant."""
    assert recipe.weights is not None
    own = find_weights(recipe.weights).model.config.name
    if own != recipe.variant:
        raise ValueError(f"{recipe.weights} holds {own!r}, not {recipe.variant!r}; leave --variant out")


def _run(training: Training, folder: Path, tensorboard: bool, more: bool) -> None:
    """Train to the end. If a signal stops the run, raise KeyboardInterrupt, which sets the exit status.

    With `more` runs to come, so does a signal after the last step, during the last test.
    """
    monitor, first = Monitor(), training.processes.is_first
    log = TensorBoardLog(training, folder / "tensorboard") if tensorboard and first else None
    if first:
        _print_start(training, folder)
    try:
        with stoppable(monitor), _shown(monitor, training, log) if first else nullcontext():
            training.run(monitor)
    finally:
        if log is not None:
            log.close()
    if first:
        _print_end(training, folder)
    if training.step < training.steps or (more and training.processes.any(monitor.stop)):
        raise monitor.interruption()


def default_workers(data: Split, device: torch.device) -> int:
    """0 for images in memory on a CPU, else this machine's processors per training process, from 1 to 8."""
    if device.type == "cpu" and not isinstance(data.train, ImageFolder):
        return 0
    return max(min(8, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))), 1)


def _print_start(training: Training, folder: Path) -> None:
    data, processes, name = training.data, training.processes, training.model.config.name
    *others, last = (f"{len(images):,} {part}" for part, images in data.parts.items())
    precision = str(training.precision).removeprefix("torch.")
    threads = _threads_text(training) if processes.device.type == "cpu" else ""
    console.print(
        f"HAT-Net {name.capitalize()} on {data.name}: {', '.join(others)} and {last} images; "
        f"{processes.size} x {processes.device}{threads}, {precision}\n"
        f"Everything goes to {plain(str(folder.resolve()))}"
    )
    if training.step:
        console.print(f"Resuming after step {training.step:,} of {training.steps:,}")
        return
    measure = training.task.selection.name.replace("_", " ")
    if data.validation is None:
        console.print(
            f"There is no validation part, so the test images choose best.safetensors, whose {measure} is then too "
            "optimistic (--validation 0.1 splits off a part)."
        )
    if training.recipe.weights is not None:
        console.print(f"Starting from {plain(training.recipe.weights)}")
    for line in training.start.lines:
        console.print(plain(line))


def _threads_text(training: Training) -> str:
    """The number of threads, and the previous number if a resumed run changes it."""
    threads, state = torch.get_num_threads(), training.start.state
    before = threads if state is None else state.threads.get("threads per process", threads)
    words = f" with {threads} thread{'s' * (threads > 1)}"
    return words if threads == before else f"{words} ({before} until now, so the last digits will differ)"


def _print_end(training: Training, folder: Path) -> None:
    if training.step < training.steps:
        console.print(
            f"Stopped after step {training.step:,}; nothing is lost: the same command with --resume continues."
        )
        return
    metric = training.task.selection
    shows = "shows the mistakes" if training.task.kind == "classification" else "shows every class"
    by = " by best.safetensors, which the validation images chose" if training.tested else ""
    sentence = metric.sentence.format(value=metric.text(training.result[metric.column()]), images="the test images")
    console.print(f"[bold green]Done:[/] {sentence}{by}. [bold]hatnet evaluate {plain(str(folder))}[/] {shows}.")


def shown_metrics(training: Training) -> list[Metric]:
    """The metrics in the result of a run."""
    return [metric for metric in training.task.metrics if metric.column() in training.result]


def _print_seeds(results: dict[int, Row], metrics: Sequence[Metric], path: Path) -> None:
    """One row per seed, then the mean and the spread."""
    table = Table(title="Result of every seed on the test images", box=box.SIMPLE_HEAD)
    for column in ("seed", *(metric.name for metric in metrics)):
        table.add_column(column, justify="right")
    columns = {metric: [row[metric.column()] for row in results.values()] for metric in metrics}
    for index, seed in enumerate(results):
        table.add_row(str(seed), *(metric.text(values[index]) for metric, values in columns.items()))
    table.add_section()
    table.add_row("mean", *(metric.text(fmean(values)) for metric, values in columns.items()))
    spreads = {metric: spread(values) for metric, values in columns.items()}
    cells = ("-" if value is None else metric.text(value) for metric, value in spreads.items())
    table.add_row("spread", *cells)
    console.print(table)
    console.print("The spread is the sample standard deviation (n - 1). The record:")
    print_path(path)


@contextmanager
def _shown(monitor: Monitor, training: Training, log: TensorBoardLog | None) -> Iterator[None]:
    """A progress bar, which moves with every slice of a batch, and one line per epoch."""
    columns = (MofNCompleteColumn(), TextColumn("{task.fields[facts]}"))
    share, facts = training.learner.share, "computing the first step"
    with progress_bar(*columns, label=0, width=8, averaged_over=300) as bars:
        bar = bars.add_task("step", total=training.steps, completed=training.step, facts=facts)

        def part(what: str, done: float, total: int) -> None:
            if what == "testing":
                bars.update(bar, facts=f"testing: {done:,.0f} of {total:,} batches")
            else:
                slices = f", slice {round(done % 1 * share) + 1} of {share}" if share > 1 else ""
                bars.update(bar, completed=done, facts=facts + slices)

        def report(now: Progress) -> None:
            nonlocal facts
            facts = f"loss {now.loss:.3f} rate {now.learning_rate:.0e} {now.images_per_second:,.0f} images/s"
            facts += f" {now.memory_mb / 1000:.1f} GB"
            bars.update(bar, completed=now.step, facts=facts)
            if log is not None:
                log.write(now)
            if now.evaluation is not None:
                console.print(
                    f"epoch {now.epoch + 1:>3} of {training.recipe.epochs}  training loss {now.loss:.4f}  "
                    + words_of(training.task, training.history[-1], training.folder.part)
                )

        monitor.part, monitor.report = part, report
        yield
