"""Which tests can see a line: one run of the tests with coverage, which notes each test's lines and time."""

import json
import os
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path

import coverage
import pytest

from tests.mutation.mutants import Mutant

ROOT = Path(__file__).parents[2]
BLIND = (  # tests of other things than the code of `reference` and `hatnet`, or of copies of it
    "tests/site", "tests/core/test_wheel.py", "tests/core/test_planted_bugs.py", "tests/core/test_code_size.py",
    "tests/core/test_import_layers.py", "tests/mutation",
)  # fmt: skip


class _Stopwatch:
    """A plugin that adds up the seconds of each passed test; pytest-xdist reports to the process that asked."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] += report.duration
        if report.failed or report.skipped:
            self.failed.add(report.nodeid)


def look(target: Path, *paths: str) -> None:
    """Run the default tests once, and write to `target` which lines each test executes, and how long it takes.

    With `paths`, only the tests of these files are run, and added to what `target` holds.

    Raises:
        RuntimeError: if no test passes.
    """
    stopwatch, data = _Stopwatch(), target.with_suffix(".coverage")
    os.environ["COVERAGE_FILE"] = str(data)
    options = ["--cov=hatnet", "--cov=reference", "--cov-context=test", "--cov-report=", "-q", "-p", "no:cacheprovider"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # libraries in memory already
    pytest.main([*options, *(f"--ignore={path}" for path in BLIND), *paths], plugins=[stopwatch])
    passed = {test: round(s, 4) for test, s in stopwatch.seconds.items() if test not in stopwatch.failed}
    if not passed:
        raise RuntimeError("no test passed")
    known = json.loads(target.read_text(encoding="utf-8")) if paths else {"tests": {}, "lines": {}}
    tests, lines = known["tests"] | passed, known["lines"]
    number = {test: i for i, test in enumerate(tests)}
    recorded = coverage.CoverageData(str(data))
    recorded.read()
    for path in recorded.measured_files():
        own = lines.setdefault(str(Path(path).relative_to(ROOT)), {})
        for line, names in recorded.contexts_by_lineno(path).items():
            seen = {number[test] for name in names if (test := name.rpartition("|")[0]) in passed}
            if seen := seen | set(own.get(str(line), ())):
                own[str(line)] = sorted(seen)
    target.write_text(json.dumps({"tests": tests, "lines": lines}), encoding="utf-8")


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


class Sight:
    """The tests that can see a mutant, those most likely to notice it first: quick ones that execute little else."""

    def __init__(self, path: Path) -> None:
        found = json.loads(path.read_text(encoding="utf-8"))
        self.seconds: dict[str, float] = found["tests"]
        self.lines: dict[str, dict[str, list[int]]] = found["lines"]
        self.kills: Counter[tuple[str, str]] = Counter()  # of a test in a file
        names = list(self.seconds)
        executed = Counter(names[i] for lines in self.lines.values() for tests in lines.values() for i in tests)
        self.breadth = {test: executed[test] * seconds for test, seconds in self.seconds.items()}

    def tests_for(self, mutant: Mutant, seconds: float) -> list[str]:
        """The tests that execute the changed lines, and then others, until they take `seconds` together.

        Those in a file that has the name of the function, class or constant come first. Decorators, defaults and
        constants run when a module is imported, and processes that a test starts are not observed. So the others are
        the tests with that name in their own, those in a file that has it, those that execute the function, then the
        file, then all.
        """
        names, lines = list(self.seconds), self.lines.get(mutant.path, {})
        word = re.compile(rf"\b{mutant.word or '!'}\b")
        files = {path for path in {name.partition("::")[0] for name in names} if word.search(_text(ROOT / path))}
        own = {i for line in mutant.lines for i in lines.get(str(line), ())}
        in_files = {i for i, name in enumerate(names) if name.partition("::")[0] in files}
        chosen = [
            own & in_files,
            own,
            {i for i, name in enumerate(names) if word.search(name)},
            in_files,
            {i for line in mutant.around for i in lines.get(str(line), ())},
            {i for found in lines.values() for i in found},
            set(range(len(names))),
        ]
        ranks = {names[i]: rank for rank, found in reversed(list(enumerate(chosen))) for i in found}
        order = sorted(ranks, key=lambda t: (ranks[t], -self.kills[mutant.path, t], self.breadth[t]))
        order.sort(key=lambda test: not self.kills[mutant.path, test])
        chosen_tests, total = [], 0.0
        for test in order:
            if total + self.seconds[test] <= seconds:
                chosen_tests.append(test)
                total += self.seconds[test]
        return chosen_tests or order[:1]
