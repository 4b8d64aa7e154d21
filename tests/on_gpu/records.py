"""The record of all pieces, `on-gpu.json`: what was run, when, on which machine, and with which result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_type_hints

from hatnet.checks import require_choice, require_kind
from hatnet.files import json_bytes, read_json, write_whole

NAME, KIND, VERSION = "on-gpu.json", "tests.on_gpu", 1
STATUSES = ("started", "cut off", "failed", "done")


@dataclass(frozen=True)
class Entry:
    """What is known about one piece. A piece that resumes may take several slices."""

    status: str  # one of STATUSES; a killed run leaves `started`
    command: str
    machine: dict[str, str | int]
    started: str  # UTC, of the last slice
    ended: str = ""
    seconds: float = 0.0  # of all slices
    longest: float = 0.0  # seconds of the longest slice that was cut off
    slices: int = 0
    exit: int | None = None  # exit status of the last slice
    result: str = ""  # one sentence
    files: list[str] = field(default_factory=list)  # in the folder of the record
    log: list[str] = field(default_factory=list)  # the last lines of its output, unless it is done

    @classmethod
    def of(cls, name: str, facts: Any) -> Entry:
        """Check and build an entry. Raises ValueError or TypeError, which names it."""
        require_kind(name, facts, dict[str, Any])
        types = get_type_hints(cls)
        if unknown := set(facts) ^ set(types):
            raise ValueError(f"{name} lacks or has unknown entries: {', '.join(sorted(unknown))}")
        for key, value in facts.items():
            value = float(value) if types[key] is float and type(value) is int else value
            require_kind(f"{name}: {key}", value, types[key])
        require_choice(f"{name}: status", facts["status"], STATUSES)
        return cls(**facts)


class Records:
    """The entries of all pieces by name, and their file. Each `put` writes the file, completely or not at all."""

    def __init__(self, folder: Path, miniature: bool) -> None:
        self.path, self.miniature = folder / NAME, miniature
        self.entries: dict[str, Entry] = read(self.path, miniature) if self.path.exists() else {}

    def status(self, name: str) -> str:
        """Status of a piece; `waiting` if it never ran."""
        return self.entries[name].status if name in self.entries else "waiting"

    def put(self, name: str, entry: Entry) -> None:
        entries = self.entries | {name: entry}
        facts = {"kind": KIND, "version": VERSION, "miniature": self.miniature}
        write_whole(self.path, json_bytes(facts | {"pieces": {key: asdict(value) for key, value in entries.items()}}))
        self.entries = entries

    def start(self, name: str, command: str, machine: dict[str, str | int], now: str) -> Entry:
        """Note that a slice of a piece starts. What earlier slices took is kept."""
        entry = Entry("started", command, machine, now)
        if before := self.entries.get(name):
            entry = replace(entry, seconds=before.seconds, slices=before.slices, longest=before.longest)
        self.put(name, entry)
        return entry


def read(path: Path, miniature: bool = False) -> dict[str, Entry]:
    """Read a record. Raises ValueError for another file, and for records of a miniature among those of a GPU."""
    try:
        facts = read_json(path)
        if not isinstance(facts, dict) or (facts.get("kind"), facts.get("version")) != (KIND, VERSION):
            raise ValueError(f"it has no kind {KIND}, version {VERSION}")
        require_kind("pieces", facts.get("pieces"), dict[str, Any])
        entries = {name: Entry.of(name, entry) for name, entry in facts["pieces"].items()}
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is not a record of tests.on_gpu ({error}); move it away, or give another --out"
        ) from None
    if facts.get("miniature") is not miniature:
        here, there = ("a miniature", "a GPU") if miniature else ("a GPU", "a miniature")
        raise ValueError(f"{path} is of {there}, and this run is of {here}; give another --out")
    return entries
