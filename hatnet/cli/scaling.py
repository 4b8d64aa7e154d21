"""The command `hatnet scaling`: its options, its progress bar and its output (extra `studies`)."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import TaskProgressColumn

from hatnet.cli.console import console, format_duration, print_path, progress_bar
from hatnet.cli.output_files import require_writable
from hatnet.cli.study import reading, require_figure, require_used, save_figure, show
from hatnet.device import usable_device
from hatnet.maps.memory import memory_limit
from hatnet.studies.scaling import Record, Settings, measure, read, tables, write
from hatnet.studies.scaling.measurement import OnProgress


def scaling(
    settings: Annotated[Settings, tyro.conf.arg(name="")],
    memory: float | None = None,
    out: Path | None = None,
    figure: Path | None = None,
    record: Path | None = None,
) -> None:
    """Time attention modules against each other over image sizes, and compare the times with the formulas.

    Ctrl-C stops early; the times measured until then are still written, printed and drawn.

    Args:
        settings: what to measure, and how.
        memory: GiB that may be used; by default nine tenths of the free memory.
        out: file for the record; by default scaling-DATE.json.
        figure: SVG file for a figure.
        record: print and draw this kept record instead of measuring.
    """
    given = dict(locals())
    path = out or Path(f"scaling-{datetime.now():%Y-%m-%d-%H%M%S}.json")
    require_writable("--out", path, "scaling.json")
    require_figure(figure, "scaling.svg")
    if record is not None:
        require_used(scaling, given, used=("figure",))
        with reading(record):
            _show(read(record), figure)
        return
    limit = None if memory is None else memory_limit(memory)
    usable_device(settings.device)
    console.print(
        f"{len(settings.modules)} modules at {len(settings.sizes)} sizes in {settings.dtype} on {settings.device}: "
        f"C = {settings.C}, heads {settings.head_count}, {settings.stride} pixels per token"
    )

    def save(found: Record) -> None:
        if _has_times(found):
            write(found, path)

    with _progress() as on_progress:
        found = measure(settings, limit, on_progress, save)
    _report(found, path, figure)


def _has_times(record: Record) -> bool:
    return any(point.seconds for point in record.points)


def _report(found: Record, path: Path, figure: Path | None) -> None:
    """Print the results. Raises KeyboardInterrupt, for the exit status, if Ctrl-C stopped the measurement."""
    if _has_times(found):
        _show(found, figure)
        console.print("The record holds every individual timing:")
        print_path(path)
    elif found.complete:
        show((), _refusals(found))
        console.print("Nothing was measured: every module was refused at every size.")
    if not found.complete:
        console.print("Stopped by Ctrl-C; the results above are those measured until then.")
        raise KeyboardInterrupt


def _show(record: Record, figure: Path | None) -> None:
    sentences = (*tables.findings(record), tables.facts(record), *_refusals(record))
    show((*tables.times(record).split(), tables.growth(record), tables.comparisons(record)), sentences)
    if figure is not None:
        from hatnet.studies.scaling.draw import draw_record

        save_figure(draw_record(record), figure)


def _refusals(record: Record) -> list[str]:
    return [f"Left out: {reason}" for reason in tables.refusals(record)]


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """A bar over the expected seconds: sizes differ a thousandfold, so a count of timings would mislead."""
    with progress_bar(TaskProgressColumn(), label=32, width=20) as bars:
        task = bars.add_task("warm-up", total=None)

        def on_progress(description: str, done: float, expected: float | None) -> None:
            if expected is not None and bars.tasks[0].total is None:
                bars.console.print(f"Expected time: {format_duration(expected)}")
                bars.reset(task, total=expected)
            bars.update(task, description=description, completed=done)

        yield on_progress
