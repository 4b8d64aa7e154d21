"""The record for the site: the score of every file, and every survivor with its reason."""

import json
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from scipy.stats import binomtest

from hatnet.machine import cpu_model, software
from tests.mutation.mutants import ROOT, SEED, Mutant
from tests.mutation.runner import Outcome

REASONS = Path(__file__).with_name("survivors")  # one file per part of the code
RECORD = ROOT / "docs" / "measurements" / "mutation.json"
KINDS = {
    "equivalent": "No input gives another result.",
    "resource": "The result is the same; only time or memory differ.",
    "appearance": "A figure or a printed line looks a little different.",
    "wording": "An error has another text or type, and is still raised.",
    "untested": "A test is still to be written.",
}


@dataclass(frozen=True)
class Reason:
    """Why a mutant survives."""

    kind: str  # one of KINDS
    why: str


def read_reasons(folder: Path = REASONS) -> dict[tuple[str, str, str], Reason]:
    """The reasons by file, definition and change.

    Raises:
        ValueError: for an unknown kind, an empty reason or a change that is listed twice.
    """
    reasons = {}
    for path in sorted(folder.glob("*.toml")):
        for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("survivors", []):
            reason = Reason(entry["kind"], entry["why"].strip())
            if reason.kind not in KINDS or not reason.why:
                raise ValueError(f"{path.name}: {entry} needs a reason, and a kind of {', '.join(KINDS)}")
            for change in entry["changes"]:
                name = entry["file"], entry["definition"], change
                if name in reasons:
                    raise ValueError(f"{path.name} lists {name} twice")
                reasons[name] = reason
    return reasons


def name_of(mutant: Mutant) -> tuple[str, str, str]:
    """How a reason names a mutant."""
    return mutant.path, mutant.definition, f"{mutant.before} -> {mutant.after}"


def unexplained(mutants: Iterable[Mutant]) -> str:
    """Entries for a file in `survivors`, to be completed, for survivors without a reason."""
    entries, known = defaultdict(list), read_reasons()
    for mutant in mutants:
        if name_of(mutant) not in known:
            entries[mutant.path, mutant.definition].append(name_of(mutant)[2])
    text = ""
    for (path, definition), changes in entries.items():
        listed = "".join(f"    '''{change}''',\n" for change in dict.fromkeys(changes))
        text += f'[[survivors]]\nfile = "{path}"\ndefinition = "{definition}"\nkind = ""\nwhy = ""\n'
        text += f"changes = [\n{listed}]\n\n"
    return text


def make_record(parts: dict[str, list[Mutant]], outcomes: dict[str, Outcome], seconds: float) -> dict:
    """Everything that the page shows.

    Raises:
        ValueError: if a mutant has no outcome, a survivor no reason, or a reason no survivor.
    """
    mutants = [mutant for part in parts.values() for mutant in part]
    if missing := [mutant for mutant in mutants if mutant.key not in outcomes]:
        raise ValueError(f"{len(missing)} of {len(mutants)} mutants have no outcome yet: python -m tests.mutation run")
    reasons = read_reasons()
    survivors = [mutant for mutant in mutants if outcomes[mutant.key].outcome in ("survived", "unseen")]
    names, path_of = [name_of(mutant) for mutant in survivors], attrgetter("path")
    if without := [name for name in names if name not in reasons]:
        raise ValueError(f"{len(without)} survivors have no reason; python -m tests.mutation missing")
    if stale := set(reasons) - set(names):
        raise ValueError(f"{len(stale)} reasons are for mutants that do not survive, the first is {sorted(stale)[0]}")
    return {
        "date": date.today().isoformat(),
        "machine": cpu_model(),
        "software": software() | {"cosmic-ray": version("cosmic-ray")},
        "seed": SEED,
        "seconds": seconds,
        "parts": {name: score_of(part, outcomes) for name, part in parts.items()},
        "files": {
            part: {path: _counts(list(own), outcomes) for path, own in groupby(sorted(found, key=path_of), key=path_of)}
            for part, found in parts.items()
        },
        "survivors": [
            {"file": m.path, "definition": m.definition, "before": m.before, "after": m.after}
            | vars(reasons[name_of(m)])
            for m in survivors
        ],
    }  # fmt: skip


def _counts(mutants: list[Mutant], outcomes: dict[str, Outcome]) -> dict[str, int]:
    """How many mutants there are, and how many of each outcome."""
    found = [outcomes[mutant.key].outcome for mutant in mutants]
    return {"mutants": len(found)} | {name: found.count(name) for name in sorted(set(found))}


def score_of(mutants: list[Mutant], outcomes: dict[str, Outcome]) -> dict[str, float]:
    """The counts of a part, its score, and the 95 % interval of Wilson, which is meant for the sample."""
    counts = _counts(mutants, outcomes)
    noticed = counts["mutants"] - counts.get("survived", 0) - counts.get("unseen", 0)
    interval = binomtest(noticed, counts["mutants"]).proportion_ci(method="wilson")
    return counts | {"score": noticed / counts["mutants"], "low": interval.low, "high": interval.high}


def write_record(record: dict) -> None:
    """Write the record where the site reads it."""
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
