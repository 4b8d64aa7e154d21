"""Mutants of what runs on import: a changed file in a copy of the repository, imported by a new process."""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.mutation.mutants import ROOT, Mutant
from tests.mutation.runner import fork

LEFT_OUT = shutil.ignore_patterns(".git", "__pycache__", "site", ".*_cache", ".hypothesis", "mutants")
PRELOADED = ("numpy", "torch", "scipy.stats", "hypothesis", "safetensors.torch", "PIL.Image", "rich.console", "tyro")
OPTIONS = (
    "-q", "-x", "--tb=short", "-o", "addopts=--doctest-modules", "-p", "no:cacheprovider",
    "-p", "_hypothesis_pytestplugin", "-W", "ignore::pytest.PytestAssertRewriteWarning",  # in memory already
)  # fmt: skip
QUIET = {"HYPOTHESIS_PROFILE": "planted", "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
FIRST = 5  # tests run before the others are collected


class OnDisk:
    """A copy of the repository in which one file at a time is changed."""

    def __init__(self, folder: Path, like: "OnDisk | None" = None) -> None:
        self.folder, self.note, self.temporary = folder / "tree", folder / "note", folder / "tmp"
        self.changed = ""  # the file that is changed
        self.temporary.mkdir(parents=True)
        shutil.copytree(ROOT if like is None else like.folder, self.folder, ignore=LEFT_OUT if like is None else None)
        for name in PRELOADED:
            importlib.import_module(name)

    def compile(self) -> None:
        """Import every test once, so that mutants find compiled files."""
        command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-n", "0", "-p", "no:cacheprovider"]
        subprocess.run(command, cwd=self.folder, env=self._environment(), capture_output=True, check=False)

    def start(self, mutant: Mutant | None, tests: list[str]) -> int:
        """Write the changed file, and run the tests in a new process that shares only large libraries."""
        if mutant is not None:
            self.changed = mutant.path
            (self.folder / mutant.path).write_text(mutant.source, encoding="utf-8")
        return fork(lambda: self._test(tests), self.folder.parent / "output", self.temporary)

    def restore(self) -> None:
        """Put the unchanged file back, and delete what tests wrote."""
        shutil.copy2(ROOT / self.changed, self.folder / self.changed)
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": os.pathsep.join([str(self.folder), str(self.folder / "docs")])}

    def _test(self, tests: list[str]) -> int:
        os.chdir(self.folder)
        os.environ |= self._environment() | QUIET
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
