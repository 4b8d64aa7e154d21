"""Fixtures that several test files of training share."""

import pytest

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
        monkeypatch.setattr(
            "hatnet.training.figures.draw_curves", lambda _history, _metrics, path, _part: path.write_text("")
        )
