"""`@equations`, `@departures`, `@planted-bugs`, `@mutants`, `@gpu` and `@worked-...` on lines of their own.

The first two and the worked example are made from the code while a page is read and never written to disk, so they
cannot be older than the code. The others show the records of `python -m tests.plant_bugs`, `python -m tests.mutation` and `python -m
tests.on_gpu`.
"""

import json
import re
from pathlib import Path

from markdown.extensions.toc import slugify

from builder.equations import EQUATIONS
from builder.gpu import gpu
from builder.ledger import LEDGER, Departure, check_ledger
from builder.mutants import mutants
from builder.tagged import Line
from builder.traceability import Row, TraceabilityError, check_equations
from builder.worked import worked

DIRECTIVE = re.compile(r"^@(equations|departures|planted-bugs|mutants|gpu|worked-\w+) *$", re.MULTILINE)
RECORD = "docs/planted-bugs.json"
PATCHES = "tests/planted_bugs"
PATCH = re.compile(r"Bug: (?P<name>.+)\nTest: (?P<test>.+)\n\n--- a/(?P<file>.+)\n(?P<diff>(?s:.+))")


def equations(rows: list[Row]) -> list[str]:
    """One section per equation: the formula, the lines on both sides, the tests."""
    lines = []
    for row in rows:
        equation = EQUATIONS[row.equation]
        heading = f"### Eq. {row.equation}: {equation.subject} {{ #eq-{row.equation} }}"
        lines += ["", heading, "", f"$${equation.latex}$$", ""]
        if equation.not_in_numpy:
            lines += [equation.not_in_numpy, ""]
        lines += _columns(row.reference, row.hatnet)
        lines += _tests([test.identifier for test in row.tests])
    return lines


def departures(entries: list[Departure]) -> list[str]:
    """One section per entry of the ledger: the lines on both sides, the tests."""
    lines = []
    for entry in entries:
        title = f"D{entry.number}" + (f": {entry.title}" if entry.title else "")
        heading = slugify(f"D{entry.number} {entry.title}".strip(), "-")
        lines += ["", f"### {title} {{ #departure-{entry.number} }}", ""]
        lines += [f"[What the paper says, and why we depart]({Path(LEDGER).name}#{heading})", ""]
        lines += _columns(entry.reference, entry.hatnet)
        lines += _tests(list(entry.tests))
    return lines


def planted_bugs(root: Path) -> list[str]:
    """One folded section per bug: what was changed, and the test that turned red."""
    lines = []
    for bug in json.loads((root / RECORD).read_text(encoding="utf-8")):
        path = root / PATCHES / bug["patch"]
        patch = PATCH.fullmatch(path.read_text(encoding="utf-8")) if path.is_file() else None
        if patch is None:
            raise TraceabilityError(f"{RECORD} does not match {PATCHES}; run: python -m tests.plant_bugs")
        changes = [line for line in patch["diff"].splitlines() if not line.startswith(("+++ ", "@@ "))]
        kind, verdict = ("success", "Found by") if bug["found"] else ("failure", "NOT found by")
        lines += ["", f'??? {kind} "{patch["name"]}"', "", f'    ```diff title="{patch["file"]}"']
        lines += [f"    {change}" for change in changes]
        lines += ["    ```", "", f"    {verdict} `{patch['test']}`", ""]
    return lines


def _columns(reference: tuple[Line, ...], hatnet: tuple[Line, ...]) -> list[str]:
    return ['<div class="trace" markdown>', *_column("NumPy", reference), *_column("PyTorch", hatnet), "</div>", ""]


def _column(title: str, lines: tuple[Line, ...]) -> list[str]:
    entries = [entry for line in lines for entry in _line(line)] or ["*no line of its own*"]
    return ["<div markdown>", "", f"**{title}**{{ .side }}", "", *entries, "", "</div>"]


def _line(line: Line) -> list[str]:
    """A line of code, and its place, linked to the API page."""
    owner = line.owner.removesuffix(".__init__")
    module = line.path.removesuffix(".py").replace("/", ".")
    identifier = f"{module}.{owner}" if owner else module
    where = f"{line.path}:{line.number}"
    name = f'<autoref optional identifier="{identifier}">`{line.owner or module}`</autoref>'
    return ["", f"`#!python {line.code}`{{ .line }}<br>", f"{name} <small>{where}</small>", ""]


def _tests(identifiers: list[str]) -> list[str]:
    """A list of tests, folded if it is long."""
    items = [f"- `{identifier}`" for identifier in identifiers]
    if len(items) <= 3:
        return ["**Tests**{ .side }", "", *items, ""]
    return [f'??? tests "{len(items)} tests"', "", *(f"    {item}" for item in items), ""]


def insert_tables(markdown: str, root: Path) -> str:
    """Replace the directives of a page by Markdown.

    Raises:
        TraceabilityError: if equations, code and tests do not match.
    """
    return DIRECTIVE.sub(lambda directive: "\n".join(_table(directive[1], root)), markdown)


def _table(name: str, root: Path) -> list[str]:
    if name == "equations":
        return equations(check_equations(root))
    if name == "departures":
        return departures(check_ledger(root))
    if name.startswith("worked-"):
        return worked(name.removeprefix("worked-"))
    if name == "gpu":
        return gpu(root / "docs")
    return mutants(root) if name == "mutants" else planted_bugs(root)
