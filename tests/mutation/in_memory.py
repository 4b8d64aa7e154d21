"""Mutants of function bodies: all tests are collected once, and each mutant is a fork in which one function is changed.

This takes a fraction of a second, where importing everything again takes several.
"""

import ast
import gc
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType

import pytest

from tests.mutation.mutants import ROOT, Mutant
from tests.mutation.runner import fork
from tests.mutation.sight import BLIND

OPTIONS = (
    "-o", "addopts=--doctest-modules", "-p", "no:terminal", "-p", "no:cacheprovider", "-p", "no:cov", "-p", "no:xdist",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",  # libraries in memory already
)  # fmt: skip

Functions = dict[tuple[str, str], list[FunctionType]]


def functions() -> Functions:
    """The functions of the project that exist in memory, decorated or not, by file and qualified name."""
    found = defaultdict(list)
    for thing in gc.get_objects():
        if type(thing) is FunctionType and thing.__code__.co_filename.startswith(str(ROOT)):
            path = str(Path(thing.__code__.co_filename).relative_to(ROOT))
            found[path, thing.__code__.co_qualname].append(thing)
    return found


def fits_in_memory(mutant: Mutant) -> bool:
    """Whether a mutant changes the body of one function or method, which the import of its file does not run."""
    original = (ROOT / mutant.path).read_text(encoding="utf-8")
    old, new = (list(_codes(compile(text, "", "exec"), mutant.definition)) for text in (original, mutant.source))
    header = mutant.lines.start == mutant.around.start
    runs_on_import = mutant.definition in _called_on_import(ROOT / mutant.path)
    if header or runs_on_import or not _is_function(mutant) or not len(old) == len(new) == 1:
        return False
    return old[0].co_freevars == new[0].co_freevars  # without `super()` a function cannot be exchanged


@cache
def _called_on_import(path: Path) -> set[str]:
    """The functions of a file that it calls itself when it is imported: for constants, defaults and decorators."""
    found, waiting = set(), list(ast.parse(path.read_text(encoding="utf-8")).body)
    while waiting:
        node = waiting.pop()
        called = [node.func] if isinstance(node, ast.Call) else getattr(node, "decorator_list", [])
        found |= {name.id for name in called if isinstance(name, ast.Name)}
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and node.body
        body = inside if isinstance(inside, list) else [inside]
        waiting += [child for child in ast.iter_child_nodes(node) if child not in body]
    return found


def _is_function(mutant: Mutant) -> bool:
    """Whether the definition is a function that is not inside another one."""
    *classes, _ = mutant.definition.split(".")
    nodes: list[ast.stmt] = ast.parse((ROOT / mutant.path).read_text(encoding="utf-8")).body
    for name in classes:
        holder = next((n for n in nodes if isinstance(n, ast.ClassDef) and n.name == name), None)
        if holder is None:
            return False
        nodes = holder.body
    return any(isinstance(n, ast.FunctionDef) and n.name == mutant.definition.split(".")[-1] for n in nodes)


def _codes(code: CodeType, qualified_name: str) -> Iterator[CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            if constant.co_qualname == qualified_name:
                yield constant
            yield from _codes(constant, qualified_name)


class InMemory:
    """A place in a session of pytest that has collected all tests."""

    def __init__(self, folder: Path, items: list[pytest.Item], live: Functions) -> None:
        self.note, self.temporary, self.output = folder / "note", folder / "tmp", folder / "output"
        self.items, self.live = {item.nodeid: item for item in items}, live
        self.temporary.mkdir(parents=True)

    def start(self, mutant: Mutant | None, tests: list[str]) -> int:
        """Fork, change the code of the function, and run the tests until one fails."""
        return fork(lambda: self._test(mutant, tests), self.output, self.temporary)

    def restore(self) -> None:
        """Delete what tests wrote."""
        shutil.rmtree(self.temporary, ignore_errors=True)
        self.temporary.mkdir()

    def _test(self, mutant: Mutant | None, tests: list[str]) -> int:
        tempfile.tempdir = None
        if mutant is not None:
            whole = compile(mutant.source, str(ROOT / mutant.path), "exec", dont_inherit=True)
            (code,) = _codes(whole, mutant.definition)
            for function in self.live[mutant.path, mutant.definition]:
                function.__code__ = code
        chosen = [self.items[test] for test in tests if test in self.items]
        if not chosen:
            return 3
        chosen[0].config.pluginmanager.register(_FirstFailure(self.note))
        for item, following in zip(chosen, [*chosen[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        return 0


class _FirstFailure:
    """A plugin that notes the first test that fails, and ends the process."""

    def __init__(self, note: Path) -> None:
        self.note = note

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.note.write_text(report.nodeid, encoding="utf-8")
            os._exit(1)


class _Session:
    """A plugin that does something else with the collected tests than to run them."""

    def __init__(self, use: Callable[[list[pytest.Item]], None]) -> None:
        self.use = use

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.use(session.items)
        return True


def with_collected_tests(use: Callable[[list[pytest.Item]], None], *paths: str) -> None:
    """Collect the default tests, or those of some files, and call `use` with them in the session."""
    os.environ["HYPOTHESIS_PROFILE"] = "planted"
    pytest.main([*OPTIONS, *(f"--ignore={path}" for path in BLIND), *paths], plugins=[_Session(use)])
