"""Damage to the content of a file, drawn at random."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from hatnet import CheckpointError


def damaged(content: bytes, count: int, header: int, seed: int = 0) -> Iterator[tuple[bytes, str]]:
    """`count` changed copies and words for the change: half of them in the first `header` bytes.

    Flipped bits, zeroed stretches (that were not zero) and cuts.
    """
    generator = np.random.default_rng(seed)
    for number in range(count):
        place = int(generator.integers(0, header if number % 2 else len(content)))
        kind = ("flip", "flip", "flip", "zeros", "cut")[number % 5]
        changed = bytearray(content)
        if kind == "flip":
            changed[place] ^= 1 << int(generator.integers(0, 8))
        elif kind == "zeros":
            end = place + int(generator.integers(1, 5000))
            changed[place:end] = bytes(len(changed[place:end]))
        else:
            del changed[place:]
        if changed != content:
            yield bytes(changed), f"{kind} at {place}"


def answers(read: Callable[[Path], object], path: Path, content: bytes, count: int) -> dict[str, str]:
    """The answer of `read` to each of `count` damaged files at `path`, by the damage: its error, or `accepted`."""
    found = {}
    for changed, words in damaged(content, count, 8 + int.from_bytes(content[:8], "little")):
        path.write_bytes(changed)
        try:
            read(path)
            found[words] = "accepted"
        except CheckpointError as error:
            found[words] = str(error)
    return found
