"""The command `hatnet docs`: build the site in a checkout, and serve it."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def docs(folder: Path = Path("site"), serve: bool = True, port: int = 8000, again: bool = False) -> None:
    """Build the documentation, tutorials run, and serve it on this machine.

    Args:
        folder: where the site goes; it is emptied first.
        serve: whether to serve what was built, until interrupted.
        port: of the server.
        again: whether to run every tutorial, changed or not.
    """
    if not (ROOT / "mkdocs.yml").is_file():
        raise ValueError(f"the site is built in a checkout, but {ROOT} has no mkdocs.yml; use `pip install -e`")
    sys.path.insert(0, str(ROOT / "docs"))  # the machinery lies beside the pages, not in the package
    from builder.build import build, server

    if not serve:
        build(ROOT, folder, again)
        return
    with server(folder, port) as running:  # first, since a port that is taken should not cost a build
        build(ROOT, folder, again)
        print(f"http://127.0.0.1:{running.server_port}/  (Ctrl+C ends it)", flush=True)
        running.serve_forever()
