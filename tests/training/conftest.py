"""Fixtures that several test files of training share."""

import sys

import pytest

from hatnet.cli.main import main
from tests.training.runs import run


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The folder of a small training that was not interrupted. Tests must not change it."""
    return run(tmp_path_factory.mktemp("whole")).folder.path


@pytest.fixture
def curves():
    """Asked for by tests that draw curves."""


@pytest.fixture(autouse=True)
def quick_curves(request, monkeypatch):
    """Replace the drawing of curves, which takes as long as a small training."""
    if "curves" not in request.fixturenames:
        monkeypatch.setattr("hatnet.training.figures.draw_curves", lambda _history, _metrics, path: path.write_text(""))


@pytest.fixture
def hatnet(monkeypatch):
    """The command `hatnet` as a function of its arguments."""

    def call(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["hatnet", *map(str, arguments)])
        main()

    return call
