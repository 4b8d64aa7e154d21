"""Build the site with mkdocs, and serve it on this machine."""

import functools
import http.server
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from builder import GENERATED

MKDOCS = ("material", "mkdocs")  # builder.hook checks the other packages


class BuildError(ValueError):
    """The site cannot be built. If mkdocs refused, it has printed the reason."""


def build(root: Path, folder: Path, again: bool = False, config: str = "mkdocs.yml", quiet: bool = False) -> None:
    """Build the site into `folder`, strictly: `mkdocs build --strict`, whose hook makes everything that pages need.

    Args:
        root: the checkout.
        folder: where the HTML goes; it is emptied first.
        again: run every tutorial, even if its page is up to date.
        config: the settings of mkdocs, a path from `root`.
        quiet: print errors and warnings only.

    Raises:
        BuildError: if mkdocs is missing or fails, for instance because of a tutorial, a broken link or a formula.
    """
    missing = [package for package in MKDOCS if importlib.util.find_spec(package) is None]
    if missing:
        packages = ", ".join(missing)
        raise BuildError(f"the site needs {packages}; run: python -m pip install -c constraints.txt -e '.[docs]'")
    if again:
        shutil.rmtree(root / GENERATED, ignore_errors=True)
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", config]
    command += ["--site-dir", str(folder.resolve()), *(["--quiet"] if quiet else [])]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}  # Material's notice about a successor of mkdocs
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
        raise BuildError(f"cannot listen on port {port} ({error.strerror}); choose another with --port") from error
