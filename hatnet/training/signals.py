"""The end of long work in order, when somebody asks for it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from hatnet.training.loop import Watch


@contextmanager
def stoppable(watch: Watch) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM, as schedulers send) ends the work in order, the second one at once."""

    def stop(number: int, _: object) -> None:
        signal.signal(number, signal.SIG_DFL)  # files are whole all the same
        watch.stop = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
