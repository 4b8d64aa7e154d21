"""The lock of a run's folder: only one training may write to it."""

import errno
import os
import socket
import warnings
from pathlib import Path
from weakref import WeakValueDictionary, finalize

from hatnet.training.distributed import Processes

NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}  # errors of file systems without locks
# Locks of this process: the system's locks only exclude other processes.
HELD: WeakValueDictionary[str, "RunLock"] = WeakValueDictionary()


class FolderInUseError(ValueError):
    """Another training writes to this folder. The message names the folder and, if known, the other process."""


class RunLock:
    """A lock on `run.lock` in a folder, held until `release`, or until this object or its process ends.

    It is a POSIX record lock (`fcntl.lockf`). The system releases it when the process ends in any way, even if forked
    data loaders live a moment longer. The file names the process that holds the lock; a file alone locks nothing.
    Without such locks, this class warns and does nothing.

    Within a process, a new training takes the lock from one that has not begun.

    Raises FolderInUseError if the lock is taken, and OSError if the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path, self.begun = folder, folder / "run.lock", False
        key = os.path.realpath(folder)
        other = HELD.get(key)
        if other is not None and other.begun:
            raise FolderInUseError(_in_use(folder, "by another training of this process"))
        if other is not None:
            other.release()
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(f"{folder} is no folder: give --out another path")
        created = [path for path in (folder, *folder.parents) if not path.exists()]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            descriptor = _locked(self.path, folder)
        except BaseException:
            _remove_empty(created)
            raise
        HELD[key] = self
        self._release = finalize(self, _unlock, self.path, descriptor, created, os.getpid())

    def begin(self) -> None:
        """Keep the lock until `release`. Raises FolderInUseError if it has been released."""
        if not self._release.alive:
            words = "this training has ended, or a newer one took its place; make another Training with resume=True"
            raise FolderInUseError(f"{self.folder} is no longer locked: {words}")
        self.begun = True

    def release(self) -> None:
        """Release the lock and remove its file, and the folder if this lock created it and it is empty."""
        self.begun = False
        self._release()


def lock_folder(folder: Path, processes: Processes) -> RunLock | None:
    """Lock a folder in the first process. All processes must call this, and all raise if it fails; see `RunLock`."""
    if not processes.is_first:
        if processes.any(False):
            raise ValueError(f"the first process could not lock {folder}; see its message")
        return None
    try:
        lock = RunLock(folder)
    except (OSError, ValueError):
        processes.any(True)  # tell the others before this process ends, so that none waits for it
        raise
    processes.any(False)
    return lock


def _locked(path: Path, folder: Path) -> int | None:
    """Lock the file and return its descriptor; None if there are no locks."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        _warn(folder)
        return None
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)
        except OSError as error:
            words = f"cannot write {path}: {os.strerror(error.errno or 0)}; give --out a folder that can be written"
            raise OSError(error.errno, words) from error
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 300).decode(errors="replace")
            os.close(descriptor)
            if error.errno in NO_LOCKS:
                _warn(folder)
                return None
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            raise FolderInUseError(_in_use(folder, holder.strip())) from None
        if _is_still_at(path, descriptor):  # a holder that ended between the two calls above removes it
            break
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"by process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError:  # on a full disk, a lock without text is enough
        pass
    return descriptor


def _is_still_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _unlock(path: Path, descriptor: int | None, created: list[Path], owner: int) -> None:
    if os.getpid() != owner:  # a forked process, whose copy of the lock means nothing
        return
    if descriptor is not None:
        path.unlink(missing_ok=True)  # still locked, so this is not the file of the next holder
        os.close(descriptor)
    _remove_empty(created)


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:  # the innermost first
        try:
            folder.rmdir()
        except OSError:  # it holds something, or was not created
            return


def _in_use(folder: Path, holder: str) -> str:
    by = f" {holder}" if holder else ""
    return f"{folder} is in use{by}: wait until that training ends, stop it, or give --out another folder"


def _warn(folder: Path) -> None:
    warnings.warn(
        f"{folder} is on a file system without locks: nothing keeps a second training out of it", stacklevel=2
    )
