"""Trainings that several tests read."""

from __future__ import annotations

import pytest

from tests.training.runs import run


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """The folder of a small training that was not interrupted. Tests must not change it."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder)
    return folder
