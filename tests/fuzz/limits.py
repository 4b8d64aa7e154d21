"""Limits on one case: seconds, memory, warnings, and the files that it leaves."""

import resource
import signal
from contextlib import contextmanager
from pathlib import Path

MEMORY = 2 * 2**30  # bytes beyond those in use before the case


class TooSlowError(BaseException):
    """A case took too long; not an Exception, so that no code under test can catch it."""


@contextmanager
def limited(seconds: float, memory: int = MEMORY):
    """Raise TooSlowError after `seconds` of the processor, or ten times as long by the clock.

    Allocations beyond `memory` bytes fail.
    """

    def stop(number, frame):
        raise TooSlowError(f"still running after {seconds:g} s")

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else None
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    timers = {signal.SIGPROF: (signal.ITIMER_PROF, seconds), signal.SIGALRM: (signal.ITIMER_REAL, 10 * seconds)}
    before = {number: signal.signal(number, stop) for number in timers}
    for timer, most in timers.values():
        signal.setitimer(timer, most)
    try:
        if pages is not None:
            resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, hard))
        yield
    finally:
        for number, (timer, _) in timers.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
