"""Notebooks that run outside a checkout, and one archive of all of them with the package as a wheel.

`pip wheel` downloads the build backend. Without a network there is no wheel, and the archive's README says so.
"""

import logging
import subprocess
import sys
import zipfile
from pathlib import Path

from builder.fingerprint import changed, fingerprint, remember
from builder.notebook import to_notebook
from builder.percent import read_cells

ARCHIVE = "notebooks/hatnet-notebooks.zip"  # from the folder of generated pages
PACKAGE = ("hatnet/**/*.py", "hatnet/**/*.js", "hatnet/**/*.css", "hatnet/assets/**/*", "reference/**/*.py")
RECORDS = (
    "docs/data/table2.json",
    "docs/measurements/scaling-*.json",
    *(f"docs/measurements/fashion-micro-full/*/{name}" for name in ("metrics.csv", "run.json")),
)
README = """\
The tutorials of HAT-Net as notebooks. Open one in Jupyter: its first cell installs HAT-Net {source}
and what the tutorials need, unless it is installed already. Keep the folder docs/ here; tutorials 3 and 4 read it.
"""
WITH_WHEEL = "from {name} in this folder"
WITHOUT_WHEEL = "(this archive was built without a network, so it has no wheel: install from a checkout instead)"

log = logging.getLogger("mkdocs.builder")


def make_notebooks(root: Path, generated: Path, address: str = "") -> None:
    """Write NAME.ipynb beside each tutorial's page, and the archive of all.

    Args:
        root: the checkout.
        generated: the folder of generated pages.
        address: of the repository, or empty.
    """
    notebooks = {}
    for script in sorted((root / "tutorials").glob("[0-9]*.py")):
        notebooks[f"{script.stem}.ipynb"] = to_notebook(read_cells(script), address)
        (generated / "tutorials" / f"{script.stem}.ipynb").write_text(
            notebooks[f"{script.stem}.ipynb"], encoding="utf-8"
        )
    wheel = make_wheel(root, generated / ".wheel")
    source = WITH_WHEEL.format(name=wheel.name) if wheel else WITHOUT_WHEEL
    content = {name: text.encode() for name, text in notebooks.items()}
    content["README.txt"] = README.format(source=source).encode()
    for path in sorted({path for pattern in RECORDS for path in root.glob(pattern)}):
        content[path.relative_to(root).as_posix()] = path.read_bytes()
    if wheel:
        content[wheel.name] = wheel.read_bytes()
    _write_zip(generated / ARCHIVE, content)


def make_wheel(root: Path, folder: Path) -> Path | None:
    """Build the wheel of the package unless it is up to date. None if that fails, for instance without a network."""
    current = fingerprint(root, [*PACKAGE, "pyproject.toml", "README.md"])
    folder.mkdir(parents=True, exist_ok=True)
    if changed(folder, "wheel", current):
        for old in folder.glob("*.whl"):
            old.unlink()
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            log.info(f"The notebooks have no wheel: {done.stderr.strip()[-300:]}")
            return None
        remember(folder, "wheel", current)
    return next(folder.glob("*.whl"), None)


def _write_zip(path: Path, content: dict[str, bytes]) -> None:
    """Always the same bytes for the same content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(f"hatnet-notebooks/{name}"), data, zipfile.ZIP_DEFLATED)
