"""`@equations`, `@departures` and `@planted-bugs` on lines of their own, as Markdown.

The first two are what `traceability` found, made while a page is read, never written to disk: they cannot be older than
the code, and a hole stops the build. The third is the record that `python -m tests.plant_bugs` keeps.
"""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

from markdown import Extension, Markdown
from markdown.extensions.toc import slugify
from markdown.preprocessors import Preprocessor

from builder.equations import EQUATIONS
from builder.traceability import LEDGER, Departure, Line, Row, check_ledger, trace

DIRECTIVE = re.compile(r"^@(equations|departures|planted-bugs) *$")


def equations(rows: list[Row]) -> list[str]:
    """A section an equation: the formula, the lines on both sides, the tests."""
    lines = []
    for row in rows:
        equation = EQUATIONS[row.equation]
        lines += [
            "",
            f"### Eq. {row.equation}: {equation.subject} {{ #eq-{row.equation} }}",
            "",
            f"$${equation.latex}$$",
            "",
        ]
        if equation.not_in_numpy:
            lines += [equation.not_in_numpy, ""]
        lines += _columns(row.reference, row.hatnet)
        lines += _tests([test.identifier for test in row.tests])
    return lines


def departures(entries: list[Departure]) -> list[str]:
    """A section an entry of the ledger: the lines on both sides, the tests."""
    lines = []
    for entry in entries:
        title = f"D{entry.number}" + (f": {entry.title}" if entry.title else "")
        heading = slugify(f"D{entry.number} {entry.title}".strip(), "-")
        lines += ["", f"### {title} {{ #departure-{entry.number} }}", ""]
        lines += [f"[What the paper says, and why we depart]({Path(LEDGER).name}#{heading})", ""]
        lines += _columns(entry.reference, entry.hatnet)
        lines += _tests(list(entry.tests))
    return lines


def planted_bugs(record: Path) -> list[str]:
    """A folded section a bug: what was changed, and the test that turned red."""
    lines = []
    for bug in json.loads(record.read_text(encoding="utf-8")):
        changes = difflib.ndiff(bug["old"].splitlines(), bug["new"].splitlines())
        kind = "success" if bug["found"] else "failure"
        lines += ["", f'??? {kind} "{bug["name"]}"', "", f'    ```diff title="{bug["file"]}"']
        lines += [f"    {change}" for change in changes if not change.startswith("?")]
        lines += ["    ```", "", f"    {'Found by' if bug['found'] else 'NOT found by'} `{bug['test']}`", ""]
    return lines


def _columns(reference: tuple[Line, ...], hatnet: tuple[Line, ...]) -> list[str]:
    return [
        '<div class="trace" markdown>',
        *_column("NumPy", reference),
        *_column("PyTorch", hatnet),
        "</div>",
        "",
    ]


def _column(title: str, lines: tuple[Line, ...]) -> list[str]:
    entries = [entry for line in lines for entry in _line(line)] or ["*no line of its own*"]
    return ["<div markdown>", "", f"**{title}**{{ .side }}", "", *entries, "", "</div>"]


def _line(line: Line) -> list[str]:
    """The line, and where it is, linked to the API page."""
    owner = line.owner.removesuffix(".__init__")
    module = line.path.removesuffix(".py").replace("/", ".")
    identifier = f"{module}.{owner}" if owner else module
    where = f"{line.path}:{line.number}"
    name = f'<autoref optional identifier="{identifier}">`{line.owner or module}`</autoref>'
    return ["", f"`#!python {line.code}`{{ .line }}<br>", f"{name} <small>{where}</small>", ""]


def _tests(identifiers: list[str]) -> list[str]:
    """A list; folded where it is long."""
    items = [f"- `{identifier}`" for identifier in identifiers]
    if len(items) <= 3:
        return ["**Tests**{ .side }", "", *items, ""]
    return [f'??? tests "{len(items)} tests"', "", *(f"    {item}" for item in items), ""]


class _Directives(Preprocessor):
    def __init__(self, md: Markdown, root: Path) -> None:
        super().__init__(md)
        self.root = root

    def run(self, lines: list[str]) -> list[str]:
        result: list[str] = []
        for line in lines:
            directive = DIRECTIVE.match(line)
            if directive is None:
                result.append(line)
            else:
                result += self._table(directive[1])
        return result

    def _table(self, name: str) -> list[str]:
        if name == "equations":
            return equations(trace(self.root))
        if name == "departures":
            return departures(check_ledger(self.root))
        return planted_bugs(self.root / "docs" / "planted-bugs.json")


class TablesExtension(Extension):
    """The `@equations`, `@departures` and `@planted-bugs` directives."""

    def __init__(self, **settings: Any) -> None:
        self.config = {"root": [".", "the folder that paths start from"]}
        super().__init__(**settings)

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        # Before @code, so that fences made here are read like any other.
        md.preprocessors.register(_Directives(md, Path(self.getConfig("root"))), "tables", priority=28)


def makeExtension(**settings: Any) -> TablesExtension:  # noqa: N802
    """What Python-Markdown looks for."""
    return TablesExtension(**settings)
