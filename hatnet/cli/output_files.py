"""The files that `--out` names: a figure as PNG and SVG, and one other file. Checked before any work."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from hatnet.files import expand_home

FIGURE = (".png", ".svg")
# Known endings, of which a command writes only some. Any other is taken as a part of the name.
KNOWN = {
    *(".png", ".svg", ".html", ".json", ".htm", ".pdf", ".eps", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff"),
    *(".bmp", ".csv", ".txt"),
}


@dataclass(frozen=True)
class Formats:
    """What a command writes besides a figure: the ending of that file, and its contents in a word or two."""

    ending: str
    contents: str


def output_files(out: Path, formats: Formats, inputs: Sequence[Path | None]) -> list[Path]:
    """The files to write: `out` alone if it has a known suffix, else one file per format, in the order PNG, SVG, other.

    Raises ValueError for a name that cannot be written, for a file of `inputs`, and if matplotlib is missing.
    """
    out = expand_home(out)
    if not out.parent.is_dir():
        raise ValueError(f"no folder {out.parent} to write {out.name} to; create it first")
    if out.is_dir():
        raise ValueError(f"{out} is a folder; give --out a name in it, such as {out / 'attention'}")
    suffix, endings = out.suffix.lower(), (*FIGURE, formats.ending)
    if suffix in KNOWN - set(endings):
        raise ValueError(
            f"{out.name} cannot be written: give --out a name with .png or .svg for the figure, with {formats.ending} "
            f"for {formats.contents}, or without a suffix for all three"
        )
    files = [out] if suffix in endings else [out.with_name(out.name + ending) for ending in endings]
    for path in files:
        _require_writable(path)
        if any(given is not None and path.resolve() == given.resolve() for given in inputs):
            raise ValueError(f"{path} would overwrite the file it is made from; give --out another name")
    if files[0].suffix.lower() != formats.ending and find_spec("matplotlib") is None:
        raise ValueError(
            f"a figure needs matplotlib: python -m pip install 'hatnet[train]'; or write {formats.contents} alone, "
            f"with --out {out.with_suffix(formats.ending)}"
        )
    return files


def _require_writable(path: Path) -> None:
    """Raise a ValueError for a folder, a device, a pipe, or a link that leads back to itself."""
    try:
        path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error.strerror}); give --out another name") from error
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give --out another name")
    if not path.is_file():
        raise ValueError(f"{path} is a device or a pipe, not a file; give --out another name")
