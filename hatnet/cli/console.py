"""Output of the commands: progress bars and tables, with rich (extra `cli`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

console = Console(highlight=False)


def printable(text: str) -> str:
    """The text without what a terminal cannot encode: names of files may be any bytes."""
    return text.encode("utf-8", "replace").decode()


def print_path(path: Path) -> None:
    """Print where a file is, without rich, which would break a long path."""
    print(printable(str(path.resolve())))


def plain(text: str) -> str:
    """The text for `console.print`, which would read [b] in a name as bold."""
    return escape(printable(text))


FIRST_LINE, LATER_LINES = 10.0, 60.0  # seconds, where no bar can move


class Bars(Progress):
    """Progress bars. In a pipe or a log file, where no bar can move, they print a line now and then instead."""

    def start(self) -> None:
        super().start()
        self._ended, self._writer = Event(), Thread(target=self._write_lines, daemon=True)
        if not self.console.is_interactive:
            self._writer.start()

    def stop(self) -> None:
        self._ended.set()
        if self._writer.is_alive():
            self._writer.join()
        super().stop()

    def _write_lines(self) -> None:
        wait = FIRST_LINE
        while not self._ended.wait(wait):
            wait = LATER_LINES
            for task in self.tasks:
                if task.visible and not task.finished:
                    self.console.print(task_line(task), markup=False, soft_wrap=True)


def task_line(task: Task) -> str:
    """The state of a task in one line."""
    done = f"{task.completed:,.0f}" + ("" if task.total is None else f" of {task.total:,.0f}")
    facts = [part for part in (f"{task.description} {done}".strip(), task.fields.get("facts")) if part]
    return f"{', '.join(facts)}, after {format_duration(task.elapsed or 0)}"


def progress_bar(*middle: ProgressColumn, label: int = 24, width: int = 40, averaged_over: float = 30.0) -> Bars:
    """A label and a bar of these widths in characters, columns, and times by the speed of the last seconds.

    A spinner and the elapsed time move even if nothing else does.
    """
    before = (TextColumn(f"{{task.description:{label}}}"),) if label else ()
    columns = (SpinnerColumn(), *before, BarColumn(width), *middle, TimeElapsedColumn(), TimeRemainingColumn())
    return Bars(*columns, console=console, speed_estimate_period=averaged_over)


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Callable[[str], None]]:
    """A bar that advances by one with each call of the function it yields; `total` is None if it is unknown.

    Without a single call it disappears at the end.
    """
    with progress_bar(MofNCompleteColumn()) as bars:
        task = bars.add_task(description, total=total)
        yield lambda _: bars.advance(task)
        done = int(bars.tasks[task].completed)
        bars.update(task, total=done, completed=done, visible=done > 0)


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
