"""Mutation testing of the reference, the model, and a sample of the rest.

python -m tests.mutation run      # test every mutant that has no outcome yet; after Ctrl-C, the same command goes on
python -m tests.mutation again    # test the survivors without a reason once more, after tests were added
python -m tests.mutation missing  # print entries for tests/mutation/survivors, to be completed
python -m tests.mutation record   # check what noticed mutants on unchanged code, and write the record for the site

`--shard 1/4` tests a quarter of them, on a machine of its own. `cat` joins the ledgers of shards.
"""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
import tyro
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from tests.mutation.in_memory import InMemory, fits_in_memory, functions, with_collected_tests
from tests.mutation.mutants import PARTS, SAMPLE, SEED, Mutant, mutants_of
from tests.mutation.on_disk import OnDisk
from tests.mutation.record import make_record, name_of, read_reasons, score_of, unexplained, write_record
from tests.mutation.runner import Ledger, Place, passes, run
from tests.mutation.sight import Sight, look


@contextmanager
def folders(number: int) -> Iterator[list[Path]]:
    """New folders, which are deleted in the end."""
    place = Path(tempfile.mkdtemp(prefix="mutation-"))
    try:
        yield [place / str(i) for i in range(number)]
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def copies(number: int) -> Iterator[list[OnDisk]]:
    """Copies of the repository."""
    with folders(number) as (own, *others):
        first = OnDisk(own)
        first.compile()
        yield [first, *(OnDisk(folder, first) for folder in others)]


def test_mutants(mutants: list[Mutant], ledger: Ledger, sight: Sight, jobs: int, seconds: float) -> None:
    """Test mutants with a progress bar, first those of function bodies, and note each outcome at once."""
    quick = [mutant for mutant in mutants if fits_in_memory(mutant)]
    slow = [mutant for mutant in mutants if not fits_in_memory(mutant)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:

        def test(name: str, mutants: list[Mutant], places: Sequence[Place]) -> None:
            task, survived = progress.add_task(name, total=len(mutants)), 0
            for outcome in run(mutants, sight, places, seconds):
                ledger.add(outcome)
                survived += outcome.outcome == "survived"
                progress.update(task, advance=1, description=f"{name} ({survived} survived)")

        def test_in_memory(items: list[pytest.Item], own: list[Path]) -> None:
            places = [InMemory(folder, items, functions()) for folder in own]
            test("function bodies", quick, places)
            noticed = {ledger.outcomes[mutant.key].test for mutant in quick} & set(sight.seconds)
            if noticed and not passes(sorted(noticed), places[0]):  # the control
                failed = places[0].note.read_text(encoding="utf-8")
                raise RuntimeError(f"{failed} noticed a mutant, but fails on unchanged code, too; delete its outcomes")

        if quick:
            with folders(jobs) as own:
                with_collected_tests(lambda items: test_in_memory(items, own))
        if slow:
            with copies(jobs) as trees:
                test("what runs on import", slow, trees)


def print_scores(parts: dict[str, list[Mutant]], ledger: Ledger) -> None:
    """Print a line for each part."""
    for part, mutants in parts.items():
        score = score_of(mutants, ledger.outcomes)
        print("{}: {score:.1%} of {mutants} noticed, 95 % interval {low:.1%} to {high:.1%}".format(part, **score))


def main(
    action: tyro.conf.Positional[Literal["run", "again", "missing", "record"]],
    folder: Path = Path("mutants"),
    parts: tuple[Literal["reference", "model", "sample"], ...] = PARTS,
    jobs: int = os.cpu_count() or 1,
    seconds: float = 20.0,
    shard: str = "1/1",
    sample: int = SAMPLE,
    seed: int = SEED,
    look_at: tuple[str, ...] = (),
) -> int:
    """Change the code in thousands of small ways, and see which changes no test notices.

    Args:
        action: run tests every mutant without an outcome; again, also survivors without a reason; missing prints these;
            record writes the record for the site.
        folder: of the ledger, and of what each test can see.
        parts: of the code.
        jobs: mutants at a time.
        seconds: of tests for each mutant, as measured with coverage.
        shard: the share of the mutants, as `1/4`.
        sample: number of mutants of training, data, maps and studies.
        seed: of the sample. Another one gives a score for which no tests were written.
        look_at: new or changed files of tests, whose lines are noted before anything else.
    """
    folder.mkdir(exist_ok=True)
    if not (folder / "sight.json").exists():
        look(folder / "sight.json")
    if look_at:
        look(folder / "sight.json", *look_at)
    ledger, sight = Ledger(folder / "ledger.jsonl"), Sight(folder / "sight.json")
    number, shards = map(int, shard.split("/"))
    found = {part: mutants_of(part, sample, seed)[number - 1 :: shards] for part in parts}
    mutants = [mutant for part in found.values() for mutant in part]
    survivors = [m for m in mutants if ledger.outcome(m) in ("survived", "unseen")]
    waiting = [m for m in mutants if ledger.outcome(m) is None]
    random.Random(0).shuffle(waiting)  # so that the expected time is about right from the start
    if action in ("run", "again"):
        reasons = read_reasons()
        doubtful = [m for m in survivors if action == "again" and name_of(m) not in reasons]
        test_mutants(waiting + doubtful, ledger, sight, jobs, seconds)
        print_scores(found, ledger)
    elif action == "missing":
        print(unexplained(survivors))
    elif (sample, seed) != (SAMPLE, SEED):
        sys.exit(f"the record is of the sample of {SAMPLE} with seed {SEED}; leave out --sample and --seed")
    else:
        record = make_record(found, ledger.outcomes, seconds)
        noticed = {ledger.outcomes[m.key].test for m in mutants if ledger.outcome(m) == "killed"}
        with copies(1) as (tree,):
            if not passes(sorted(noticed & set(sight.seconds)), tree):
                print(
                    "a test that noticed mutants fails on unchanged code, too:", tree.note.read_text(encoding="utf-8")
                )
                return 1
        write_record(record)
    return 0


if __name__ == "__main__":
    sys.exit(tyro.cli(main))
