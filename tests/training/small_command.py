"""The command `hatnet train` on a few images, in a second."""

import pytest

from hatnet.training import Monitor
from tests.training.image_files import folder_data


def small_options(folder) -> list[str]:
    """Options of a training in two steps, on eight photos in `folder`."""
    data = folder_data(folder / "data", images=4)
    return [
        "--data", data.name, "--data-dir", str(folder), "--epochs", "2", "--batch-size", "8", "--slice-size", "8",
        "--workers", "0", "--device", "cpu",
    ]  # fmt: skip


def stop_runs(monkeypatch: pytest.MonkeyPatch, *stops: bool) -> None:
    """Stop the runs of the next commands, in turn, after one step."""
    turns = iter(stops)
    monkeypatch.setattr("hatnet.cli.train.Monitor", lambda: Monitor(stop=next(turns, False)))
