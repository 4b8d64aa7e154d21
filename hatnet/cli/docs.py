"""The command `hatnet docs`: build the site in a checkout and serve it."""

import sys
from pathlib import Path

from hatnet.checks import require_whole

ROOT = Path(__file__).resolve().parents[2]


def docs(folder: Path = Path("site"), serve: bool = True, port: int = 8000, again: bool = False) -> None:
    """Build the documentation, including the tutorials' outputs, and serve it on this machine.

    Args:
        folder: where the site goes; it is emptied first.
        serve: serve the site until interrupted.
        port: port of the server.
        again: run every tutorial, even if nothing changed.
    """
    require_whole("port", port, 0, 65_535)
    if not (ROOT / "mkdocs.yml").is_file():
        raise ValueError(f"the site is built in a checkout; {ROOT} has no mkdocs.yml, so install with `pip install -e`")
    sys.path.insert(0, str(ROOT / "docs"))  # the builder lies beside the pages, not in the package
    from builder.build import build, server

    if not serve:
        build(ROOT, folder, again)
        return
    with server(folder, port) as running:  # before the build, so that a taken port is reported at once
        build(ROOT, folder, again)
        print(f"http://127.0.0.1:{running.server_port}/  (Ctrl+C stops it)", flush=True)
        running.serve_forever()
