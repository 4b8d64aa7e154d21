"""Whatever a command receives, it ends with a result or a message: no traceback, no half file, no endless work.

`HATNET_FUZZ_EXAMPLES=10000 HYPOTHESIS_PROFILE=nightly python -m pytest tests/fuzz/test_commands.py` draws new
cases. Everything is written below a temporary folder, and `run` refuses any other path.
"""

import contextlib
import json
import os
import random
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, note, settings

from hatnet.cli import main
from hatnet.files import PARTIAL
from tests.fuzz.commands import COMMANDS, command_lines, options
from tests.fuzz.conftest import OUTCOMES
from tests.fuzz.files import damaged, drawn, other_facts, with_junk
from tests.fuzz.limits import files_below, limited
from tests.training.small_command import stop_runs

SECONDS = 30.0


@pytest.fixture(scope="module")
def files(corpus):
    """Files by kind, the folder of all, and a run that stopped after its first step."""
    base = corpus["images"][0].parent
    found = {kind: [str(path) for path in paths] for kind, paths in corpus.items()}
    found["folders"] = [f"folder:{path}" for path in found["folders"]] + ["folder:", "x", "", "fashion", "folder:~"]
    found["weights"] += ["None", "fashion-mnist", "x", "", str(base / "run")]
    found["recipes"] += ["fashion-quick", "x", "", str(base / "run")]
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(SystemExit):
        stop_runs(patch, True)
        words = ["train", *COMMANDS["train"].first, *COMMANDS["train"].last]
        patch.setattr("sys.argv", ["hatnet", *with_files(words, base, base, found)])
        patch.chdir(base)
        main.main()
    assert (base / "run/state.safetensors").is_file()
    return found | {"base": base}


def with_files(words: list[str], base: Path, folder: Path, files) -> list[str]:
    """The words with paths of files in `base`, or of damaged ones and runs, which are written into `folder`."""
    good = {"GOOD-IMAGE": files["images"][0], "GOOD-WEIGHTS": files["weights"][0], "folder:IMAGES": files["folders"][0]}
    words = [good.get(word, word) for word in words]
    for index, word in enumerate(words):
        if word.startswith("file-"):
            _, kind, number = word.split("-")
            words[index], content = drawn(files[kind], int(number))
            if content is not None:
                (folder / words[index]).write_bytes(content)
        elif word.startswith("run-"):
            shutil.copytree(base / "run", folder / word)
            damage_run(folder / word, random.Random(word))
    return words


def damage_run(run: Path, generator: random.Random) -> None:
    """Change a run's state, facts or metrics, or remove a file; every fourth run stays as it is."""
    path = run / generator.choice(("state.safetensors", "run.json", "metrics.csv", "last.safetensors", ""))
    if not path.is_file():
        return
    content = path.read_bytes()
    variants = damaged(content, generator)
    if path.suffix == ".safetensors":
        variants = other_facts(content, generator)
    elif path.suffix == ".json":
        variants += [json.dumps(with_junk(json.loads(content), generator)).encode() for _ in range(40)]
    path.write_bytes(generator.choice(variants))
    if generator.random() < 0.2:
        path.unlink()


def inside(word: str, folder: Path) -> bool:
    """Whether a word, read as a path from the working folder, stays below `folder`."""
    path = os.path.normpath(folder / word.removeprefix("folder:"))
    return Path(path).is_relative_to(folder)


def run(words: list[str], files, hatnet_command) -> str:
    """Run a command in a folder of its own, and return the kind of outcome; an AssertionError says what is wrong."""
    base = files["base"]
    folder = Path(tempfile.mkdtemp(dir=base))
    words = with_files(words, base, folder, files)
    assert all(inside(word, base) for word in words), f"a path outside {base}: {words}"
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
    monkeypatch.setenv("HOME", str(files["base"]))
    if name == "docs":  # builds nothing and serves nothing
        monkeypatch.setattr("builder.build.build", lambda *given: None)
        monkeypatch.setattr("http.server.ThreadingHTTPServer.serve_forever", lambda server: None)
    known = options(hatnet_command(name, *(["fashion-quick"] if name == "train" else []), "--help")[1])
    assert known, f"hatnet {name} --help lists no options"

    @settings(max_examples=most, suppress_health_check=list(HealthCheck))
    @given(words=command_lines(name, known, files))
    def check(words):
        note(f"command: hatnet {' '.join(map(repr, words))}")
        OUTCOMES[f"commands, {run(words, files, hatnet_command)}"] += 1

    check()


def examples(default: int) -> int:
    """Cases for each command: `default`, or those of HATNET_FUZZ_EXAMPLES divided among all commands."""
    total = int(os.environ.get("HATNET_FUZZ_EXAMPLES", "0"))
    return -(-total // len(COMMANDS)) if total else default


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_ends_with_a_result_or_a_message(name, files, hatnet_command, monkeypatch):
    check_command(name, examples(8), files, hatnet_command, monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_ends_with_a_result_or_a_message_in_many_cases(name, files, hatnet_command, monkeypatch):
    check_command(name, examples(16), files, hatnet_command, monkeypatch)


def test_every_command_is_in_the_table():
    assert set(main.COMMANDS) == COMMANDS.keys(), "add the command to tests/fuzz/commands.py"


def test_paths_outside_the_temporary_folder_are_refused(tmp_path):
    for word in ("/dev/null", "../x", "folder:/etc", f"{tmp_path}/../x/y"):
        assert not inside(word, tmp_path)
    assert inside("out.png", tmp_path)
    assert inside(str(tmp_path / "out.png"), tmp_path)
