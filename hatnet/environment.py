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


def asks_for_help(words: Sequence[str]) -> bool:
    """Return True if the words after `hatnet` name no command, so that its help, or an error, is all that is printed.

    >>> asks_for_help([]), asks_for_help(["--help"]), asks_for_help(["train", "--help"])
    (True, True, False)
    """
    return list(words) in ([], ["-h"], ["--help"])


def wait_policy() -> str:
    """How threads wait for each other: passive, active, or the library's own default."""
    return os.environ.get("OMP_WAIT_POLICY", "default").lower()
