"""What the commands print: progress bars and tables, with rich (extra `cli`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from hatnet.complexity.summary import PAPER, Row, macs, peak, published_parameters, summarise
from hatnet.config import HATNetConfig
from hatnet.equivalence import Agreement, first_difference, worst

if TYPE_CHECKING:
    from hatnet.training.checkpoint_evaluation import CheckpointEvaluation

console = Console(highlight=False)


def require_used(command: Callable[..., None], given: Mapping[str, Any], used: Collection[str]) -> None:
    """Raise a ValueError for arguments that a command with `--record` ignores, where they are not the defaults."""
    known = signature(command).parameters
    ignored = [
        f"--{name.replace('_', '-')}"
        for name, value in given.items()
        if name not in ("record", *used) and value != known[name].default
    ]
    if ignored:
        raise ValueError(f"--record shows what is already measured, so {', '.join(ignored)} can't be given with it")


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[[str], None]]:
    """A bar that advances with each call of what it yields; `total` None where the length is not known."""
    columns = (
        TextColumn("{task.description:24}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(description, total=total)
        yield lambda _: bars.advance(task)
        done = int(bars.tasks[task].completed)
        bars.update(task, total=done, completed=done)


def print_agreement(agreements: list[Agreement], dtype: torch.dtype, tolerance: float) -> None:
    """A row a block, with the worst of its intermediates, and a sentence."""
    table = Table(title="Agreement of PyTorch with the NumPy reference", box=box.SIMPLE_HEAD)
    for column in ("stage", "block", "shape", "worst intermediate", "difference"):
        table.add_column(column, justify="left" if column == "worst intermediate" else "right", no_wrap=True)
    groups: dict[tuple[int | None, int | None, str], list[Agreement]] = {}
    for agreement in agreements:
        alone = agreement.what if agreement.block is None else ""  # outside blocks, a row each
        groups.setdefault((agreement.stage, agreement.block, alone), []).append(agreement)
    for (stage, block, alone), members in groups.items():
        if alone == "output":
            continue  # of a stage: the same array as its last block's
        row_worst = worst(members)
        table.add_row(
            _or_dash(stage),
            _or_dash(block),
            _by(members[-1].shape),
            row_worst.what,
            f"{row_worst.error:.1e}" if row_worst.error <= tolerance else f"[bold red]{row_worst.error:.1e} ![/]",
        )
    console.print(table)
    name, most, first = str(dtype).removeprefix("torch."), worst(agreements), first_difference(agreements, tolerance)
    if first is None:
        console.print(
            f"[bold green]They agree:[/] all {len(agreements)} intermediates to {most.error:.1e} "
            f"(limit for {name}: {tolerance:.0e})."
        )
    else:
        console.print(
            f"[bold red]They differ:[/] first at {first.name} by {first.error:.1e}, most at {most.name} "
            f"by {most.error:.1e} (limit for {name}: {tolerance:.0e})."
        )
    console.print("Differences are relative: max |PyTorch - NumPy| / max |NumPy|.")


def print_summary(config: HATNetConfig, height: int, width: int) -> None:
    """Two tables, a row a part: what the network is, and what one image costs; and the published figures."""
    rows = summarise(config, height, width)
    console.print(_architecture(rows, f"HAT-Net {config.name.capitalize()} at {height} x {width} pixels"))
    console.print(_costs(rows, "What one image costs: MACs in millions, MB in float32"))
    console.print("MACs without and with the products of attention, Q K^T and softmax V.")
    console.print("Inference: the most activations alive at once. Training: all that are kept.")
    if config.name in PAPER:
        parameters, flops = PAPER[config.name]
        without, together = macs(summarise(config))
        console.print(f"Paper, at 224 x 224: {parameters} M parameters, {flops} G FLOPs (MACs, as it counts).")
        console.print(f"Ours, at 224 x 224: {without / 1e9:.2f} G MACs without attention, {together / 1e9:.2f} G with.")
    published = published_parameters(config)
    if published is not None:
        console.print(f"{published:,} in the authors' file, which also holds proj_norm, used nowhere.")


def print_evaluation(result: CheckpointEvaluation) -> None:
    """One row per class, worst first, with the class that it is most often mistaken for; then the metrics in words."""
    evaluation, classes = result.evaluation, result.classes
    table = Table(title="Accuracy by class, worst first", box=box.SIMPLE_HEAD)
    for column in ("class", "images", "right", "most often taken for"):
        table.add_column(column, justify="right" if column in ("images", "right") else "left")
    confusion = evaluation.confusion
    for index in sorted(range(len(classes)), key=lambda index: evaluation.class_accuracy[index])[:30]:
        wrong = confusion[index].clone()
        wrong[index] = 0
        other = f"{classes[int(wrong.argmax())]} ({int(wrong.max())})" if wrong.any() else "-"
        right = f"{100 * evaluation.class_accuracy[index]:.1f} %"
        table.add_row(classes[index], str(int(confusion[index].sum())), right, other)
    console.print(table)
    for metric in result.task.metrics:
        if metric.sentence:
            value = f"[bold]{metric.text(metric.value(evaluation))}[/]"
            console.print(metric.sentence.format(value=value, images=f"{evaluation.images:,} images") + ".")


def _architecture(rows: list[Row], title: str) -> Table:
    table = _table(title, "part", "map", "C", "heads", "G1", "windows", "G2", "merged", "blocks", "parameters")
    for row in rows:
        layout = row.layout
        table.add_row(
            row.part,
            _by(layout.map if layout else None),
            _or_dash(row.channels),
            _or_dash(row.heads),
            _or_dash(row.grid_size),
            _by(layout.windows if layout else None),
            _or_dash(row.pool_size),
            _by(layout.merged if layout else None),
            _or_dash(row.blocks),
            f"{row.parameters:,}",
        )
    table.add_section()
    table.add_row("total", *[""] * 8, f"{sum(row.parameters for row in rows):,}")
    return table


def _costs(rows: list[Row], title: str) -> Table:
    table = _table(title, "part", "MACs without", "MACs with", "inference", "training")
    for row in rows:
        table.add_row(
            row.part,
            _millions(row.macs),
            _millions(row.macs + row.attention_macs),
            "-" if row.live is None else _megabytes(row.live),
            _megabytes(row.saved),
        )
    table.add_section()
    memory = _megabytes(peak(rows)), _megabytes(sum(row.saved for row in rows))
    table.add_row("total, or most", *map(_millions, macs(rows)), *memory)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "part" else "right", no_wrap=True)
    return table


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f}"


def _megabytes(elements: int) -> str:
    return f"{elements * 4 / 1e6:,.1f}"


def _by(sizes: tuple[int, ...] | None) -> str:
    return "-" if sizes is None else "x".join(map(str, sizes))


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)


def format_duration(seconds: float) -> str:
    """A duration in words.

    >>> format_duration(75), format_duration(0.4)
    ('1 min 15 s', '1 s')
    """
    minutes, rest = divmod(max(round(seconds), 1), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
