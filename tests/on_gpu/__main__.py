"""Run everything that is to be measured on a GPU, the most valuable first, and keep dated records for the site.

    python -m tests.on_gpu --list         # the pieces, which are done, and the expected minutes
    python -m tests.on_gpu --minutes 9    # run those that are missing for nine minutes; the same command continues
    python -m tests.on_gpu --only tests   # run some by name
    python -m tests.on_gpu --miniature    # every kind of piece on tiny sizes on the CPU, in a few minutes

A piece runs in a process of its own. If it fails, the others still run, and its last lines are kept. A training is cut
into slices: it stops in order when the time is up, and continues where it was. Exit status: 0 if all chosen pieces are
done, 3 if some wait for another call, 1 if one failed or cannot run here, 2 for wrong options or no GPU, and 130 or 143
after Ctrl-C or SIGTERM.
"""

import argparse
import math
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from hatnet.studies.common.records import timestamp
from hatnet.training.run_lock import FolderInUseError, RunLock
from tests.on_gpu.pieces import Piece, no_gpu, pieces, shown
from tests.on_gpu.place import ROOT, Place, machine_facts
from tests.on_gpu.plan import order, step
from tests.on_gpu.process import Outcome, StoppedError, last_lines, run
from tests.on_gpu.records import Records

OUT, RUNS = ROOT / "docs" / "measurements" / "gpu", ROOT / "runs" / "on-gpu"
DONE, FAILED, WRONG, WAITING = 0, 1, 2, 3


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    """The options. `tyro`, which the other commands use, may be missing on the machine with the GPU."""
    parser = argparse.ArgumentParser(
        "python -m tests.on_gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="print the pieces and run nothing")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="pieces to run")
    parser.add_argument("--minutes", type=minutes, metavar="N", help="end within N minutes; by default run to the end")
    parser.add_argument("--miniature", action="store_true", help="tiny sizes on the CPU")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder of the records; docs/measurements/gpu")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="folder of logs and training states; runs/on-gpu")
    parser.add_argument("--fashion-mnist", type=Path, metavar="FOLDER", help="folder with the files of Fashion-MNIST")
    return parser.parse_args(words)


def minutes(text: str) -> float:
    """A number of minutes. Raises ValueError, which argparse reports."""
    value = float(text)
    if not 2 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be a number of minutes, 2 or more: a command needs time to stop")
    return value


def main(words: Sequence[str] | None = None) -> int:
    """The command. Returns its exit status."""
    given = arguments(words)
    small = ROOT / "runs" / "on-gpu-miniature"
    out = given.out or (small / "records" if given.miniature else OUT)
    runs = given.runs or (small if given.miniature else RUNS)
    fashion = given.fashion_mnist and given.fashion_mnist.expanduser().resolve()
    place = Place(out.expanduser().resolve(), runs.expanduser().resolve(), fashion, given.miniature)
    try:
        known = pieces(place)
        if unknown := set(given.only) - {piece.name for piece in known}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(p.name for p in known)}")
        if given.list:
            print_list(known, Records(place.out, place.miniature))
            return DONE
        if not place.miniature and (problem := no_gpu()):
            raise ValueError(problem)
        place.out.mkdir(parents=True, exist_ok=True)
        place.runs.mkdir(parents=True, exist_ok=True)
        lock = locked(place.out)
        try:
            chosen = [piece for piece in known if not given.only or piece.name in given.only]
            return run_all(chosen, place, Records(place.out, place.miniature), given.minutes)
        finally:
            lock.release()
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return WRONG
    except StoppedError as stopped:
        print(f"Stopped by {stopped}; the same command continues.")
        return 128 + stopped.number


def locked(folder: Path) -> RunLock:
    """Keep a second call out of the folder of the records."""
    try:
        return RunLock(folder)
    except FolderInUseError:
        raise ValueError(f"another `python -m tests.on_gpu` writes to {folder}: wait for it, or stop it") from None


def print_list(known: Sequence[Piece], records: Records) -> None:
    """One line per piece: name, state, expected minutes, and what it is."""
    print(f"Records: {records.path.parent}\n")
    print(f"{'piece':30} {'state':22} {'minutes':>8}  what")
    for piece in known:
        entry = records.entries.get(piece.name)
        state = f"{entry.status} {entry.started[:10]}" if entry else "waiting"
        took = f"{entry.seconds / 60:.1f}" if entry and entry.status == "done" else f"~{piece.minutes:g}"
        print(f"{piece.name:30} {state:22} {took:>8}  {piece.title}")


