"""Environment variables of the commands, which the libraries of PyTorch read as they load. Imports no PyTorch."""

import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

COMMAND_DEFAULTS = {
    # Threads that wait for each other sleep. By default they spin for a while, which takes the processor from the
    # thread that they wait for if other programs run: two threads then compute a tenth of what one would.
    "OMP_WAIT_POLICY": "PASSIVE",
    "TORCH_CPP_LOG_LEVEL": "ERROR",  # no warnings of its C++ code between our messages
}


def set_command_defaults() -> None:
    """Set the variables if this process is the command `hatnet`. Variables that the user has set stay as they are."""
    if is_command(sys.orig_argv):
        for name, value in COMMAND_DEFAULTS.items():
            os.environ.setdefault(name, value)


def is_command(words: Sequence[str]) -> bool:
    """Return True if the words that started this process run the script `hatnet` or the module.

    >>> is_command(["python", "/usr/bin/hatnet", "train"]), is_command(["python", "-um", "hatnet"])
    (True, True)
    >>> is_command(["python", "-W", "default", "-m", "hatnet"]), is_command(["python", "mine.py", "hatnet"])
    (True, False)
    """
    for option, word in pairwise(words):
        if option == "-m":
            return word == "hatnet"
        if not word.startswith("-") and option not in ("-W", "-X"):  # whose values are words of their own
            return Path(word).stem == "hatnet"
    return False


def wait_policy() -> str:
    """How threads wait for each other: passive, active, or the library's own default."""
    return os.environ.get("OMP_WAIT_POLICY", "default").lower()
