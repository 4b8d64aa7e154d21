"""Percent scripts: Python files cut into cells by lines such as `# %%`, `# %% [markdown]` and `# %% solution`.

`# %% [fold: the drawing]` starts code that the page folds under this title, because it only imports or draws.

We run them with code of our own because the libraries we tried (mkdocs-jupyter, nbconvert) missed broken links, left
formulas unconverted, or wrote different bytes on each run. Jupyter and VS Code open the same files.
"""

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mkdocs.exceptions import PluginError

Kind = Literal["code", "markdown", "solution"]
HEADERS: dict[str, Kind] = {"# %%": "code", "# %% [markdown]": "markdown", "# %% solution": "solution"}
FOLD = re.compile(r"# %% \[fold: ([^\]]+)\]$")


class ScriptError(PluginError):
    """A script is not in percent format, or one of its cells fails."""


@dataclass(frozen=True)
class Cell:
    """One cell. A solution is code that the page folds with its outputs."""

    kind: Kind
    source: str  # code unchanged, Markdown without its comment signs
    line: int  # of the first line of source in the script, counted from 1
    fold: str = ""  # title under which the page folds the code; what the code prints and draws stays visible


def read_cells(path: Path) -> list[Cell]:
    """Read the cells of a script. Only a docstring and comments may come before the first one.

    Raises:
        ScriptError: for an unknown kind of cell, code before the first cell, or code in a Markdown cell.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("# %%")]
    for number in starts:
        if lines[number].rstrip() not in HEADERS and not FOLD.match(lines[number].rstrip()):
            known = ", ".join([*HEADERS, "# %% [fold: TITLE]"])
            raise ScriptError(f"{path}:{number + 1}: {lines[number]!r} starts no cell; cells start with {known}")
    _check_preamble(path, "\n".join(lines[: starts[0] if starts else None]))
    cells = []
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        header, body = lines[start].rstrip(), lines[start + 1 : end]
        kind, fold = HEADERS.get(header, "code"), FOLD.match(header)
        source = _markdown(path, body, start + 2) if kind == "markdown" else "\n".join(body).rstrip()
        if source.strip():
            cells.append(Cell(kind, source, start + 2, fold[1] if fold else ""))
    return cells


def _check_preamble(path: Path, source: str) -> None:
    for statement in ast.parse(source).body:
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            raise ScriptError(f"{path}:{statement.lineno}: code before the first cell; start a cell with `# %%`")


def _markdown(path: Path, lines: list[str], start: int) -> str:
    text = []
    for number, line in enumerate(lines, start):
        if line.strip() and not line.startswith("#"):
            raise ScriptError(f"{path}:{number}: a line of a Markdown cell does not start with #")
        text.append(line.removeprefix("#").removeprefix(" ").rstrip())
    return "\n".join(text).strip("\n")
