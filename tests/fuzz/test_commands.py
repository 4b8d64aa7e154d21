"""Whatever a command receives, it ends with a result or a message: no traceback, no half file, no endless work.

`HATNET_FUZZ_EXAMPLES=10000 HYPOTHESIS_PROFILE=nightly python -m pytest tests/fuzz/test_commands.py` draws new
cases. Everything is written below a temporary folder, and `run` refuses any other path.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings

from hatnet.cli import main
from hatnet.files import PARTIAL
from tests.fuzz.commands import COMMANDS, IMAGES, WEIGHTS, command_lines, options
from tests.fuzz.conftest import OUTCOMES
from tests.fuzz.files import write_all
from tests.fuzz.limits import files_below, limited

SECONDS = 10.0


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    found = {kind: [str(path) for path in paths] for kind, paths in write_all(folder).items()}
    return found | {"folder": [str(folder / "images")]}


def inside(word: str, folder: Path) -> bool:
    """Whether a word, read as a path from the working folder, stays below `folder`."""
    path = os.path.normpath(folder / word.removeprefix("folder:"))
    return Path(path).is_relative_to(folder)


def run(words: list[str], base: Path, hatnet_command) -> str:
    """Run a command in a folder of its own, and return the kind of outcome; an AssertionError says what is wrong."""
    assert all(inside(word, base) for word in words), f"a path outside {base}: {words}"
    folder = Path(tempfile.mkdtemp(dir=base))
    (folder / "file").touch()
    (folder / "folder").mkdir()
    try:
        with contextlib.chdir(folder), limited(SECONDS):
            status, out, err = hatnet_command(*words)
        partial = [name for name in files_below(folder) if PARTIAL in name]
    except Exception as error:
        raise AssertionError(f"the command ends in a traceback: {type(error).__name__}: {error}") from error
    finally:
        shutil.rmtree(folder)
    assert status in (0, 1, 2, 130), f"exit status {status}"
    assert "Traceback" not in out + err
    assert status != 2 or (out + err).strip(), "exit status 2 without a message"
    assert not partial, f"half-written files: {partial}"
    return f"exit {status}"


def check_command(name: str, most: int, files, hatnet_command, monkeypatch) -> None:
    base = Path(files[IMAGES][0]).parent
    monkeypatch.setenv("HOME", str(base))
    if name == "docs":  # builds nothing and serves nothing
        monkeypatch.setattr("builder.build.build", lambda *given: None)
        monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", lambda server: None)
    known = options(hatnet_command(name, *(["fashion-quick"] if name == "train" else []), "--help")[1])
    assert known, f"hatnet {name} --help lists no options"

    @settings(max_examples=most, suppress_health_check=list(HealthCheck))
    @given(words=command_lines(name, known, files))
    def check(words):
        note(f"command: hatnet {' '.join(map(repr, words))}")
        OUTCOMES[f"commands, {run(words, base, hatnet_command)}"] += 1

    check()


NAMES = [
    pytest.param(name, marks=pytest.mark.xfail(strict=False, reason=command.pending) if command.pending else ())
    for name, command in COMMANDS.items()
]


def examples(default: int) -> int:
    """Cases for each command: `default`, or those of HATNET_FUZZ_EXAMPLES divided among all commands."""
    total = int(os.environ.get("HATNET_FUZZ_EXAMPLES", "0"))
    return -(-total // len(COMMANDS)) if total else default


@pytest.mark.parametrize("name", NAMES)
def test_every_command_ends_with_a_result_or_a_message(name, files, hatnet_command, monkeypatch):
    check_command(name, examples(10), files, hatnet_command, monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_every_command_ends_with_a_result_or_a_message_in_many_cases(name, files, hatnet_command, monkeypatch):
    check_command(name, examples(60), files, hatnet_command, monkeypatch)


def test_every_command_is_in_the_table():
    assert main.COMMANDS.keys() == COMMANDS.keys(), "add the command to tests/fuzz/commands.py"


def test_paths_outside_the_temporary_folder_are_refused(tmp_path):
    for word in ("/dev/null", "../x", "folder:/etc", f"{tmp_path}/../x/y"):
        assert not inside(word, tmp_path)
    assert inside("out.png", tmp_path)
    assert inside(str(tmp_path / "out.png"), tmp_path)
    assert WEIGHTS != IMAGES
