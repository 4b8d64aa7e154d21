"""Files are written whole or not at all, and only where a file belongs."""

import contextlib
import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import pytest

from hatnet.files import json_bytes, parse_json, read_whole, write_whole


def test_a_pipe_is_written_to_and_stays(tmp_path):
    path, found = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: found.append(path.read_bytes()))
    reader.start()
    for _ in range(1000):  # until the reader has opened it
        with contextlib.suppress(OSError):
            write_whole(path, b"x" * 100_000, b"end")
            break
        time.sleep(0.01)
    reader.join(10)
    assert found == [b"x" * 100_000 + b"end"]
    assert path.is_fifo()
    with pytest.raises(OSError, match="cannot write .*pipe: it is a pipe that no process reads; start the reader"):
        write_whole(path, b"")


def test_a_device_is_written_to_and_stays(tmp_path):
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 3))  # like /dev/null
        path.open("wb").close()
    except PermissionError:
        pytest.skip("only root makes devices, and not on every disk")
    write_whole(path, b"content")
    assert path.is_char_device()
    assert [entry.name for entry in tmp_path.iterdir()] == ["null"]


def test_what_this_process_prints_to_is_written_to_in_order(tmp_path):
    """As `--out /dev/stdout > file` does. Renaming would leave the rest of the output without a name."""
    path = tmp_path / "printed"
    script = "import sys; from pathlib import Path; from hatnet.files import write_whole as write; print('before');"
    script += "write(Path(sys.argv[1]), b'written\\n'); print('after')"
    with path.open("wb") as output:
        subprocess.run([sys.executable, "-c", script, str(path)], stdout=output, check=True)
    assert path.read_text() == "before\nwritten\nafter\n"


def test_folders_and_sockets_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for name, message in (("folder", "it is a folder; give the name"), ("socket", "block device or socket")):
            with pytest.raises(OSError, match=f"cannot write .*{name}: .*{message}"):
                write_whole(tmp_path / name, b"")
        assert {path.name for path in tmp_path.iterdir()} == {"folder", "socket"}


def test_links_lead_to_their_targets_or_nowhere(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match=r"cannot write .*one: .*; this link leads back to itself"):
        write_whole(tmp_path / "one", b"")
    (tmp_path / "dangling").symlink_to("target")
    write_whole(tmp_path / "dangling", b"x")
    assert (tmp_path / "target").read_bytes() == b"x"
    assert (tmp_path / "dangling").is_symlink()


def test_a_name_of_255_bytes_is_written(tmp_path):
    for name in ("a" * 255, "ä" * 127):
        write_whole(tmp_path / name, b"x")
        assert (tmp_path / name).read_bytes() == b"x"


@pytest.mark.parametrize("number", ["ENOSPC", "EDQUOT", "EROFS", "EACCES"])
def test_errors_of_the_disk_name_the_file_and_what_to_do(tmp_path, monkeypatch, number):
    def fail(*_):
        raise OSError(getattr(errno, number), "no file named")

    path = tmp_path / "x"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match=rf"cannot write {path}: .*; (free|choose).*older file is unchanged") as error:
        write_whole(path, b"new")
    assert error.value.errno == getattr(errno, number)
    assert path.read_bytes() == b"old"


@pytest.mark.long
def test_a_disk_that_is_really_full(tmp_path):
    """A file system of 100 kB in memory, which only root can mount."""
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=100k", "none", str(tmp_path)]
    if mount is None or subprocess.run([mount, *options], capture_output=True).returncode:
        pytest.skip("only root mounts")
    try:
        write_whole(tmp_path / "x", b"old")
        with pytest.raises(OSError, match="free space on this disk"):
            write_whole(tmp_path / "x", bytes(200_000))
        assert (tmp_path / "x").read_bytes() == b"old"
        assert len(list(tmp_path.iterdir())) == 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_reading_is_bounded(tmp_path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(10**12)  # takes no room
    with pytest.raises(ValueError, match="has 1,000,000,000,000 bytes, more than the 1,000"):
        read_whole(tmp_path / "large", most=1000)
    with pytest.raises(ValueError, match="brackets are nested too deeply"):
        parse_json("[" * 100_000)


def test_json_has_null_instead_of_nan():
    facts = {"a": float("nan"), "b": [1.5, (float("inf"), None)], "c": {"d": -float("inf"), "e": "NaN"}}
    assert parse_json(json_bytes(facts)) == {"a": None, "b": [1.5, [None, None]], "c": {"d": None, "e": "NaN"}}
