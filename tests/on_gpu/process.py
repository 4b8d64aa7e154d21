"""Run a command with a time limit, so that it can stop in order, and so that nothing of it stays behind."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which

GRACE = 40.0  # seconds to stop in order after SIGTERM
LAST_LINES = 25


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    exit: int  # negative: the signal that killed it
    seconds: float
    stopped: str = ""  # why it was stopped: `time`, or the name of a signal that this process received


class StoppedError(Exception):
    """A signal ended this process."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def run(
    command: Sequence[str],
    log: Path,
    folder: Path,
    limit: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Outcome:
    """Run a command in `folder`, append its output to `log`, and stop it after `limit` seconds.

    It is stopped by SIGTERM, and killed if it is still there after GRACE seconds. A StoppedError, which the caller's
    handlers of signals raise, stops it in the same way. If this process is killed, the command receives SIGTERM too,
    where `setpriv` exists.
    """
    stopper = ["setpriv", "--pdeathsig", "TERM"] if which("setpriv") else []
    start = time.monotonic()
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*stopper, *command], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})}, process_group=0,
        )  # fmt: skip
        stopped = ""
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            stopped = "time"
        except StoppedError as reason:
            stopped = str(reason)
        finally:
            _end(process)
    return Outcome(process.returncode, time.monotonic() - start, stopped)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the command, and kill what is left of its group."""
    try:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def last_lines(log: Path) -> list[str]:
    """The last lines of a log, without the carriage returns of progress bars."""
    if not log.is_file():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 20_000))
        text = file.read().decode(errors="replace")
    lines = [line.rpartition("\r")[2].rstrip() for line in text.split("\n")]
    return [line[:300] for line in lines if line][-LAST_LINES:]
