"""Write files completely or not at all."""

import os
import tempfile
from pathlib import Path

PARTIAL = ".part."  # in the name of a file that is still being written


def write_whole(path: Path, content: bytes) -> None:
    """Write `content` to a temporary file beside `path`, then rename it, so that no reader ever finds half a file.

    If `path` is a symbolic link, its target is replaced. After an OSError an older file at `path` is unchanged.
    """
    path = path.resolve()
    if not path.parent.is_dir():
        raise FileNotFoundError(f"no folder {path.parent} to write {path.name} to; create it first")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}{PARTIAL}")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
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
