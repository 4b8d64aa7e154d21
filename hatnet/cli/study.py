"""Shared by the commands of the studies: checks of their options, and the output of results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hatnet.cli.console import console, print_path
from hatnet.cli.output_files import require_writable
from hatnet.studies.common.table import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_used(command: Callable[..., None], given: Mapping[str, Any], used: Collection[str]) -> None:
    """Raise a ValueError for arguments `given` to `command` that it ignores with `--record`: all but those `used`."""
    defaults = {name: parameter.default for name, parameter in signature(command).parameters.items()}
    values = dict(given)
    for settings in [value for value in given.values() if is_dataclass(value)]:  # their fields are options, too
        defaults |= {field.name: field.default for field in fields(settings)}
        values |= vars(settings)
    ignored = [
        f"--{name.replace('_', '-')}"
        for name, value in values.items()
        if name not in ("record", *used) and not is_dataclass(value) and value != defaults[name]
    ]
    if ignored:
        raise ValueError(f"--record shows what is already measured, so {', '.join(ignored)} can't be given with it")


@contextmanager
def reading(record: Path) -> Iterator[None]:
    """Raise a ValueError if a kept record cannot be shown: its entries have the right types, but contradict each other.

    Such a record was changed by hand. Lookups and sums then fail in any way.
    """
    try:
        yield
    except (LookupError, ArithmeticError, TypeError, AttributeError, RuntimeError) as error:
        cause = f"{type(error).__name__}: {error}"
        raise ValueError(f"{record} contradicts itself or lacks an entry ({cause:.200}); measure again") from error


def require_figure(path: Path | None, example: str) -> None:
    """Raise a ValueError unless `--figure` names an SVG that can be drawn and written, or is not given."""
    if path is None:
        return
    require_writable("--figure", path, example)
    if path.suffix != ".svg":
        raise ValueError(f"the figure is an SVG: name it {path.with_suffix('.svg').name}, not {path.name}")
    require_matplotlib()


def require_matplotlib() -> None:
    """Raise a ValueError if figures cannot be drawn."""
    if find_spec("matplotlib") is None:
        raise ValueError("the figures need matplotlib: python -m pip install 'hatnet[studies]'")


def show(tables: Iterable[Grid], sentences: Iterable[str]) -> None:
    """Print the tables that have rows, then the sentences."""
    for table in tables:
        if table.rows:
            console.print(table.rich())
    for sentence in sentences:
        console.print(sentence)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure, and print where it is."""
    from hatnet.studies.common.drawing import save

    save(figure, path)
    console.print("The figure:")
    print_path(path)
