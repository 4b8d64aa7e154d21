"""Files for all suites, and counts of outcomes over all processes, printed at the end of a run."""

from collections import Counter

import pytest

from tests.fuzz.files import write_all

OUTCOMES: Counter[str] = Counter()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Files by kind, of which every suite draws."""
    return write_all(tmp_path_factory.mktemp("files"))


def pytest_sessionfinish(session):
    if hasattr(session.config, "workeroutput"):  # a process of pytest-xdist
        session.config.workeroutput["fuzz"] = dict(OUTCOMES)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    OUTCOMES.update(getattr(node, "workeroutput", {}).get("fuzz", {}))


def pytest_terminal_summary(terminalreporter):
    for outcome, count in sorted(OUTCOMES.items()):
        terminalreporter.write_line(f"fuzzed {outcome}: {count}")
