"""Files and folders that options such as `--out` name, checked before any work."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatnet.files import absolute_path

FIGURE = (".png", ".svg")
NUMBERS = re.compile(r"\[\n\s*([^][{}\"]+)\n\s*\]")  # a list of numbers over several lines, to join into one
# Known endings, of which a command writes only some. Any other is taken as a part of the name.
KNOWN = {
    *(".png", ".svg", ".html", ".json", ".htm", ".pdf", ".eps", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff"),
    *(".bmp", ".csv", ".txt"),
}


def require_writable(option: str, path: Path, example: str, inputs: Sequence[Path | None] = ()) -> None:
    """Raise a ValueError, suggesting the name `example`, if no file can be written to the `path` given as `option`.

    `inputs` are files that must not be overwritten, because the new one is made from them.
    """
    if not path.parent.is_dir():
        raise ValueError(f"no folder {path.parent} to write {path.name} to; create it first")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give {option} a name in it, such as {path / example}")
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError as error:  # a link that leads back to itself, or a name that is too long
        raise ValueError(f"{path} cannot be written ({error.strerror}); give {option} another name") from error
    if not os.access(path.parent, os.W_OK):
        folder = path.parent.resolve()
        raise ValueError(f"nothing may be written to the folder {folder}; give {option} a path in another one")
    if any(given is not None and path.resolve() == given.resolve() for given in inputs):
        raise ValueError(f"{path} would overwrite the file it is made from; give {option} another name")


def run_folder(out: Path) -> Path:
    """The folder of a run. Raises ValueError for the working folder, and for one that cannot be made."""
    folder = absolute_path(out)
    if folder == Path.cwd():
        raise ValueError("--out is the working folder itself: give the run a folder of its own, such as runs/mine")
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise ValueError(f"{there} is a file, so no run can be written to {out}; give another --out")
    if not os.access(there, os.W_OK):
        raise ValueError(f"nothing may be written to the folder {there}; give another --out")
    return out


@dataclass(frozen=True)
class Formats:
    """What a command writes besides a figure: the ending of that file, its contents, and a name for all files."""

    ending: str
    contents: str  # in a word or two
    name: str


def output_files(out: Path, formats: Formats, inputs: Sequence[Path | None]) -> list[Path]:
    """The files to write: `out` alone if it has a known suffix, else one file per format, in the order PNG, SVG, other.

    Raises ValueError for a name that cannot be written, for a file of `inputs`, and if matplotlib is missing.
    """
    require_writable("--out", out, formats.name)
    suffix, endings = out.suffix.lower(), (*FIGURE, formats.ending)
    if suffix in KNOWN - set(endings):
        raise ValueError(
            f"{out.name} cannot be written: give --out a name with .png or .svg for the figure, with {formats.ending} "
            f"for {formats.contents}, or without a suffix for all three"
        )
    files = [out] if suffix in endings else [out.with_name(out.name + ending) for ending in endings]
    for path in files:
        require_writable("--out", path, formats.name, inputs)
        if path.exists() and not path.is_file():
            raise ValueError(f"{path} is a device or a pipe, not a file; give --out another name")
    if files[0].suffix.lower() != formats.ending and find_spec("matplotlib") is None:
        raise ValueError(
            f"a figure needs matplotlib: python -m pip install 'hatnet[train]'; or write {formats.contents} alone, "
            f"with --out {out.with_suffix(formats.ending)}"
        )
    return files


def readable_json(facts: dict[str, Any]) -> bytes:
    """JSON with one fact per line, and lists of numbers in one line."""
    text = NUMBERS.sub(lambda found: "[" + " ".join(found[1].split()) + "]", json.dumps(facts, indent=1))
    return f"{text}\n".encode()
