"""Bring the tutorials' pages up to date. A script runs again only when it, the code, the data or a library changed."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from builder.fingerprint import changed, fingerprint, remember
from builder.percent import ScriptError

INPUTS = (
    "reference/**/*.py",
    "hatnet/**/*.py",
    "hatnet/assets/*",
    "docs/data/*.json",
    "docs/measurements/**/*",
    *(f"docs/builder/{module}.py" for module in ("figures", "percent", "runner", "tutorial_page")),
)


def make_pages(root: Path, folder: Path) -> list[Path]:
    """Bring the pages of `root`/tutorials/*.py up to date, one script per core, and remove those without a script.

    Args:
        root: the checkout.
        folder: where the pages go.

    Returns:
        The scripts that ran.

    Raises:
        ScriptError: if a script fails; it has no page then.
    """
    scripts = sorted((root / "tutorials").glob("[0-9]*.py"))
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not any(old.name.lstrip(".").startswith(script.stem) for script in scripts):
            old.unlink()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ran = list(pool.map(lambda script: make_page(script, folder, root), scripts))
    return [script for script, did in zip(scripts, ran, strict=True) if did]


def make_page(script: Path, folder: Path, root: Path) -> bool:
    """Run one script unless its page is up to date.

    Returns:
        Whether it ran.

    Raises:
        ScriptError: if it fails.
    """
    current = fingerprint(root, [script.relative_to(root).as_posix(), *INPUTS])
    if not changed(folder, script.stem, current):
        return False
    for old in folder.glob(f"{script.stem}*"):
        old.unlink()
    _run(script, folder, root)
    remember(folder, script.stem, current)
    return True


def _run(script: Path, folder: Path, root: Path) -> None:
    """Run `builder.tutorial_page` on one thread, so that sums add up in the same order on every machine."""
    machinery = Path(__file__).resolve().parents[1]
    environment = os.environ | {"MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    environment["PYTHONPATH"] = os.pathsep.join([str(root), str(machinery)])
    command = [sys.executable, "-m", "builder.tutorial_page", str(script.relative_to(root)), str(folder.resolve())]
    done = subprocess.run(command, cwd=root, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise ScriptError(done.stderr.strip())
