"""Percent scripts: Python files cut into cells by `# %%`, `# %% [markdown]` and `# %% solution` lines."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["code", "markdown", "solution"]
HEADERS: dict[str, Kind] = {"# %%": "code", "# %% [markdown]": "markdown", "# %% solution": "solution"}


class ScriptError(ValueError):
    """A script that is not in percent format, or a cell of it that fails."""


@dataclass(frozen=True)
class Cell:
    """One cell; a solution is code that the page shows folded."""

    kind: Kind
    source: str  # code as it stands, or Markdown without the comment signs
    line: int  # of its first line of source in the script, counted from 1


def read_cells(path: Path) -> list[Cell]:
    """The cells of a script. A docstring and comments may stand before the first one.

    Raises:
        ScriptError: for an unknown kind of cell, code before the first cell, or code in a Markdown cell.
    """
    cells: list[Cell] = []
    kind: Kind | None = None
    start, body = 1, list[str]()

    def close() -> None:
        if kind is None:
            _check_preamble(path, "\n".join(body))
        elif any(line.strip() for line in body):
            source = _markdown(path, body, start) if kind == "markdown" else "\n".join(body).rstrip()
            cells.append(Cell(kind, source, start))

    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("# %%"):
            close()
            if line.rstrip() not in HEADERS:
                raise ScriptError(f"{path}:{number}: {line!r} is no cell; cells start with {', '.join(HEADERS)}")
            kind, start, body = HEADERS[line.rstrip()], number + 1, []
        else:
            body.append(line)
    close()
    return cells


def _check_preamble(path: Path, source: str) -> None:
    for statement in ast.parse(source).body:
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            raise ScriptError(f"{path}:{statement.lineno}: code before the first cell")


def _markdown(path: Path, lines: list[str], start: int) -> str:
    text = []
    for number, line in enumerate(lines, start):
        if line.strip() and not line.startswith("#"):
            raise ScriptError(f"{path}:{number}: a line without # in a Markdown cell")
        text.append(line.removeprefix("#").removeprefix(" ").rstrip())
    return "\n".join(text).strip("\n")
