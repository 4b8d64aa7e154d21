"""What the commands of the studies share: checks of the files they write, and how they show what they found."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hatnet.cli.console import console
from hatnet.studies.common.table import Grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def require_writable(option: str, path: Path | None, example: str) -> None:
    """Check that a file can be written to `path`, before the work starts that fills it.

    Args:
        option: the option that gave the path, such as `--out`, for the message.
        path: where the file will go; None where the option is not given.
        example: a file name to suggest.

    Raises:
        ValueError: if its folder does not exist or cannot be written to, or if the path is a folder itself.
    """
    if path is None:
        return
    if not path.parent.is_dir():
        raise ValueError(f"no folder {path.parent} to write {path.name} to; create it first")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give {option} a name in it, such as {path / example}")
    if not os.access(path.parent, os.W_OK):
        raise ValueError(
            f"nothing may be written to the folder {path.parent.resolve()}; give {option} a path in another one"
        )


def require_figure(path: Path | None, example: str) -> None:
    """Check that `--figure` names an SVG that can be drawn and written.

    Raises:
        ValueError: for another file format, for a path that cannot be written to, and where matplotlib is missing.
    """
    if path is None:
        return
    require_writable("--figure", path, example)
    if path.suffix != ".svg":
        raise ValueError(f"the figure is an SVG: name it {path.with_suffix('.svg').name}, not {path.name}")
    require_matplotlib()


def require_matplotlib() -> None:
    """Raise a ValueError where figures cannot be drawn."""
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
