"""The command `hatnet ablation` (extra `studies`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.progress import TaskProgressColumn

from hatnet.checks import require_whole
from hatnet.cli.console import console, progress_bar
from hatnet.cli.output_files import run_folder
from hatnet.cli.study import reading, require_figure, require_used, save_figure, show
from hatnet.cli.train import default_workers
from hatnet.data import Split, open_data
from hatnet.device import default_device, usable_device, use_threads
from hatnet.files import write_whole
from hatnet.studies.ablation import tables
from hatnet.studies.ablation.questions import open_question
from hatnet.studies.ablation.record import Record, Settings, read
from hatnet.studies.ablation.runs import Ablation, OnRun, trainer
from hatnet.training import Monitor, Progress
from hatnet.training.batches import MOST_WORKERS
from hatnet.training.progress import stoppable
from hatnet.training.task import Metric


def ablation(
    data: str = "fashion-subset",
    seeds: int = 3,
    epochs: int | None = None,
    arms: tuple[str, ...] | None = None,
    out: Path | None = None,
    data_dir: Path = Path("data"),
    download: bool = False,
    device: str | None = None,
    workers: int | None = None,
    threads: int | None = None,
    figure: Path | None = None,
    record: Path | None = None,
) -> None:
    """Train the same small network with other attention instead of H-MHSA, at equal parameters and equal cost.

    Every arm is trained with every seed, all arms of one seed first. Ctrl-C stops after a few steps and loses nothing:
    the same command resumes. With more seeds or arms it runs those that are missing.

    Args:
        data: fashion-subset, fashion-mnist, cifar10 or cifar100; or question-near, question-far or question-both.
        seeds: number of seeds: 0, 1, 2 and so on.
        epochs: epochs of each training; where not given, 2, 20, 40 and 40 for these data sets, and 1 for a question.
        arms: h-mhsa, local, global, mhsa, pvt, none, and h-mhsa with small-windows, large-windows, fine-cells or
            coarse-cells; where not given, all of them, and for a question h-mhsa, local, global, pvt and none. Add -own
            to all but h-mhsa for unchanged MLPs at their own cost.
        out: folder for the record, the runs, the tables and the figure; runs/ablation-DATA where not given.
        data_dir: folder of the data sets.
        download: download the data set if it is missing.
        device: cpu, cuda, or one GPU such as cuda:1; where not given, the GPU if there is one, else the CPU.
        workers: number of processes that prepare images.
        threads: number of CPU threads of PyTorch.
        figure: a second file for the figure, an SVG.
        record: a kept record to print and draw instead of training.
    """
    given = dict(locals())
    require_figure(figure, "ablation.svg")
    if record is not None:
        require_used(ablation, given, used=("figure",))
        with reading(record):
            _show(read(record), figure)
        return
    settings = Settings.of(data, epochs)
    question = settings.data_set.question
    use_threads(threads)
    chosen_device = usable_device(default_device(device))
    require_whole("workers", workers or 0, 0, MOST_WORKERS)
    folder = run_folder(out or Path("runs") / f"ablation-{data}")
    work = Ablation(settings, settings.data_set.arms if arms is None else arms, seeds, folder, chosen_device)
    opened = open_question(question) if question else open_data(data, data_dir, download)
    workers = default_workers(opened, chosen_device) if workers is None else workers
    folder.mkdir(parents=True, exist_ok=True)
    monitor = Monitor()
    done = _run(work, opened, workers, monitor)
    if work.record.runs:
        write_whole(work.folder / "ablation.txt", tables.page(work.record).encode())
        _show(work.record, work.folder / "ablation.svg", figure)
    if not done:
        console.print("Stopped; nothing is lost. The same command resumes.")
        raise monitor.interruption()


def _run(work: Ablation, data: Split, workers: int, monitor: Monitor) -> bool:
    """Do all runs that are missing. Returns True if everything is done."""
    settings, missing = work.settings, len(work.missing)
    console.print(
        f"{len(work.arms)} arms x {work.seeds} seeds on {settings.data_set.title}, "
        f"{settings.epochs} epoch{'s' * (settings.epochs > 1)} each, "
        f"on {work.device}; {missing} runs to do\nResults folder: {work.folder.resolve()}"
    )
    steps = settings.epochs * (len(data.train) // settings.batch_size)
    with _progress(monitor, missing, steps, settings.task.selection) as on_run:
        return work.run(trainer(settings, data, work.device, workers), monitor, on_run)


@contextmanager
def _progress(monitor: Monitor, runs: int, steps: int, metric: Metric) -> Iterator[OnRun]:
    """A progress bar over all runs, and a line per finished run. The first Ctrl-C or SIGTERM stops the work cleanly."""
    with progress_bar(TaskProgressColumn(), label=22, width=20, averaged_over=600) as bars:
        task = bars.add_task("", total=runs * steps)
        finished = -1  # runs before the present one

        def on_run(arm: str, seed: int) -> None:
            nonlocal finished
            finished += 1
            description = "timing" if arm == "times" else f"{arm}, seed {seed}"
            bars.update(task, description=description, completed=finished * steps)

        def on_step(step: Progress) -> None:
            bars.update(task, completed=finished * steps + step.step)
            if step.evaluation is not None and step.step == step.steps:
                console.print(f"{bars.tasks[0].description:22} {metric.text(metric.value(step.evaluation))}")

        def on_part(what: str, done: float, _: int) -> None:
            if what == "training":
                bars.update(task, completed=finished * steps + done)

        monitor.report, monitor.part = on_step, on_part
        with stoppable(monitor):
            yield on_run


def _show(record: Record, *figures: Path | None) -> None:
    """Print the results, and write the figure if at least one run is finished."""
    show((tables.networks(record), tables.results(record)), (*tables.findings(record), tables.facts(record)))
    for figure in figures:
        if figure is not None and record.runs:
            from hatnet.studies.ablation.draw import draw_record

            save_figure(draw_record(record), figure)
