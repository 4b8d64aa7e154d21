"""The command `hatnet ablation` (extras `cli` and `train`)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hatnet.cli.console import console, require_used
from hatnet.data import open_data
from hatnet.device import usable_device, use_threads
from hatnet.files import write_whole
from hatnet.studies.ablation import tables
from hatnet.studies.ablation.arms import MATCHED, check_arms
from hatnet.studies.ablation.measurement import Ablation, trainer
from hatnet.studies.ablation.record import DATA, Record, Settings, read
from hatnet.training import Monitor as Watch
from hatnet.training import Progress as TrainingProgress
from hatnet.training.signals import stoppable


def ablation(
    data: str = "fashion-subset",
    seeds: int = 3,
    epochs: int | None = None,
    arms: tuple[str, ...] = MATCHED,
    out: Path | None = None,
    data_dir: Path = Path("data"),
    download: bool = False,
    device: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    figure: Path | None = None,
    record: Path | None = None,
) -> None:
    """Train the same small network with other attention in the place of H-MHSA, at equal parameters and equal cost.

    Every arm is trained with every seed, all arms of one seed first. Ctrl-C ends it after a few steps and loses
    nothing: the same command goes on, and with more seeds or arms it does what is missing.

    Args:
        data: fashion-subset, fashion-mnist, cifar10 or cifar100.
        seeds: how many; 0, 1, 2 and so on.
        epochs: of one training; as the data set asks for where not given.
        arms: h-mhsa, local, global, mhsa, pvt, none, and h-mhsa with small-windows, large-windows, fine-cells or
            coarse-cells; the last four also with -own behind them, for MLPs as they are and their own cost.
        out: folder for the record, the runs, the tables and the figure; runs/ablation-DATA where not given.
        data_dir: where data sets are kept.
        download: fetch the data set if it is not there.
        device: cpu, cuda, or one GPU such as cuda:1; where not given, the GPU if there is one, else the CPU.
        workers: processes that prepare images.
        threads: of PyTorch on a CPU.
        figure: where else to draw it, an SVG.
        record: a kept record to print and draw instead of training.
    """
    given = dict(locals())
    if figure is not None and figure.suffix != ".svg":
        raise ValueError(f"the figure is an SVG: name it {figure.with_suffix('.svg').name}, not {figure.name}")
    if figure is not None and not figure.parent.is_dir():
        raise ValueError(f"no folder {figure.parent} to write {figure.name} to; create it first")
    if record is not None:
        require_used(ablation, given, used=("figure",))
        _show(read(record), figure)
        return
    if data not in DATA:
        Settings(data, 1)  # raises, and names the nearest
    settings = Settings(data, DATA[data].epochs if epochs is None else epochs)
    check_arms(arms)
    use_threads(threads)
    if workers is not None and workers < 0:
        raise ValueError(f"workers={workers} must not be negative")
    target = usable_device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if workers is None:
        workers = 0 if target.type == "cpu" else min(8, os.cpu_count() or 1)
    folder = out or Path("runs") / f"ablation-{data}"
    work = Ablation(settings, arms, seeds, folder, target)
    opened = open_data(data, data_dir, download)
    _require_writable(folder)
    console.print(
        f"{len(arms)} arms x {seeds} seeds on {settings.images.words}, {settings.epochs} epochs each, on {target}; "
        f"{len(work.missing)} runs to do\nEverything goes to {folder.resolve()}"
    )
    steps = settings.epochs * (len(opened.train) // settings.batch_size)
    with _watched(len(work.missing) * steps, steps) as (watch, next_run):
        done = work.run(trainer(settings, opened, target, workers), watch, next_run)
    if work.record.runs:
        _show(work.record, folder / "ablation.svg")
        write_whole(folder / "ablation.txt", tables.page(work.record).encode())
        if figure is not None:
            _draw(work.record, figure)
    if not done:
        console.print("Stopped; nothing is lost: the same command goes on.")
        raise KeyboardInterrupt


@contextmanager
def _watched(total: int, steps: int) -> Iterator[tuple[Watch, Callable[[str, int], None]]]:
    """A progress bar over all runs, a line a run, and a first Ctrl-C (or SIGTERM) that ends the work in order."""
    columns = (
        TextColumn("{task.description:22}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=600) as bars:
        task = bars.add_task("", total=total)
        begun = -1  # runs before this one

        def next_run(arm: str, seed: int) -> None:
            nonlocal begun
            begun += 1
            bars.update(
                task, description="timing" if arm == "times" else f"{arm}, seed {seed}", completed=begun * steps
            )

        def report(step: TrainingProgress) -> None:
            bars.update(task, completed=begun * steps + step.step)
            if step.evaluation is not None and step.step == step.steps:
                console.print(f"{bars.tasks[0].description:22} {100 * step.evaluation.accuracy:.2f} %")

        watch = Watch(report)

        with stoppable(watch):
            yield watch, next_run


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ValueError(f"can't write to the folder {folder}: {error}; give another --out") from error


def _show(record: Record, figure: Path | None) -> None:
    console.print(tables.networks(record).rich())
    if record.runs:
        console.print(tables.results(record).rich())
    for sentence in (*tables.findings(record), tables.facts(record)):
        console.print(sentence)
    if figure is not None and record.runs:
        _draw(record, figure)


def _draw(record: Record, figure: Path) -> None:
    from hatnet.studies.ablation.draw import draw_record, save

    save(draw_record(record), figure)
    console.print("The figure:")
    print(figure.resolve())  # plainly, so that a long path is not broken
