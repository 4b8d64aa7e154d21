"""The command `hatnet scaling`: its arguments, its progress bar and what it prints (extra `cli`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from hatnet.cli.console import console, format_duration, require_used
from hatnet.config import VARIANTS
from hatnet.device import usable_device
from hatnet.studies.scaling import tables
from hatnet.studies.scaling.measurement import Watch, measure
from hatnet.studies.scaling.modules import DIVISORS, NAMES
from hatnet.studies.scaling.record import Record, Settings, read, write


def scaling(
    modules: tuple[str, ...] = NAMES,
    sizes: tuple[int, ...] = (224, 320, 448, 640, 896, 1280, 2048),
    stage: int = 0,
    channels: int | None = None,
    heads: int | None = None,
    batch: int = 1,
    device: str = "cpu",
    dtype: Literal["float64", "float32", "bfloat16", "float16"] = "float32",
    backward: bool = False,
    attention: Literal["fused", "explicit"] = "fused",
    clock: Literal["wall", "cpu"] = "wall",
    rounds: int = 7,
    longest: float = 10.0,
    memory: float | None = None,
    threads: int = 1,
    seed: int = 0,
    out: Path | None = None,
    figure: Path | None = None,
    record: Path | None = None,
) -> None:
    """Time attention modules against each other over image sizes, and hold the times against the formulas.

    Ctrl-C ends it early: what has been measured is written, printed and drawn all the same.

    Args:
        modules: which to measure: mhsa, h-mhsa, h-mhsa-dense, swin, pvt, pvt-v2, twins; mhsa is plain attention.
        sizes: sides of square images in pixels, 32 to 4096.
        stage: 0, 1 or 2, as the code counts: gives the pixels of a token (4, 8, 16), G1, G2 and the relatives' sizes.
        channels: C; those of HAT-Net Small at that stage where not given.
        heads: number of heads; one a 64 channels where not given, as in HAT-Net Small.
        batch: images in a batch.
        device: where to measure, such as cpu or cuda.
        dtype: what to compute in.
        backward: whether to time forward and backward rather than forward alone.
        attention: by PyTorch's fused kernels, or explicit, with all scores in memory.
        clock: wall, or cpu: the processor's time for one thread, which leaves out waiting for other programs.
        rounds: how often each module is timed at each size.
        longest: seconds of one call, above which a size is left out.
        memory: GiB that may be used; nine tenths of what is free where not given.
        threads: of the CPU.
        seed: of the order in which things are measured, and of inputs and weights.
        out: where the record goes; scaling-DATE.json where not given.
        figure: where to draw it, an SVG.
        record: a kept record to print and draw instead of measuring.
    """
    given = dict(locals())
    for path, default in ((out, "scaling.json"), (figure, "scaling.svg")):
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"no folder {path.parent} to write {path.name} to; create it first")
        if path is not None and path.is_dir():
            raise ValueError(f"{path} is a folder; give a file name, such as {path / default}")
    if figure is not None and find_spec("matplotlib") is None:
        raise ValueError("a figure needs matplotlib: python -m pip install 'hatnet[docs]'")
    if figure is not None and figure.suffix != ".svg":
        raise ValueError(f"the figure is an SVG: name it {figure.with_suffix('.svg').name}, not {figure.name}")
    if record is not None:
        require_used(scaling, given, used=("figure",))
        _show(read(record), figure)
        return
    if memory is not None and not memory > 0:
        raise ValueError(f"memory={memory!r} must be a number of GiB above 0")
    if not 0 <= stage < len(DIVISORS):  # before it picks channels
        raise ValueError(f"stage={stage!r} must be a whole number from 0 to {len(DIVISORS) - 1}")
    small = VARIANTS["small"].stages[stage]
    C = small.channels if channels is None else channels
    if heads is None:
        heads = max(C // 64, 1)
    settings = Settings(
        tuple(modules), tuple(sizes), stage, C, heads, batch, device, dtype, backward, attention, clock, rounds,
        longest, threads, seed,
    )  # fmt: skip
    usable_device(device)
    path = out or Path(f"scaling-{datetime.now():%Y-%m-%d-%H%M%S}.json")
    console.print(
        f"{len(settings.modules)} modules at {len(settings.sizes)} sizes in {dtype} on {device}: "
        f"C = {C}, heads {heads}, {settings.stride} pixels a token"
    )

    def keep(found: Record) -> None:
        if any(point.seconds for point in found.points):
            write(found, path)

    with progress() as watch:
        found = measure(settings, None if memory is None else int(memory * 2**30), watch, keep)
    if any(point.seconds for point in found.points):
        _show(found, figure)
        console.print("Every single time is in the record:")
        print(path.resolve())  # plainly, so that a long path is not broken
    elif found.complete:
        _show_refusals(found)
        console.print("Nothing was measured: everything was refused.")
    if not found.complete:
        console.print("Stopped by Ctrl-C; what was measured up to there is above.")
        raise KeyboardInterrupt


@contextmanager
def progress() -> Iterator[Watch]:
    """A bar over the expected seconds, so that what remains is told rightly though sizes differ a thousandfold."""
    columns = (
        TextColumn("{task.description:32}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    told = False
    with Progress(*columns, console=console) as bars:
        task = bars.add_task("warm-up", total=None)

        def watch(what: str, done: float, expected: float | None) -> None:
            nonlocal told
            if expected is not None and not told:
                told = True
                bars.console.print(f"Expected time: {format_duration(expected)}")
                bars.reset(task, total=expected)
            bars.update(task, description=what, completed=done)

        yield watch


def _show(record: Record, figure: Path | None) -> None:
    for grid in (tables.times(record), tables.growth(record), tables.duels(record)):
        if grid.rows:
            console.print(grid.rich())
    for sentence in (*tables.findings(record), tables.facts(record)):
        console.print(sentence)
    _show_refusals(record)
    if figure is not None:
        from hatnet.studies.common.drawing import save
        from hatnet.studies.scaling.draw import draw_record

        save(draw_record(record), figure)
        console.print("The figure:")
        print(figure.resolve())


def _show_refusals(record: Record) -> None:
    for reason in tables.refusals(record):
        console.print(f"Left out: {reason}")
