"""Settings of the whole test run, and the command `hatnet`."""

import os
import platform
import sys

# One thread: tensors are small, and waiting threads cost more than they gain, on a busy machine twenty times more.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

os.environ.pop("COLUMNS", None)  # where it is set, rich keeps it for every console; tests set their own width

import hypothesis  # noqa: E402
import numpy  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from tests.gpu import gpu_is_there  # noqa: E402

# The same examples in every run, so that a failing test keeps failing; `nightly` draws new ones.
hypothesis.settings.register_profile("default", max_examples=100, deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.register_profile("nightly", max_examples=1000, deadline=None, print_blob=True)
hypothesis.settings.register_profile(  # for planted bugs: find, but do not shrink
    "planted",
    parent=hypothesis.settings.get_profile("default"),
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    report_multiple_bugs=False,
)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run everything, including long tests and the browser")


def pytest_collection_modifyitems(config, items):
    """Skip tests of a GPU without one. Without --long, leave out long tests, and those of the site and in a browser."""
    for item in items:
        if not gpu_is_there() and item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="no GPU here"))
        if {"site", "browser"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("long")
    if config.getoption("--long"):
        return
    left_out = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if not item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=left_out)
    config.stash[LEFT_OUT] = len(left_out)
    if hasattr(config, "workeroutput"):  # a process of pytest-xdist: the one that reports collects nothing itself
        config.workeroutput["left_out"] = len(left_out)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    node.config.stash[LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


def pytest_report_header() -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none, so CUDA is not tested"
    return f"torch {torch.__version__}, numpy {numpy.__version__}, {platform.machine()}, GPU: {device}"


def pytest_terminal_summary(terminalreporter, config):
    if left_out := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(f"{left_out} long tests were left out: `pytest --long` runs everything")


@pytest.fixture
def hatnet(monkeypatch):
    """The command `hatnet`, inside the test process: a function of its arguments."""
    from hatnet.cli.main import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["hatnet", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "100")
        main()

    return call


@pytest.fixture
def hatnet_command(hatnet, capsys):
    """The same, returning the exit status, standard output and standard error."""

    def run(*arguments):
        status = 0
        try:
            hatnet(*arguments)
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capsys.readouterr()

    return run
