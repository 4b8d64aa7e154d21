"""Run a percent script cell by cell, and keep what each cell prints and draws.

The same script gives the same bytes, as long as it computes the same.
"""

import contextlib
import io
import os
import sys
import traceback
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from builder.figures import STYLE, colour_for_both_schemes, is_small, prepare_pictures, stack
from builder.percent import Cell, ScriptError, read_cells

if TYPE_CHECKING:
    import matplotlib.figure


@dataclass(frozen=True)
class Figure:
    """A figure that a cell left open."""

    file: str  # name of the SVG in the folder
    phone: str  # the same figure, narrow, with its panels below one another; the same file if it is small anyway
    alt: str


@dataclass(frozen=True)
class Outcome:
    """A cell after it ran."""

    cell: Cell
    printed: str
    figures: tuple[Figure, ...]


def run_script(script: Path, folder: Path) -> list[Outcome]:
    """Run a script in this process, as its `__main__`. The working directory must be the checkout.

    Args:
        script: path from the checkout, such as tutorials/01_attention.py; messages show it.
        folder: where figures go, as SVG.

    Raises:
        ScriptError: if a cell fails, with a traceback of the script's own lines.
    """
    import matplotlib
    import matplotlib.pyplot as plt

    matplotlib.rcParams.update(STYLE | {"svg.hashsalt": script.stem})
    plt.show = lambda *_, **__: None  # figures stay open, to be collected
    module = types.ModuleType("__main__")
    module.__file__ = str(script.resolve())
    sys.modules["__main__"] = module
    outcomes: list[Outcome] = []
    for cell in read_cells(script):
        printed = "" if cell.kind == "markdown" else _run(cell, script, module)
        drawn = sum(len(outcome.figures) for outcome in outcomes)
        outcomes.append(Outcome(cell, printed, _save_figures(cell, script, folder, drawn)))
    return outcomes


def _run(cell: Cell, script: Path, module: types.ModuleType) -> str:
    """Run one cell; what it printed, with paths from the checkout."""
    printed = io.StringIO()
    padded = "\n" * (cell.line - 1) + cell.source  # so that tracebacks name the script's lines
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile(padded, str(script), "exec"), module.__dict__)
    except Exception as error:
        raise ScriptError(f"{script.name} fails\n{_explain(error, script)}") from error
    return printed.getvalue().replace(f"{Path.cwd()}{os.sep}", "")


def _save_figures(cell: Cell, script: Path, folder: Path, drawn: int) -> tuple[Figure, ...]:
    """Save the open figures, numbered after the `drawn` before them, and close them."""
    import matplotlib.pyplot as plt

    saved = []
    for place, number in enumerate(plt.get_fignums(), drawn + 1):
        figure = plt.figure(number)
        alt = str(figure.get_label())
        if not alt:
            raise ScriptError(f"{script}:{cell.line}: a figure has no alt text; add it with figure.set_label(...)")
        saved.append(_save(figure, folder, f"{script.stem}-{place}", alt))
    plt.close("all")
    return tuple(saved)


def _save(figure: "matplotlib.figure.Figure", folder: Path, name: str, alt: str) -> Figure:
    """Save a figure wide and for a phone, or once if it is small."""
    prepare_pictures(figure)
    once = is_small(figure)
    saved = Figure(f"{name}.svg", f"{name}.svg" if once else f"{name}-phone.svg", alt)
    if not once:
        _write(figure, folder / saved.file)
    stack(figure)
    _write(figure, folder / saved.phone)
    return saved


def _write(figure: "matplotlib.figure.Figure", path: Path) -> None:
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    path.write_text(colour_for_both_schemes(drawn.getvalue()), encoding="utf-8")


def _explain(error: Exception, script: Path) -> str:
    """The traceback, starting at the script's own frames."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename != str(script):
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames)).rstrip()
