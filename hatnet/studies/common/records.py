"""Records of what was measured: JSON with a head and lists, an entry a line, so that a difference can be read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from hatnet.files import write_whole

R = TypeVar("R")


def write_record(path: Path, kind: str, version: int, record: object, lists: Mapping[str, type]) -> None:
    """Write a record whole or not at all.

    Args:
        path: where to.
        kind: what measured it, such as `hatnet scaling`.
        version: of the format.
        record: a dataclass.
        lists: its fields that are lists of dataclasses, and of which.

    Raises:
        OSError: if it can't be written; an older record is then still there.
    """
    head = {"kind": kind, "version": version} | {
        name: asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
        for name, value in vars(record).items()
        if name not in lists
    }
    text = json.dumps(head, indent=1)[:-2]
    for name in lists:
        lines = ",\n  ".join(json.dumps(asdict(entry)) for entry in getattr(record, name))
        text += f',\n "{name}": [' + (f"\n  {lines}\n ]" if lines else "]")
    write_whole(path, (text + "\n}\n").encode())


def read_record(path: Path, kind: str, version: int, record: type[R], settings: type, lists: Mapping[str, type]) -> R:
    """Read what `write_record` wrote.

    Args:
        path: of the file.
        kind, version: what it must be.
        record: its class, with a field `settings`.
        settings: the class of that field, in which lists become tuples.
        lists: as in `write_record`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is something else.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no record at {path}")
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no record of {kind}: {error}") from error
    if not isinstance(data, dict) or (data.pop("kind", None), data.pop("version", None)) != (kind, version):
        raise ValueError(f"{path} is no record of {kind}, version {version}")
    try:
        given = data["settings"].items()
        data["settings"] = settings(**{name: tuple(v) if isinstance(v, list) else v for name, v in given})
        for name, entry in lists.items():
            data[name] = [entry(**each) for each in data[name]]
        return record(**data)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no whole record of {kind}: {error}") from error
