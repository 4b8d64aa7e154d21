"""Which lines implement which equation of the paper, and which tests check them. A hole stops the build."""

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
        """The folders that should have a tag of this equation, and have none."""
        where = {"reference/": self.reference, "hatnet/": self.hatnet, "tests/": self.tests}
        if EQUATIONS[self.equation].not_in_numpy:
            del where["reference/"]
        return [folder for folder, found in where.items() if not found]


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
