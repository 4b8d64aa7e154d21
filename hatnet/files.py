"""Write files completely or not at all, and read files that may be damaged or no files at all."""

import errno
import json
import math
import os
import stat
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PARTIAL = ".part."  # in the name of a file that is still being written
Bytes = bytes | bytearray | memoryview

ADVICE = {  # by the number of an error of the system
    errno.ENOSPC: "free space on this disk, or choose another one",
    errno.EDQUOT: "free space within your quota, or choose another disk",
    errno.EFBIG: "the system limits the size of files here; choose another disk",
    errno.EROFS: "choose a disk that can be written",
    errno.EACCES: "choose a folder that you may write to",
    errno.EPERM: "choose a folder that you may write to",
    errno.ELOOP: "this link leads back to itself; remove it or choose another path",
}


def write_whole(path: Path, *content: Bytes) -> None:
    """Write `content`, in one or several parts, to a temporary file beside `path`, then rename it.

    So no reader ever finds half a file. If `path` is a symbolic link, its target is replaced. Character devices,
    pipes, and the file that this process prints to are written to directly, since a renamed file would replace them.
    Raises OSError, which names the file and what to do, for everything else that is no regular file and for errors of
    the system such as a full disk; an older file at `path` is then unchanged.
    """
    try:
        if _is_written_to_directly(path):
            _write_directly(path, content)
        else:
            _replace(Path(os.path.realpath(path)), content)
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        words = f"cannot write {path}: {os.strerror(error.errno)}; {ADVICE[error.errno]}. An older file is unchanged"
        raise OSError(error.errno, words) from error


def _is_written_to_directly(path: Path) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:  # also a link to a file that is not there yet
        return False
    if _printed_to(status) is not None:
        return True
    if stat.S_ISREG(status.st_mode):
        return False
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(f"cannot write {path}: it is a folder; give the name of a file")
    if stat.S_ISCHR(status.st_mode) or stat.S_ISFIFO(status.st_mode):
        return True
    raise OSError(f"cannot write {path}: it is no regular file but a block device or socket; choose another path")


def _printed_to(status: os.stat_result) -> int | None:
    """The descriptor of this process's output or errors, if it is this file."""
    for descriptor in (1, 2):
        try:
            if os.path.samestat(status, os.fstat(descriptor)):
                return descriptor
        except OSError:  # closed
            continue
    return None


def _write_directly(path: Path, content: tuple[Bytes, ...]) -> None:
    printed_to = _printed_to(path.stat())
    if printed_to is not None:  # opened again, what is printed next would overwrite what is written here
        sys.stdout.flush()
        descriptor = os.dup(printed_to)
    else:
        descriptor = _open_directly(path)
    with os.fdopen(descriptor, "wb") as file:
        for part in content:
            file.write(part)


def _open_directly(path: Path) -> int:
    no_wait = getattr(os, "O_NONBLOCK", 0)  # a pipe that nobody reads is an error instead of waiting for a reader
    try:
        descriptor = os.open(path, os.O_WRONLY | no_wait)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise OSError(f"cannot write {path}: it is a pipe that no process reads; start the reader first") from None
    if no_wait:
        os.set_blocking(descriptor, True)
    return descriptor


def _replace(path: Path, content: tuple[Bytes, ...]) -> None:
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} to; create it first")
    start = os.fsdecode(os.fsencode(path.name)[:100])  # a name may have 255 bytes
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{start}{PARTIAL}")
    try:
        with os.fdopen(handle, "wb") as file:
            for part in content:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # mkstemp makes files that only their owner can read
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name survives a crash only once the folder is on the disk too
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def expand_home(path: str | Path) -> Path:
    """The path with `~` and `~user` replaced by the home folder; FileNotFoundError for an unknown user."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f"{path}: there is no such home folder") from error


def remove_partial_files(folder: Path) -> None:
    """Remove the temporary files of `write_whole` calls that were killed; no other process may write to `folder`."""
    for path in folder.glob(f".*{PARTIAL}*"):
        path.unlink(missing_ok=True)


def read_whole(path: Path, most: int, first: int | None = None) -> bytes:
    """The content of a regular file of at most `most` bytes, or only its first bytes.

    It is opened once, so that it cannot change between checks and reading. Raises FileNotFoundError, another OSError
    for folders, pipes, devices and sockets, without waiting for them, and ValueError for a larger file.
    """
    kind = OSError(f"cannot read {path}: it is no regular file but a pipe, device or socket")
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket
            raise kind from None
        raise
    try:
        status = os.fstat(descriptor)
        if stat.S_ISDIR(status.st_mode):  # which Python refuses to open as a file
            raise IsADirectoryError(f"cannot read {path}: it is a folder; give the name of a file")
        if not stat.S_ISREG(status.st_mode):
            raise kind
        if status.st_size > most:
            raise ValueError(f"{path} has {status.st_size:,} bytes, more than the {most:,} that such a file can have")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            # Room for that many bytes is taken at once.
            return file.read(status.st_size if first is None else min(first, status.st_size))
    finally:
        os.close(descriptor)


def parse_json(text: str | bytes) -> Any:
    """Parse JSON. Raises ValueError for anything else, also if it is nested too deeply to be read."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("its brackets are nested too deeply") from None


def read_json(path: Path, most: int = 2**27) -> Any:
    """Parse a JSON file of at most `most` bytes. Errors as in `read_whole` and `parse_json`."""
    return parse_json(read_whole(path, most))


def json_bytes(facts: Mapping[str, Any]) -> bytes:
    """Facts as indented JSON. NaN and infinity, which JSON cannot hold, become null."""
    return (json.dumps(_finite(facts), indent=2, allow_nan=False) + "\n").encode()


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    return [_finite(entry) for entry in value] if isinstance(value, list | tuple) else value


def absolute_path(given: str | Path) -> Path:
    """An absolute path without links, from which `~` is expanded. Raises ValueError if there is no such path."""
    try:
        return expand_home(given).resolve()
    except (OSError, RuntimeError, ValueError) as error:  # no such home folder, links in a circle, a null byte
        raise ValueError(f"{str(given)!r} is not a path: {error}") from error
