"""The ledger, docs/paper-vs-code.md: its entries `## D1 ...` and the tags `# D1` in the code must match."""

import re
from dataclasses import dataclass
from pathlib import Path

from builder.tagged import Line, all_checks, tagged_lines
from builder.traceability import TraceabilityError

LEDGER = "docs/paper-vs-code.md"
ENTRY = re.compile(r"^## D(\d+)\b[ .:]*(.*)$", re.MULTILINE)
NAMED_TEST = re.compile(r"tests/[\w/]+\.py::\w+(?:::\w+)*")


@dataclass(frozen=True)
class Departure:
    """An entry of the ledger, with the lines that carry its tag."""

    number: int
    title: str
    reference: tuple[Line, ...]
    hatnet: tuple[Line, ...]
    tests: tuple[str, ...]


def check_ledger(root: Path) -> list[Departure]:
    """The entries of the ledger, each with its lines.

    Raises:
        TraceabilityError: if code and ledger do not carry the same tags, or an entry names no existing test.
    """
    reference, hatnet = tagged_lines(root, "reference"), tagged_lines(root, "hatnet")
    parts = ENTRY.split((root / LEDGER).read_text(encoding="utf-8"))[1:]
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
    problems = _missing_entries(departures, [*reference, *hatnet])
    for departure in departures:
        problems += _problems(departure, known)
    if problems:
        raise TraceabilityError(f"{LEDGER} and code do not match:\n  " + "\n  ".join(problems))
    return departures


def _missing_entries(departures: list[Departure], lines: list[Line]) -> list[str]:
    """Tags in the code without an entry, and numbers with two."""
    written = [departure.number for departure in departures]
    tagged = {number: line for line in lines for number in line.tags.departures}
    return [f"D{number} has two entries" for number in sorted(set(written)) if written.count(number) > 1] + [
        f"D{number} is tagged at {tagged[number].path}:{tagged[number].number}, but has no entry"
        for number in sorted(tagged.keys() - set(written))
    ]


def _problems(departure: Departure, known: set[str]) -> list[str]:
    """The problems of one entry; `known` are the tests that exist."""
    tag = f"D{departure.number}"
    problems = [f"{tag} names {test}, which does not exist" for test in departure.tests if test not in known]
    if not departure.tests:
        problems.append(f"{tag} names no test (tests/test_x.py::test_y)")
    if not departure.reference and not departure.hatnet:
        problems.append(f"{tag} has an entry, but no line is tagged with it")
    return problems
