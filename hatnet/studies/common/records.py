"""Records of measurements: JSON files with one list entry per line, so that a diff is easy to read."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from hatnet.checks import require_kind
from hatnet.files import read_json, write_whole

R = TypeVar("R")


@dataclass(frozen=True)
class RecordFormat(Generic[R]):
    """The file format of one study: it writes records of that study and reads them back."""

    kind: str  # the command that measured it, such as "hatnet scaling"
    version: int
    record: type[R]  # a dataclass with a field `settings`
    settings: type  # the dataclass of that field
    lists: Mapping[str, type]  # the fields that are lists of dataclasses, and the dataclass of their entries

    def write(self, record: R, path: Path) -> None:
        """Write a record completely or not at all. Raises OSError; an older record at `path` is then untouched."""
        head = {name: value for name, value in vars(record).items() if name not in self.lists}
        text = json.dumps({"kind": self.kind, "version": self.version} | head, indent=1, default=asdict)[:-2]
        for name in self.lists:
            lines = ",\n  ".join(json.dumps(asdict(entry)) for entry in getattr(record, name))
            text += f',\n "{name}": [' + (f"\n  {lines}\n ]" if lines else "]")
        write_whole(path, (text + "\n}\n").encode())

    def read(self, path: Path) -> R:
        """Read a record. Raises FileNotFoundError, or ValueError for a file of another kind or version."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no record at {path}")
        try:
            data: dict[str, Any] = read_json(path, most=2**30)
        except ValueError as error:
            raise ValueError(f"{path} is not a record of {self.kind}: {error}") from error
        kind = (data.pop("kind", None), data.pop("version", None)) if isinstance(data, dict) else None
        if kind != (self.kind, self.version):
            raise ValueError(f"{path} is not a record of {self.kind}, version {self.version}")
        try:
            require_kind("settings", data["settings"], dict[str, Any])
            settings = {name: tuple(v) if isinstance(v, list) else v for name, v in data["settings"].items()}
            data["settings"] = self.settings(**settings)
            for name, entry in self.lists.items():
                require_kind(name, data[name], list[dict[str, Any]])
                data[name] = [entry(**fields) for fields in data[name]]
            record = self.record(**data)
            for name, kind in get_type_hints(self.record).items():
                require_kind(name, getattr(record, name), kind)
            return record
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is not a complete record of {self.kind}: {error}") from error


def timestamp() -> str:
    """The date and time in UTC, to the second, as records store it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
