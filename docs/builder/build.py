"""Everything in order: the tutorials run, equations, code and tests are held together, mkdocs builds, strictly."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

from builder.maps import FOLDER, write_site_maps
from builder.traceability import check_ledger, trace
from builder.tutorials import make_pages
from hatnet.maps.explorer import explorer_script

EXTRA = ("hypothesis", "material", "math_core", "matplotlib", "mkdocs", "mkdocstrings", "PIL")


class BuildError(ValueError):
    """The site cannot be built; where mkdocs refused, it has said why."""


def checkout() -> Path:
    """The checkout this package runs from.

    Raises:
        BuildError: if it was installed without one.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "mkdocs.yml").is_file():
        raise BuildError(f"the site is built in a checkout, but {root} has no mkdocs.yml; use `pip install -e`")
    return root


def build(root: Path, folder: Path, again: bool = False) -> None:
    """Build the site into `folder`.

    Args:
        root: the checkout.
        folder: where the HTML goes; it is emptied first.
        again: run every tutorial, changed or not.

    Raises:
        ScriptError: if a tutorial fails.
        TraceabilityError: if an equation lacks code or a test, or the ledger does not match the code.
        BuildError: if mkdocs finds a broken link, a formula that is none, or anything else to warn of; or is missing.
    """
    missing = [package for package in EXTRA if importlib.util.find_spec(package) is None]
    if missing:
        raise BuildError(f"the site needs {', '.join(missing)}: python -m pip install -e '.[docs]'")
    start = time.perf_counter()
    trace(root)
    check_ledger(root)
    ran = make_pages(root, again)
    print(f"tutorials: {', '.join(script.name for script in ran) or 'none'} ran, {time.perf_counter() - start:.0f} s")
    (root / "docs" / "js" / "attention-explorer.js").write_text(explorer_script(), encoding="utf-8")
    write_site_maps(root / FOLDER)
    mkdocs(root, folder)


def mkdocs(root: Path, folder: Path, config: str = "mkdocs.yml") -> None:
    """`mkdocs build --strict`, without --quiet, which would drop the warnings before --strict counts them.

    Raises:
        BuildError: if it fails.
    """
    command = [sys.executable, "-m", "mkdocs", "--color", "build", "--strict"]
    command += ["--config-file", config, "--site-dir", str(folder.resolve())]
    environment = os.environ | {
        "NO_MKDOCS_2_WARNING": "1",
        "PYTHONPATH": str(root / "docs"),
    }  # Material's notice about a successor of mkdocs
    if subprocess.run(command, cwd=root, env=environment, check=False).returncode:
        raise BuildError("mkdocs build --strict failed")


def server(folder: Path, port: int = 8000) -> http.server.ThreadingHTTPServer:
    """A server of a built site for this machine alone, listening but not yet serving.

    Raises:
        BuildError: if the port is taken.
    """
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder.resolve()))
    try:
        return http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    except OSError as error:
        raise BuildError(f"port {port} can't be listened to ({error.strerror}); choose another with --port") from error
