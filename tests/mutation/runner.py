"""Run tests on mutants, one forked process for each: it starts with PyTorch in memory, which saves three seconds."""

import gc
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

from tests.mutation.mutants import ROOT, Mutant
from tests.mutation.sight import Sight

LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__", "site", ".*_cache", ".hypothesis")
PRELOADED = ("numpy", "torch", "scipy.stats", "hypothesis", "safetensors.torch", "PIL.Image", "rich.console", "tyro")
OPTIONS = (
    "-q", "-x", "--tb=short", "-o", "addopts=--doctest-modules", "-p", "no:cacheprovider",
    "-p", "_hypothesis_pytestplugin", "-W", "ignore::pytest.PytestAssertRewriteWarning",  # in memory already
)  # fmt: skip
QUIET = {"HYPOTHESIS_PROFILE": "planted", "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
FIRST = 5  # tests run before the others are collected
MEMORY = 12 * 2**30  # bytes of address space


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant."""

    key: str
    outcome: str  # killed, timeout, survived, or unseen
    test: str  # that noticed it
    tests: int  # that could have
    seconds: float


class _Chosen:
    """A plugin that keeps the chosen tests in their order, and notes the first that fails."""

    def __init__(self, tests: list[str], note: Path) -> None:
        self.order, self.note = {test: i for i, test in enumerate(tests)}, note

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self.order), key=lambda item: self.order[item.nodeid])

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.note.write_text(report.nodeid, encoding="utf-8")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.note.write_text(f"{report.nodeid} (import)", encoding="utf-8")


class Copy:
    """A copy of the repository in which one file at a time is changed."""

    def __init__(self, folder: Path, like: "Copy | None" = None) -> None:
        self.folder, self.note = folder / "tree", folder / "note"
        (folder / "tmp").mkdir(parents=True)
        if like is None:
            shutil.copytree(ROOT, self.folder, ignore=LEFT_OUT)
        else:
            shutil.copytree(like.folder, self.folder)

    def compile(self) -> None:
        """Import every test once, so that mutants find compiled files."""
        command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-n", "0", "-p", "no:cacheprovider"]
        subprocess.run(command, cwd=self.folder, env=_environment(self.folder), capture_output=True, check=False)

    def start(self, mutant: Mutant | None, tests: list[str]) -> int:
        """Fork a process that runs the tests with the mutant in place; return its number."""
        self.note.write_text("", encoding="utf-8")
        if mutant is not None:
            (self.folder / mutant.path).write_text(mutant.source, encoding="utf-8")
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        status = 3
        try:
            status = self._run(tests)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)

    def restore(self, mutant: Mutant) -> None:
        """Put the unchanged file back."""
        shutil.copy2(ROOT / mutant.path, self.folder / mutant.path)
        shutil.rmtree(self.folder.parent / "tmp", ignore_errors=True)
        (self.folder.parent / "tmp").mkdir()

    def _run(self, tests: list[str]) -> int:
        os.setsid()
        os.chdir(self.folder)
        output = os.open(self.folder.parent / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        os.environ |= _environment(self.folder) | QUIET
        tempfile.tempdir = None
        sys.dont_write_bytecode = True
        elsewhere = [path for path in sys.path if path and not Path(path).is_relative_to(ROOT)]
        sys.path[:] = [*os.environ["PYTHONPATH"].split(os.pathsep), *elsewhere]
        for name in [n for n in sys.modules if n.partition(".")[0] in ("tests", "hatnet", "reference", "builder")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        for part in (tests[:FIRST], tests[FIRST:]):
            files = sorted({test.partition("::")[0] for test in part})
            if files and (status := int(pytest.main([*OPTIONS, *files], plugins=[_Chosen(part, self.note)]))):
                return status
        return 0


def _environment(folder: Path) -> dict[str, str]:
    paths = os.pathsep.join([str(folder), str(folder / "docs")])
    return {**os.environ, "PYTHONPATH": paths, "TMPDIR": str(folder.parent / "tmp")}


def run(mutants: list[Mutant], sight: Sight, copies: list[Copy], seconds: float) -> Iterator[Outcome]:
    """Run the tests of every mutant, as many at a time as there are copies; yield outcomes as they come."""
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # so that collecting garbage does not touch what is in memory already
    waiting, running = list(reversed(mutants)), {}
    free = list(copies)
    while waiting or running:
        while waiting and free:
            mutant = waiting.pop()
            tests = sight.tests_for(mutant, seconds)
            if not tests:
                yield Outcome(mutant.key, "unseen", "", 0, 0.0)
                continue
            copy, start = free.pop(), time.monotonic()
            limit = start + 60 + 10 * sum(sight.seconds[test] for test in tests)
            running[copy.start(mutant, tests)] = mutant, tests, copy, start, limit
        child, status = os.waitpid(-1, os.WNOHANG) if running else (0, 0)
        late = [number for number, (*_, limit) in running.items() if time.monotonic() > limit]
        for number in late:
            os.killpg(number, signal.SIGKILL)
        if child:
            mutant, tests, copy, start, limit = running.pop(child)
            _stop(child)
            test = copy.note.read_text(encoding="utf-8")
            copy.restore(mutant)
            free.append(copy)
            late = time.monotonic() > limit
            outcome = "survived" if status == 0 else "timeout" if late else "killed" if test else "crashed"
            sight.kills[mutant.path, test] += outcome == "killed"
            yield Outcome(mutant.key, outcome, test, len(tests), round(time.monotonic() - start, 2))
        elif not late:
            time.sleep(0.01)


def passes(tests: list[str], copy: Copy) -> bool:
    """Whether tests pass on unchanged code."""
    _, status = os.waitpid(copy.start(None, tests), 0)
    return status == 0


def _stop(group: int) -> None:
    """Stop what the tests of a mutant may have left running."""
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class Ledger:
    """The outcomes so far, one line of JSON each, so that an interrupted run goes on where it stopped."""

    def __init__(self, path: Path) -> None:
        self.path, self.outcomes = path, {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                outcome = Outcome(**json.loads(line))
                self.outcomes[outcome.key] = outcome  # the last counts

    def outcome(self, mutant: Mutant) -> str | None:
        """What became of a mutant; None if that is not known yet."""
        return self.outcomes[mutant.key].outcome if mutant.key in self.outcomes else None

    def add(self, outcome: Outcome) -> None:
        """Note an outcome."""
        self.outcomes[outcome.key] = outcome
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
