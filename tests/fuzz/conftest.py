"""Counts of outcomes, printed at the end of a run in one process."""

from collections import Counter

OUTCOMES: Counter[tuple[str, str]] = Counter()


def pytest_terminal_summary(terminalreporter):
    for (suite, outcome), count in sorted(OUTCOMES.items()):
        terminalreporter.write_line(f"fuzz, {suite}: {outcome} {count}")
