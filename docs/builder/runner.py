"""Runs a percent script cell by cell, and keeps what each cell prints and draws.

In a process of its own, so that every script starts fresh: `python -m builder.runner SCRIPT FOLDER`.
The same script gives the same bytes, as long as it computes the same.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import traceback
import types
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.percent import Cell, ScriptError, read_cells

OUTCOMES = ".outcomes.json"  # how the process hands over what it found; mkdocs leaves hidden files alone


@dataclass(frozen=True)
class Figure:
    """A figure that a cell left open."""

    file: str  # name of the SVG in the folder
    alt: str


@dataclass(frozen=True)
class Outcome:
    """A cell after it ran."""

    cell: Cell
    printed: str
    figures: tuple[Figure, ...]


def run_script(script: Path, folder: Path, root: Path) -> list[Outcome]:
    """Run a script in a fresh process with `root` as working directory, its figures as SVG in `folder`.

    Raises:
        ScriptError: if a cell fails, with its traceback, which names the script's own lines.
    """
    environment = os.environ | {"MPLBACKEND": "Agg", "PYTHONHASHSEED": "0"}
    environment["PYTHONPATH"] = os.pathsep.join([str(root), str(root / "docs")])
    command = [sys.executable, "-m", "builder.runner", str(script.resolve()), str(folder.resolve())]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ScriptError(f"{script.name} fails\n{done.stderr.strip()}")
    handed_over = folder / OUTCOMES
    entries = json.loads(handed_over.read_text(encoding="utf-8"))
    handed_over.unlink()
    return [
        Outcome(Cell(**entry["cell"]), entry["printed"], tuple(Figure(**figure) for figure in entry["figures"]))
        for entry in entries
    ]


class _Session:
    """The process's side: the cells of one script share one module called `__main__`, as when Python runs it."""

    def __init__(self, script: Path, folder: Path, root: Path) -> None:
        import matplotlib
        import matplotlib.pyplot as plt

        self.script = script.relative_to(root)  # as messages show it
        self.folder, self.root = folder, root
        self.figures = 0
        matplotlib.rcParams.update({"svg.hashsalt": script.stem, "savefig.bbox": "tight", "savefig.dpi": 144})
        plt.show = lambda *_, **__: None  # figures stay open, to be collected
        self.module = types.ModuleType("__main__")
        self.module.__file__ = str(script)

    def run(self) -> list[Outcome]:
        sys.modules["__main__"] = self.module
        return [self._run_cell(cell) for cell in read_cells(self.script)]

    def _run_cell(self, cell: Cell) -> Outcome:
        if cell.kind == "markdown":
            return Outcome(cell, "", ())
        printed = io.StringIO()
        padded = "\n" * (cell.line - 1) + cell.source  # so that tracebacks name the script's lines
        with contextlib.redirect_stdout(printed):
            exec(compile(padded, str(self.script), "exec"), self.module.__dict__)
        return Outcome(cell, printed.getvalue().replace(f"{self.root}{os.sep}", ""), self._collect(cell))

    def _collect(self, cell: Cell) -> tuple[Figure, ...]:
        import matplotlib.pyplot as plt

        found = []
        for number in plt.get_fignums():
            figure = plt.figure(number)
            alt = str(figure.get_label())
            if not alt:
                raise ScriptError(f"{self.script}:{cell.line}: a figure has no alt text; give it by set_label")
            self.figures += 1
            found.append(Figure(f"{self.script.stem}-{self.figures}.svg", alt))
            figure.savefig(self.folder / found[-1].file, metadata={"Date": None})
        plt.close("all")
        return tuple(found)

    def explain(self, error: Exception) -> str:
        """A traceback from the script's own frames on."""
        if isinstance(error, ScriptError):
            return str(error)
        frames = error.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename != str(self.script):
            frames = frames.tb_next
        return "".join(traceback.format_exception(type(error), error, frames))


def _main(script: Path, folder: Path) -> None:
    session = _Session(script, folder, root=Path.cwd())
    try:
        outcomes = session.run()
    except Exception as error:
        sys.exit(session.explain(error))
    (folder / OUTCOMES).write_text(json.dumps([asdict(outcome) for outcome in outcomes]), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
