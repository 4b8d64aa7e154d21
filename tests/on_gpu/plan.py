"""Which piece runs next, and for how long."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.on_gpu.pieces import Piece
from tests.on_gpu.process import GRACE
from tests.on_gpu.records import Records

SLICE = 1.5  # minutes of the shortest slice of a training that is worth its start
STOPPING = GRACE / 60  # minutes that a command may take to stop


@dataclass(frozen=True)
class Step:
    """What to do about a piece: run it for at most `minutes`, or not at all, and why."""

    minutes: float | None = None  # None for no limit
    too_long: str = ""  # why it cannot run in any call like this one
    no_time: str = ""  # why it cannot run in what is left of this call


def order(pieces: Sequence[Piece], records: Records) -> list[Piece]:
    """Pieces that are not done, in their order; those that failed come after all others.

    One that was cut off comes before its successors, since they have not run yet.
    """
    waiting = [piece for piece in pieces if records.status(piece.name) != "done"]
    return sorted(waiting, key=lambda piece: records.status(piece.name) == "failed")


def step(piece: Piece, records: Records, left: float | None, whole: float | None) -> Step:
    """Decide about a piece, with `left` of `whole` minutes left in this call; None for no limit.

    A piece that does not resume starts only if all of it fits: the expected minutes, and a fifth more than a slice that
    was cut off.
    """
    if left is None or whole is None:
        return Step()
    left, whole = left - STOPPING, whole - STOPPING
    entry = records.entries.get(piece.name)
    cut = entry.longest / 60 if entry else 0.0
    need = SLICE if piece.resumes else max(piece.minutes, 1.2 * cut)
    if need > whole:
        return Step(too_long=f"needs --minutes {need + STOPPING:.1f} or more")
    if need > left:
        return Step(no_time=f"needs {need:.1f} minutes, and {max(left, 0):.1f} are left")
    return Step(left)
