"""Where tags are: the lines of code whose comments carry them, and the tests that name an equation."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.excerpts import definitions
from builder.tags import TAGS, Tags, expand


@dataclass(frozen=True)
class Line:
    """A line of code whose comment carries tags."""

    path: str  # from the root, such as reference/attention.py
    number: int
    owner: str  # the innermost definition around it, such as HMHSA.forward; empty at the top of a file
    code: str  # without the comment, or the comment if the line has no code
    tags: Tags


@dataclass(frozen=True)
class Check:
    """A test, and the equations that its docstring or its name mentions."""

    identifier: str  # as pytest takes it: tests/test_x.py::test_y
    tags: Tags


def tagged_lines(root: Path, package: str) -> list[Line]:
    """All lines of a package whose comments carry tags, subpackages included."""
    return [
        line
        for path in sorted((root / package).rglob("*.py"))
        for line in _tagged_lines(path.read_text(encoding="utf-8"), path.relative_to(root).as_posix())
    ]


def _tagged_lines(text: str, path: str) -> Iterator[Line]:
    if not TAGS.search(text):  # most files; reading them token by token takes a second
        return
    owners = definitions(ast.parse(text))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT:
            continue
        tags = expand(token.string)
        if tags.equations or tags.departures:
            number, column = token.start
            around = [name for name, node in owners if node.lineno <= number <= (node.end_lineno or 0)]
            yield Line(path, number, around[-1] if around else "", token.line[:column].strip() or token.string, tags)


def all_checks(root: Path) -> list[Check]:
    """Every test function in tests/, with the equations of its docstring and of its name (`..._eq_7`)."""
    found = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, node in definitions(ast.parse(path.read_text(encoding="utf-8"))):
            if node.name.startswith("test"):
                numbers = " ".join(f"Eq. {number}" for number in re.findall(r"eq_?(\d+)", node.name))
                tags = expand(f"{ast.get_docstring(node) or ''} {numbers}")
                found.append(Check(f"{path.relative_to(root).as_posix()}::{name.replace('.', '::')}", tags))
    return found
