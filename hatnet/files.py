"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

REMAINS = ".part."  # in the names of files that are being written


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that there is never half of one: to a neighbour first, then into its place.

    Where `path` is a link, what it leads to is written.

    Raises:
        OSError: if it can't be written; an older file at `path` is then still there.
    """
    path = path.resolve()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} to; create it first")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}{REMAINS}")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)  # mkstemp lets only its owner read
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name is on the disk only when the folder is
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def remove_remains(folder: Path) -> None:
    """Remove what a kill in the middle of `write_whole` left in a folder that nobody else writes to."""
    for path in folder.glob(f".*{REMAINS}*"):
        path.unlink(missing_ok=True)
