"""The style of the studies' figures, and how they are saved (matplotlib, extra `train`)."""

import io
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from hatnet.files import write_whole

STYLE: dict[Any, Any] = {
    "svg.hashsalt": "hatnet",
    "svg.fonttype": "path",
    "font.size": 9,
    "axes.grid": True,
    "grid.alpha": 0.3,
}


def save(figure: Figure, path: Path) -> None:
    """Write a figure as SVG; the same figure always gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    lines = buffer.getvalue().decode().splitlines()
    write_whole(path, ("\n".join(line.rstrip() for line in lines) + "\n").encode())
