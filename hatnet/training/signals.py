"""Stop long work in order on Ctrl-C."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from hatnet.training.progress import Monitor


@contextmanager
def stoppable(monitor: Monitor) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM, from a scheduler) stops the work in order, the second one at once."""

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # harmless, since files are always whole
        monitor.stop = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
