"""Run the tests of many mutants, each in a process of its own, as many at a time as there are places."""

import gc
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from tests.mutation.mutants import Mutant
from tests.mutation.sight import Sight

MEMORY = 12 * 2**30  # bytes of address space


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant."""

    key: str
    outcome: str  # killed, timeout, crashed, survived, or unseen
    test: str  # that noticed it
    tests: int  # that could have
    seconds: float


class Place(Protocol):
    """Where one mutant at a time is tested: `InMemory` or `OnDisk`."""

    note: Path  # holds the name of the test that failed

    def start(self, mutant: Mutant | None, tests: list[str]) -> int:
        """Start a process that tests a mutant, or unchanged code, and return its number."""

    def restore(self) -> None:
        """Clean up after the process."""


def fork(body: Callable[[], int], output: Path, temporary: Path) -> int:
    """Run `body` in a new process with bounded memory, whose exit status it returns; return the process's number."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    status = 3
    try:
        os.setsid()
        file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ["TMPDIR"] = os.environ["PYTEST_DEBUG_TEMPROOT"] = str(temporary)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        status = body()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def run(
    mutants: list[Mutant], sight: Sight, places: list[Place], seconds: float, patience: float = 60
) -> Iterator[Outcome]:
    """Test every mutant with at most `seconds` of the tests that can see it, and yield outcomes as they come.

    A process is stopped after `patience` seconds and ten times what its tests usually take.
    """
    gc.collect()
    gc.freeze()  # so that collecting garbage does not touch what is in memory already
    waiting, free, running = list(reversed(mutants)), list(places), {}
    while waiting or running:
        while waiting and free:
            mutant = waiting.pop()
            tests = sight.tests_for(mutant, seconds)
            if not tests:
                yield Outcome(mutant.key, "unseen", "", 0, 0.0)
                continue
            place, start = free.pop(), time.monotonic()
            place.note.write_text("", encoding="utf-8")
            limit = start + patience + 10 * sum(sight.seconds[test] for test in tests)
            running[place.start(mutant, tests)] = mutant, tests, place, start, limit
        child, status = os.waitpid(-1, os.WNOHANG) if running else (0, 0)
        if child:
            mutant, tests, place, start, limit = running.pop(child)
            _stop(child)  # also what it may have started
            test, now = place.note.read_text(encoding="utf-8"), time.monotonic()
            outcome = "survived" if status == 0 else "killed" if test else "timeout" if now > limit else "crashed"
            place.restore()
            free.append(place)
            sight.kills[mutant.path, test] += outcome == "killed"
            yield Outcome(mutant.key, outcome, test, len(tests), round(now - start, 2))
            continue
        for late in [number for number, (*_, limit) in running.items() if time.monotonic() > limit]:
            _stop(late)
        time.sleep(0.005)


def passes(tests: list[str], place: Place) -> bool:
    """Whether tests pass on unchanged code."""
    _, status = os.waitpid(place.start(None, tests), 0)
    return status == 0


def _stop(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


class Ledger:
    """The outcomes so far, one line of JSON each, so that an interrupted run goes on where it stopped."""

    def __init__(self, path: Path) -> None:
        self.path, self.outcomes = path, {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                outcome = Outcome(**json.loads(line))
                self.outcomes[outcome.key] = outcome  # the last counts

    def outcome(self, mutant: Mutant) -> str | None:
        """What became of a mutant; None if that is not known yet."""
        return self.outcomes[mutant.key].outcome if mutant.key in self.outcomes else None

    def add(self, outcome: Outcome) -> None:
        """Note an outcome."""
        self.outcomes[outcome.key] = outcome
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")
