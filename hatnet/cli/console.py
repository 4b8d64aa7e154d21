"""What the commands print: progress bars and tables, with rich (extra `cli`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from hatnet.training.evaluation import Evaluation

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


def print_evaluation(evaluation: Evaluation, classes: tuple[str, ...]) -> None:
    """A row a class, worst first, with what it is most often taken for."""
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
    console.print(f"[bold]{100 * evaluation.accuracy:.2f} %[/] of {evaluation.images:,} images are classified right.")


def cell(value: int | tuple[int, ...] | None) -> str:
    """The text of a cell in a table.

    >>> cell((7, 7)), cell(3), cell(None)
    ('7x7', '3', '-')
    """
    if value is None:
        return "-"
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def format_duration(seconds: float) -> str:
    """A duration in words.

    >>> format_duration(75), format_duration(0.4)
    ('1 min 15 s', '1 s')
    """
    minutes, rest = divmod(max(round(seconds), 1), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
