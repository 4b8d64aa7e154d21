"""Run the command `hatnet` inside the test process."""

import sys

import pytest

from hatnet.cli.main import main


@pytest.fixture
def hatnet_command(monkeypatch, capsys):
    """Call it with the arguments of `hatnet`; it returns the exit status, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hatnet", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "100")
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        return status, *capsys.readouterr()

    return run
