"""Which lines implement which equation of the paper, and which tests check them. A hole stops the build."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mkdocs.exceptions import PluginError

from builder.equations import EQUATIONS
from builder.tagged import Check, Line, all_checks, tagged_lines


class TraceabilityError(PluginError):
    """An equation without code or a test, or a departure that code and ledger do not agree on."""


@dataclass(frozen=True)
class Row:
    """Everything about one equation."""

    equation: int
    reference: tuple[Line, ...]
    hatnet: tuple[Line, ...]
    tests: tuple[Check, ...]

    def holes(self) -> list[str]:
        """The folders that should have a tag of this equation, and have none; for code, a line that defines it."""
        where = {"reference/": self.defining(self.reference), "hatnet/": self.defining(self.hatnet)}
        if EQUATIONS[self.equation].not_in_numpy:
            del where["reference/"]
        return [folder for folder, found in (where | {"tests/": self.tests}).items() if not found]

    def defining(self, lines: tuple[Line, ...]) -> list[Line]:
        """The lines that define this equation, of one package: in its home, and no call of a function that does it."""
        home = EQUATIONS[self.equation].home
        at_home = [line for line in lines if module(line) in home and not calls(line.code) & doers(lines, line.owner)]
        return sorted(at_home, key=lambda line: (home.index(module(line)), line.number))

    def others(self) -> list[Line]:
        """The other lines of both packages: calls, and other files such as attention maps."""
        shown = [*self.defining(self.reference), *self.defining(self.hatnet)]
        return [line for line in (*self.reference, *self.hatnet) if line not in shown]


def module(line: Line) -> str:
    """The file of a line inside its package, without its ending: `complexity/attention`."""
    return line.path.partition("/")[2].removesuffix(".py")


def calls(code: str) -> set[str]:
    """The names that a line calls, spelled so that `LocalAttention` and `local_attention` are the same.

    >>> sorted(calls("merged = self.merge(A1, np.sqrt(d))"))
    ['merge', 'sqrt']
    """
    return {_spelled(name) for name in re.findall(r"(\w+)\(", code)}


def doers(lines: Iterable[Line], owner: str) -> set[str]:
    """The functions and classes around all lines, except those around `owner`'s."""
    return {_spelled(name) for line in lines if line.owner != owner for name in line.owner.split(".")} - {""}


def _spelled(name: str) -> str:
    return name.replace("_", "").lower()


def check_equations(root: Path) -> list[Row]:
    """All equations with their lines and tests.

    Raises:
        TraceabilityError: listing every hole, and every tag of an equation that the paper does not have.
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
    problems += [f"Eq. {row.equation} has no tag in {', '.join(row.holes())}" for row in rows if row.holes()]
    if problems:
        raise TraceabilityError("equations and code do not match:\n  " + "\n  ".join(problems))
    return rows
