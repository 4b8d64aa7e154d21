"""The command `hatnet bench`: its options, its progress bar and its output (extra `bench`)."""

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
from hatnet.studies.bench import Record, Settings, measure, read, tables, write
from hatnet.studies.bench.measurement import OnProgress
from hatnet.studies.bench.requirements import require_machine


def bench(
    settings: Annotated[Settings, tyro.conf.arg(name="")],
    out: Path | None = None,
    figure: Path | None = None,
    record: Path | None = None,
) -> None:
    """Time whole networks: HAT-Net, the authors' formulation of it, and related networks from timm.

    Ctrl-C stops early; the times measured until then are still written, printed and drawn.

    Args:
        settings: what to measure, and how.
        out: file for the record; by default bench-DATE.json.
        figure: SVG file for a figure, accuracy against throughput. The rooflines go to NAME-roofline.svg beside it.
        record: print and draw this kept record instead of measuring.
    """
    given = dict(locals())
    path = out or Path(f"bench-{datetime.now():%Y-%m-%d-%H%M%S}.json")
    require_writable("--out", path, "bench.json")
    for each in (figure, _beside(figure)):
        require_figure(each, "bench.svg")
    if record is not None:
        require_used(bench, given, used=("figure",))
        with reading(record):
            _show(read(record), figure)
        return
    usable_device(settings.device)
    require_machine(settings)
    layouts = ", ".join(map(str, settings.candidates()))
    console.print(
        f"{len(settings.networks)} networks, {'training' if settings.training else 'inference'}, "
        f"{'compiled' if settings.compile else 'eager'}, {settings.dtype} on {settings.device}: "
        f"batch {settings.batch}, {settings.size} pixels, layouts {layouts}"
    )

    def save(found: Record) -> None:
        if _has_times(found):
            write(found, path)

    with _progress() as on_progress:
        found = measure(settings, on_progress, save)
    _report(found, path, figure)


def _beside(figure: Path | None) -> Path | None:
    """The file for the rooflines."""
    return None if figure is None else figure.with_name(f"{figure.stem}-roofline{figure.suffix}")


def _has_times(record: Record) -> bool:
    return any(visit.batches or visit.latencies for visit in record.visits)


def _report(found: Record, path: Path, figure: Path | None) -> None:
    """Print the results. Raises KeyboardInterrupt, for the exit status, if Ctrl-C stopped the measurement."""
    if _has_times(found):
        _show(found, figure)
        console.print("The record holds every individual timing:")
        print_path(path)
    elif found.complete:
        show((), _refusals(found))
        raise ValueError("nothing was measured: every network failed")
    if not found.complete:
        console.print("Stopped by Ctrl-C; the results above are those measured until then.")
        raise KeyboardInterrupt


def _show(record: Record, figure: Path | None) -> None:
    rooflines = tables.rooflines(record)
    shown = (tables.layouts(record), *map(tables.parts, rooflines), tables.peaks(record), tables.results(record))
    show(shown, (*tables.findings(record), tables.facts(record), *_refusals(record)))
    if figure is not None:
        from hatnet.studies.bench.draw import draw_accuracy, draw_rooflines

        save_figure(draw_accuracy(record), figure)
        beside = _beside(figure)
        if rooflines and beside is not None:
            save_figure(draw_rooflines(record), beside)


def _refusals(record: Record) -> list[str]:
    return [f"Left out: {reason}" for reason in tables.refusals(record)]


@contextmanager
def _progress() -> Iterator[OnProgress]:
    """A bar over the expected seconds, which become more exact as the visits go on."""
    with progress_bar(TaskProgressColumn(), label=36, width=16) as bars:
        task = bars.add_task("start", total=None)

        def on_progress(description: str, done: float, expected: float) -> None:
            if bars.tasks[0].total is None:
                bars.console.print(f"Expected time: about {format_duration(expected)}")
            bars.update(task, description=description, total=expected, completed=done)

        yield on_progress
