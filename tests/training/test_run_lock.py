"""Only one training writes to a folder, and a killed one leaves nothing that blocks the next."""

import errno
import fcntl
import gc
import multiprocessing
import os
import shutil
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

from hatnet.training import Monitor
from hatnet.training.checkpoint_evaluation import evaluate_checkpoint
from hatnet.training.run_lock import FolderInUseError, RunLock
from tests.training.image_files import folder_data
from tests.training.runs import ALONE, run, small_data, start, stop_after
from tests.training.test_distributed import torchrun

FORK = multiprocessing.get_context("fork")


class Holder:
    """Another process that holds the lock of a folder until it is killed."""

    def __init__(self, folder: Path, child: bool = False) -> None:
        ready = FORK.Event()
        self.process = FORK.Process(target=self._hold, args=(folder, ready, child), daemon=True)
        self.process.start()
        assert ready.wait(600)

    @staticmethod
    def _hold(folder, ready, child):
        lock = RunLock(folder)
        lock.begin()
        if child:  # like a worker that loads data
            worker = os.fork()
            if not worker:
                time.sleep(20)
                os._exit(0)
        ready.set()
        time.sleep(3600)

    def kill(self):
        self.process.kill()
        self.process.join()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "run.lock"}


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_training_is_refused_before_it_reads_data(resume, tmp_path):
    if resume:
        run(tmp_path, monitor=stop_after(1))
    before, holder = contents(tmp_path), Holder(tmp_path)

    def clean(_):
        pytest.fail("read data")

    message = rf"{tmp_path} is in use by process {holder.process.pid} on .*: wait until that training ends"
    with pytest.raises(FolderInUseError, match=message):
        start(tmp_path, resume=resume, clean=clean)
    assert contents(tmp_path) == before
    holder.kill()
    run(tmp_path, resume=resume)
    assert not (tmp_path / "run.lock").exists()


def test_a_killed_process_leaves_no_lock_though_its_workers_live_on(tmp_path):
    Holder(tmp_path, child=True).kill()
    assert (tmp_path / "run.lock").read_text().startswith("by process"), "the file stays and means nothing"
    lock = RunLock(tmp_path)
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_is_held_until_the_training_ends_or_is_dropped(tmp_path):
    folder, seen = tmp_path / "a" / "b", []
    monitor = stop_after(1)
    report = monitor.report
    monitor.report = lambda progress: (seen.append((folder / "run.lock").exists()), report(progress))
    training = start(folder)
    assert is_locked(folder)
    training.run(monitor)
    assert seen[0]
    assert not is_locked(folder)
    with pytest.raises(FolderInUseError, match="no longer locked: this training has ended"):
        training.run()

    dropped = start(tmp_path / "c" / "d")
    assert is_locked(tmp_path / "c" / "d")
    del dropped
    gc.collect()
    assert not (tmp_path / "c").exists(), "nothing was written to it"


def is_locked(folder: Path) -> bool:
    """Whether another process could not lock the folder."""
    with FORK.Pool(1) as pool:
        return pool.apply(_cannot_lock, (folder,))


def _cannot_lock(folder):
    if not (folder / "run.lock").exists():
        return False
    with (folder / "run.lock").open("a") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False


def test_an_error_in_preparation_gives_the_lock_back(tmp_path, whole):
    def clean(_):
        raise ValueError("broken data")

    with pytest.raises(ValueError, match="broken data"):
        start(tmp_path / "new", clean=clean)
    assert not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="holds a run already") as kept:  # which keeps the frames of the training alive
        start(whole)
    assert not (whole / "run.lock").exists(), kept


def test_within_a_process_a_new_training_replaces_one_that_has_not_begun(tmp_path):
    first = start(tmp_path)
    second = start(tmp_path)
    with pytest.raises(FolderInUseError, match="a newer one took its place"):
        first.run()
    monitor = Monitor(stop=True)

    def begin_another(_):
        with pytest.raises(FolderInUseError, match="in use by another training of this process"):
            start(tmp_path, resume=True)

    monitor.report = begin_another
    second.run(monitor)
    run(tmp_path, resume=True)


def test_a_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    with pytest.warns(UserWarning, match="file system without locks: nothing keeps a second training out"):
        lock = RunLock(tmp_path)
    lock.release()


@pytest.mark.parametrize("again", [False, True], ids=["gone", "replaced"])
def test_a_file_that_its_holder_removes_just_before_the_lock_is_made_again(again, tmp_path, monkeypatch):
    lock_file, removed = fcntl.lockf, []

    def remove_once(descriptor, flags):
        if not removed:
            removed.append((tmp_path / "run.lock").rename(tmp_path / "removed"))
            if again:
                (tmp_path / "run.lock").write_text("by another process")
        lock_file(descriptor, flags)

    monkeypatch.setattr(fcntl, "lockf", remove_once)
    lock = RunLock(tmp_path)
    monkeypatch.undo()
    assert is_locked(tmp_path)
    lock.release()
    assert not (tmp_path / "run.lock").exists()


def test_a_full_disk_leaves_a_lock_without_a_text(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "write", Mock(side_effect=OSError(errno.ENOSPC, "No space left on device")))
    lock = RunLock(tmp_path)
    monkeypatch.undo()
    assert is_locked(tmp_path)
    assert (tmp_path / "run.lock").read_bytes() == b""
    lock.release()


def test_a_lock_whose_file_somebody_deleted_is_released(tmp_path):
    lock = RunLock(tmp_path / "run")
    (tmp_path / "run" / "run.lock").unlink()
    lock.release()
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("error", [OSError(errno.EROFS, "Read-only file system"), KeyboardInterrupt()])
def test_folders_made_for_a_lock_that_fails_are_removed(error, tmp_path, monkeypatch):
    (tmp_path / "old").mkdir()
    monkeypatch.setattr("hatnet.training.run_lock._locked", Mock(side_effect=error))
    with pytest.raises(type(error)):
        RunLock(tmp_path / "old" / "new" / "run")
    assert [path.name for path in tmp_path.rglob("*")] == ["old"]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="file is no folder: give --out another path"):
        start(tmp_path / "file")
    if os.geteuid() == 0:
        return  # who may write everywhere
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="give --out a folder that can be written"):
        start(tmp_path)


def test_evaluating_a_folder_in_training_works(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("hatnet.training.checkpoint_evaluation.open_shared_data", lambda *_: small_data())
    folder = shutil.copytree(whole, tmp_path / "run")
    holder = Holder(folder)
    evaluate_checkpoint(folder / "last.safetensors", ALONE).write(folder)
    holder.kill()
    assert (folder / "evaluation.json").exists()


@pytest.mark.long
def test_under_torchrun_all_processes_learn_of_the_refusal(tmp_path):
    data, holder = folder_data(tmp_path / "data", images=9), Holder(tmp_path / "run")
    ended = torchrun(
        2, "-m", "hatnet", "train", "fashion-quick", "--data", data.name, "--data-dir", str(tmp_path), "--epochs", "2",
        "--batch-size", "8", "--slice-size", "4", "--workers", "0", "--device", "cpu", "--out", str(tmp_path / "run"),
    )  # fmt: skip
    holder.kill()
    assert ended.returncode != 0
    assert f"run is in use by process {holder.process.pid}" in ended.stderr
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["run.lock"]
