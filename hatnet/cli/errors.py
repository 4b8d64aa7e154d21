"""Errors of a command: a message that helps to correct them, and an exit status."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from hatnet.device import out_of_memory, out_of_memory_cause
from hatnet.training.distributed import connection_lost
from hatnet.training.loop import NonFiniteLossError
from hatnet.training.progress import Terminated


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Print errors of the user's input and machine to stderr and exit; any other error is a bug and is raised.

    Exit status 2 for wrong input, missing packages and full memory; 1 for a training that diverged or lost one of its
    processes; 130 for Ctrl-C and 143 for SIGTERM (128 and the number of the signal, as in shells).
    """
    try:
        yield
    except (ValueError, OSError) as error:
        _end(f"error: {error}")
    except MemoryError as error:
        _end(f"error: not enough memory{f': {error}' if str(error) else ''}; smaller images take less")
    except NonFiniteLossError as error:
        _end(f"stopped: {error}", status=1)
    except RuntimeError as error:
        if connection_lost(error):
            cause = str(error).strip().partition("\n")[0]
            _end(f"stopped: another process of this training has ended or can't be reached ({cause})", status=1)
        if not out_of_memory(error):
            raise
        _end(
            f"error: {out_of_memory_cause(error)}\n"
            "Halve --slice-size (train: the step's gradient stays the same) or --batch-size (evaluate). "
            "Then try smaller images, or another --device"
        )
    except ModuleNotFoundError as error:  # a command imports its extra packages when it runs
        extra = "dense" if error.name == "pycocotools" else "train"
        _end(f"error: this command needs {error.name}: python -m pip install 'hatnet[{extra}]'")
    except KeyboardInterrupt as stop:
        sys.exit(143 if isinstance(stop, Terminated) else 130)


def _end(message: str, status: int = 2) -> NoReturn:
    print(message, file=sys.stderr)
    sys.exit(status)
