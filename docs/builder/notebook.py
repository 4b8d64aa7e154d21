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
SET_UP = '*To run this, the kernel needs the package: `python -m pip install -e ".[docs]"` in a checkout of HAT-Net.*'


def to_notebook(cells: list[Cell]) -> str:
    """The notebook's JSON, always the same bytes for the same cells."""
    with_set_up = [cells[0], Cell("markdown", SET_UP, line=1), *cells[1:]]
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
    without_images = IMAGE.sub(r"*Diagram, on the page of this tutorial: \1*", source)
    return PAGE_LINK.sub(r"\1", ADMONITION.sub(_admonition, without_images)).rstrip()


def _admonition(found: re.Match[str]) -> str:
    title, body = found["title"], textwrap.dedent(found["body"]).strip()
    if found["marker"].startswith("?"):
        return f"<details><summary>{title or 'Answer'}</summary>\n\n{body}\n\n</details>\n\n"
    quoted = textwrap.indent(f"**{title}**\n\n{body}" if title else body, "> ", lambda _: True)
    return f"{quoted}\n\n"
