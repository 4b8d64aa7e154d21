"""`@equations`, `@departures`, `@planted-bugs`, `@mutants`, `@gpu` and `@worked-...` on lines of their own.

The first two and the worked example are made from the code while a page is read and never written to disk, so they
cannot be older than the code. The others show the records of `python -m tests.plant_bugs`, `python -m tests.mutation`
and `python -m tests.on_gpu`.
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
from builder.traceability import Row, TraceabilityError, check_equations, module
from builder.worked import worked

DIRECTIVE = re.compile(r"^@(equations|departures|planted-bugs|mutants|gpu|worked-\w+) *$", re.MULTILINE)
CORE = ("attention", "hierarchical_attention", "layers", "network")  # they follow the paper; others use them
RECORD = "docs/planted-bugs.json"
PATCHES = "tests/planted_bugs"
PATCH = re.compile(r"Bug: (?P<name>.+)\nTest: (?P<test>.+)\n\n--- a/(?P<file>.+)\n(?P<diff>(?s:.+))")


def equations(rows: list[Row]) -> list[str]:
    """One section per equation: the formula and the lines that define it; other lines and the tests are folded."""
    lines = []
    for row in rows:
        equation = EQUATIONS[row.equation]
        heading = f"### Eq. {row.equation}: {equation.subject} {{ #eq-{row.equation} }}"
        lines += ["", heading, "", f"$${equation.latex}$$", ""]
        if equation.not_in_numpy:
            lines += [equation.not_in_numpy, ""]
        lines += _columns(row.defining(row.reference), row.defining(row.hatnet))
        lines += _folded(row.others(), [test.identifier for test in row.tests])
    return lines


def departures(entries: list[Departure]) -> list[str]:
    """One section per entry of the ledger: its lines in the core files; other lines and the tests are folded."""
    lines = []
    for entry in entries:
        title = f"D{entry.number}" + (f": {entry.title}" if entry.title else "")
        heading = slugify(f"D{entry.number} {entry.title}".strip(), "-")
        lines += ["", f"### {title} {{ #departure-{entry.number} }}", ""]
        lines += [f"[What the paper says, and why we depart]({Path(LEDGER).name}#{heading})", ""]
        found = (*entry.reference, *entry.hatnet)
        shown = [line for line in found if module(line) in CORE] or list(found)
        lines += _columns(*([line for line in lines_ if line in shown] for lines_ in (entry.reference, entry.hatnet)))
        lines += _folded([line for line in found if line not in shown], list(entry.tests))
    return lines


def planted_bugs(root: Path) -> list[str]:
    """How many were found, then one folded section per bug: what was changed, and the test that turned red."""
    bugs = json.loads((root / RECORD).read_text(encoding="utf-8"))
    lines = ["", f"In the last run, the tests found {sum(bug['found'] for bug in bugs)} of {len(bugs)} bugs:", ""]
    for bug in bugs:
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


def _columns(reference: list[Line], hatnet: list[Line]) -> list[str]:
    return ['<div class="trace" markdown>', *_column("NumPy", reference), *_column("PyTorch", hatnet), "</div>", ""]


def _column(title: str, lines: list[Line]) -> list[str]:
    entries = [entry for line in lines for entry in _line(line)] or ["*no line of its own*"]
    return ["<div markdown>", "", f"**{title}**{{ .side }}", "", *entries, "", "</div>"]


def _line(line: Line) -> list[str]:
    """A line of code, and its place."""
    return ["", f"`#!python {line.code}`{{ .line }}<br>", _place(line), ""]


def _place(line: Line) -> str:
    """The definition around a line, linked to the API page, and the line's number."""
    owner = line.owner.removesuffix(".__init__")
    dotted = line.path.removesuffix(".py").replace("/", ".")
    name = f'<autoref optional identifier="{dotted}.{owner}">' if owner else f'<autoref optional identifier="{dotted}">'
    return f"{name}`{line.owner or dotted}`</autoref> <small>{line.path}:{line.number}</small>"


def _folded(others: list[Line], tests: list[str]) -> list[str]:
    """The other lines and the tests, behind their numbers."""
    counts = [(len(others), "other line"), (len(tests), "test")]
    title = ", ".join(f"{count} {word}{'s' * (count > 1)}" for count, word in counts if count)
    items = [f"- `#!python {line.code}` {_place(line)}" for line in others] + [f"- `{test}`" for test in tests]
    return [f'??? tests "{title}"', "", *(f"    {item}" for item in items), ""]


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
