"""Which line implements which equation of the paper, and which test holds it to that.

The tags in comments are the source. `trace` and `check_ledger` raise where something is missing, and so fail the build.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.equations import EQUATIONS
from builder.excerpts import definitions
from builder.tags import Tags, expand

LEDGER = "docs/paper-vs-code.md"


class TraceabilityError(ValueError):
    """An equation without code or test, or a departure that code and ledger don't agree on."""


@dataclass(frozen=True)
class Line:
    """A line of code whose comment carries tags."""

    path: str  # from the root, such as reference/attention.py
    number: int
    owner: str  # the innermost definition around it, such as HMHSA.forward; empty at the top of a file
    code: str  # without the comment, or the comment where it stands alone
    tags: Tags


@dataclass(frozen=True)
class Check:
    """A test, and the equations its docstring or its name speaks of."""

    identifier: str  # as pytest takes it: tests/test_x.py::test_y
    tags: Tags


@dataclass(frozen=True)
class Row:
    """Everything about one equation."""

    equation: int
    reference: tuple[Line, ...]
    hatnet: tuple[Line, ...]
    tests: tuple[Check, ...]


@dataclass(frozen=True)
class Departure:
    """An entry of the ledger with the lines that carry its tag."""

    number: int
    title: str
    reference: tuple[Line, ...]
    hatnet: tuple[Line, ...]
    tests: tuple[str, ...]


def tagged_lines(root: Path, package: str) -> list[Line]:
    """All lines of a package, and of packages within, whose comments carry tags."""
    return [
        line
        for path in sorted((root / package).rglob("*.py"))
        for line in _tagged_lines(path.read_text(encoding="utf-8"), path.relative_to(root).as_posix())
    ]


def _tagged_lines(text: str, path: str) -> Iterator[Line]:
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
    """Every test function below tests/, with the equations of its docstring and of its name (`..._eq_7`)."""
    found = []
    for path in sorted((root / "tests").rglob("test_*.py")):
        for name, node in definitions(ast.parse(path.read_text(encoding="utf-8"))):
            if node.name.startswith("test"):
                numbers = " ".join(f"Eq. {number}" for number in re.findall(r"eq_?(\d+)", node.name))
                tags = expand(f"{ast.get_docstring(node) or ''} {numbers}")
                found.append(Check(f"{path.relative_to(root).as_posix()}::{name.replace('.', '::')}", tags))
    return found


def trace(root: Path) -> list[Row]:
    """All equations with their lines and tests.

    Raises:
        TraceabilityError: naming every hole, and every tag of an equation that the paper doesn't have.
    """
    reference, hatnet, tests = tagged_lines(root, "reference"), tagged_lines(root, "hatnet"), all_checks(root)
    rows = [
        Row(
            number,
            tuple(line for line in reference if number in line.tags.equations),
            tuple(line for line in hatnet if number in line.tags.equations),
            tuple(test for test in tests if number in test.tags.equations),
        )
        for number in EQUATIONS
    ]
    problems = [
        f"{line.path}:{line.number} is tagged Eq. {number}, which the paper does not have"
        for line in (*reference, *hatnet)
        for number in sorted(line.tags.equations - EQUATIONS.keys())
    ]
    for row in rows:
        where = {"hatnet/": row.hatnet, "tests/": row.tests}
        if not EQUATIONS[row.equation].not_in_numpy:
            where = {"reference/": row.reference, **where}
        holes = [folder for folder, found in where.items() if not found]
        if holes:
            problems.append(f"Eq. {row.equation} has no tag in {', '.join(holes)}")
    if problems:
        raise TraceabilityError("equations and code do not match:\n  " + "\n  ".join(problems))
    return rows


ENTRY = re.compile(r"^## D(\d+)\b[ .:]*(.*)$", re.MULTILINE)
NAMED_TEST = re.compile(r"tests/[\w/]+\.py::\w+(?:::\w+)*")


def check_ledger(root: Path) -> list[Departure]:
    """The entries of the ledger, `## D1 ...`, each with its lines.

    Raises:
        TraceabilityError: if code and ledger don't carry the same tags, or an entry names no test that exists.
    """
    ledger = root / LEDGER
    parts = ENTRY.split(ledger.read_text(encoding="utf-8") if ledger.is_file() else "")[1:]
    reference, hatnet = tagged_lines(root, "reference"), tagged_lines(root, "hatnet")
    departures = [
        Departure(
            int(number),
            title.strip(),
            tuple(line for line in reference if int(number) in line.tags.departures),
            tuple(line for line in hatnet if int(number) in line.tags.departures),
            tuple(dict.fromkeys(NAMED_TEST.findall(body))),
        )
        for number, title, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    ]
    known = {check.identifier for check in all_checks(root)}
    problems = _untold(departures, [*reference, *hatnet])
    for departure in departures:
        problems += _faults(departure, known)
    if problems:
        raise TraceabilityError(f"{LEDGER} and code do not match:\n  " + "\n  ".join(problems))
    return departures


def _untold(departures: list[Departure], lines: list[Line]) -> list[str]:
    """Tags in the code without an entry, and numbers with two."""
    written = [departure.number for departure in departures]
    tagged = {number: line for line in lines for number in line.tags.departures}
    return [f"D{number} has two entries" for number in sorted(set(written)) if written.count(number) > 1] + [
        f"D{number} is tagged at {tagged[number].path}:{tagged[number].number}, but has no entry"
        for number in sorted(tagged.keys() - set(written))
    ]


def _faults(departure: Departure, known: set[str]) -> list[str]:
    """What is wrong with an entry."""
    tag = f"D{departure.number}"
    faults = [f"{tag} names {test}, which is not there" for test in departure.tests if test not in known]
    if not departure.tests:
        faults.append(f"{tag} names no test (tests/test_x.py::test_y)")
    if not departure.reference and not departure.hatnet:
        faults.append(f"{tag} has an entry, but no line is tagged with it")
    return faults