def run_all(chosen: Sequence[Piece], place: Place, records: Records, whole: float | None) -> int:
    """Run what is missing, in order, until the time is up. Returns the exit status of the command."""
    start, machine = time.monotonic(), machine_facts(place.device)
    for piece in chosen:
        if records.status(piece.name) == "done":
            print(f"{piece.name}: done on {records.entries[piece.name].started[:10]}")
    waiting = order(chosen, records)
    blocked = {piece.name: found for piece in waiting if (found := piece.problems(place))}
    for name, problems in blocked.items():
        print(f"{name} cannot run here: {'; '.join(problems)}")
    late = False
    for piece in waiting:
        if piece.name in blocked or late:
            continue
        now = step(piece, records, None if whole is None else whole - (time.monotonic() - start) / 60, whole)
        if now.too_long or now.no_time:
            print(f"{piece.name} was not started: it {now.too_long or now.no_time}")
            late = bool(now.no_time)
            continue
        run_piece(piece, place, records, machine, now.minutes)
    return report(chosen, records, blocked)


def run_piece(piece: Piece, place: Place, records: Records, machine: dict[str, str | int], limit: float | None) -> None:
    """Run a slice of a piece, and record how it ended. Raises StoppedError after a signal, which is recorded first."""
    print(
        f"{piece.name}: started, about {piece.minutes:g} minutes on an H200; log: {place.log(piece.name)}", flush=True
    )
    entry = records.start(piece.name, shown(piece, place), machine, timestamp())
    written = {name: stamp(place.out / name) for name in piece.files}
    words, environment = [sys.executable, *piece.words], environment_of(piece)
    outcome = run(words, place.log(piece.name), ROOT, limit and limit * 60, environment)
    status, result = judged(piece, place, outcome, written)
    cut = outcome.seconds if outcome.stopped == "time" and status != "done" else 0.0
    entry = replace(
        entry, status=status, ended=timestamp(), seconds=round(entry.seconds + outcome.seconds, 1),
        longest=round(max(entry.longest, cut), 1), slices=entry.slices + 1, exit=outcome.exit, result=result,
        files=[name for name in piece.files if (place.out / name).is_file()] if status == "done" else [],
        log=[] if status == "done" else [place.show(line) for line in last_lines(place.log(piece.name))],
    )  # fmt: skip
    records.put(piece.name, entry)
    print(f"{piece.name}: {status} after {entry.seconds / 60:.1f} minutes{f': {result}' if result else ''}", flush=True)
    if status == "failed":
        print("\n".join(f"    {line}" for line in entry.log))
    if outcome.stopped.startswith("SIG"):
        raise StoppedError(getattr(signal, outcome.stopped))


def environment_of(piece: Piece) -> dict[str, str]:
    """What a piece runs with. Its packages may lie in a folder on PYTHONPATH, on a machine without internet."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": paths, "PYTHONUNBUFFERED": "1", "MPLBACKEND": "Agg", **piece.environment}


def stamp(path: Path) -> int | None:
    """When a file was written; None if it is not there."""
    return path.stat().st_mtime_ns if path.is_file() else None


def judged(piece: Piece, place: Place, outcome: Outcome, before: dict[str, int | None]) -> tuple[str, str]:
    """The status of a piece and its result. Exit status 0 is not enough: its files must be new."""
    if outcome.exit != 0:
        if outcome.stopped:
            words = "the time was up" if outcome.stopped == "time" else outcome.stopped
            return "cut off", "" if piece.resumes else f"{words}; it starts anew"
        return "failed", f"exit status {outcome.exit}"
    try:
        result = piece.finish(place)
    except (OSError, ValueError, LookupError, TypeError, SyntaxError) as error:
        return "failed", f"its output is not as expected: {error}"
    old = [name for name in piece.files if (now := stamp(place.out / name)) is None or now == before[name]]
    return ("failed", f"did not write {', '.join(old)}") if old else ("done", result)


def report(chosen: Sequence[Piece], records: Records, blocked: dict[str, list[str]]) -> int:
    """Print what is done and what is not. Returns the exit status."""
    by_status: dict[str, list[str]] = {}
    for piece in chosen:
        by_status.setdefault(records.status(piece.name), []).append(piece.name)
    done, failed = (by_status.get(status, []) for status in ("done", "failed"))
    print(f"{len(done)} of {len(chosen)} pieces are done; the records are in {records.path.parent}")
    if failed:
        print(f"failed: {', '.join(failed)}")
    if failed or blocked:
        return FAILED
    return DONE if len(done) == len(chosen) else WAITING


def on_signal(number: int, _: object) -> NoReturn:
    raise StoppedError(number)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    sys.exit(main())
