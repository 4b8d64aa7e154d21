"""Shared by the commands of the studies: checks of the files they write, and the output of results."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hatnet.cli.console import console
from hatnet.studies.common.table import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def require_writable(option: str, path: Path | None, example: str) -> None:
    """Raise a ValueError, suggesting the name `example`, if the `path` that was given as `option` cannot be written."""
    if path is None:
        return
    if not path.parent.is_dir():
        raise ValueError(f"no folder {path.parent} to write {path.name} to; create it first")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give {option} a name in it, such as {path / example}")
    if not os.access(path.parent, os.W_OK):
        folder = path.parent.resolve()
        raise ValueError(f"nothing may be written to the folder {folder}; give {option} a path in another one")


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
    print(path.resolve())  # not by rich, which would break a long path
