"""A percent script as a Jupyter notebook (nbformat 4.5), without outputs.

Written by hand, not by jupytext, because folded questions and notes need other Markdown in Jupyter than on the site.
"""

import json
import re
import textwrap

from builder.percent import Cell

ADMONITION = re.compile(
    r'^(?P<marker>!!!|\?\?\?\+?) +\w+(?: +"(?P<title>[^"]*)")? *\n'
    r"(?P<body>(?:(?: {4}.*)?(?:\n|$))+)",  # indented lines and empty ones
    re.MULTILINE,
)
IMAGE = re.compile(r"!\[([^\]]+)\]\((?!https?:)[^)]+\)(\{[^}]*\})?")
PAGE_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]+\.md[^)]*\)")
SLIDERS = re.compile(r"</?(div|cost-sliders)>\n?")  # Jupyter shows the text between these
SET_UP = "*The next cell installs HAT-Net and what the tutorials need ({source}), unless it is installed already.*"
FROM_ADDRESS = "from the file beside this notebook, if there is one, else from {address}"
FROM_WHEEL = "from the file `hatnet-*.whl` beside this notebook"
INSTALL = """\
import importlib
import importlib.util
import subprocess
import sys
from pathlib import Path

ADDRESS = {address!r}  # of the repository, if it has one

if importlib.util.find_spec("hatnet") is None:
    wheels = sorted(Path().glob("hatnet-*.whl"))
    if not wheels and not ADDRESS:
        raise FileNotFoundError(
            "HAT-Net is not installed, and no hatnet-*.whl lies beside this notebook. Download "
            "`All notebooks` from the page of this tutorial and run the notebook in its folder."
        )
    source = wheels[-1].resolve().as_uri() if wheels else f"git+{{ADDRESS}}"
    package = f"hatnet[tutorials] @ {{source}}"
    subprocess.run([sys.executable, "-m", "pip", "install", package], check=True)
    importlib.invalidate_caches()
"""


def to_notebook(cells: list[Cell], address: str = "") -> str:
    """The notebook's JSON, always the same bytes for the same cells.

    Args:
        cells: of the script.
        address: of the repository, from which the first cell of code installs the package; empty if there is none.
    """
    words = SET_UP.format(source=FROM_ADDRESS.format(address=address) if address else FROM_WHEEL)
    install = Cell("code", INSTALL.format(address=address).rstrip(), line=1, fold="Installation")
    with_set_up = [cells[0], Cell("markdown", words, line=1), install, *cells[1:]]
    notebook = {
        "cells": [_cell(cell, number) for number, cell in enumerate(with_set_up)],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"


def _cell(cell: Cell, number: int) -> dict[str, object]:
    common = {"id": f"cell-{number}", "metadata": {}}
    if cell.kind == "markdown":
        return {"cell_type": "markdown", **common, "source": _lines(to_plain_markdown(cell.source))}
    if cell.kind == "solution" or cell.fold:  # folded in Jupyter
        tag = "solution" if cell.kind == "solution" else "fold"
        common["metadata"] = {"jupyter": {"source_hidden": True}, "tags": [tag]}
    return {"cell_type": "code", **common, "execution_count": None, "outputs": [], "source": _lines(cell.source)}


def _lines(source: str) -> list[str]:
    return source.splitlines(keepends=True)


def to_plain_markdown(source: str) -> str:
    """Replace what Material shows and Jupyter cannot: folded questions, notes, links between pages, and diagrams.

    >>> print(to_plain_markdown('??? question "How many?"' + chr(10) * 2 + '    49.'))
    <details><summary>How many?</summary>
    <BLANKLINE>
    49.
    <BLANKLINE>
    </details>
    """
    without_images = IMAGE.sub(r"*Diagram, on the page of this tutorial: \1*", SLIDERS.sub("", source))
    return PAGE_LINK.sub(r"\1", ADMONITION.sub(_admonition, without_images)).rstrip()


def _admonition(found: re.Match[str]) -> str:
    title, body = found["title"], textwrap.dedent(found["body"]).strip()
    if found["marker"].startswith("?"):
        return f"<details><summary>{title or 'Answer'}</summary>\n\n{body}\n\n</details>\n\n"
    quoted = textwrap.indent(f"**{title}**\n\n{body}" if title else body, "> ", lambda _: True)
    return f"{quoted}\n\n"
