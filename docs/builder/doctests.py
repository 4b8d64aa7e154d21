"""`>>>` examples in docstrings and pages become highlighted code; Markdown alone would take them for quotations.

mkdocstrings highlights only those below a heading `Examples:`, which would be longer than most of ours. pytest runs the
examples of docstrings; `check_page_examples` runs those of pages.
"""

import doctest
from pathlib import Path
from typing import Any

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor
from mkdocs.exceptions import PluginError


def fence_examples(lines: list[str]) -> list[str]:
    """Put a fence around each example: from a prompt to the next empty line, or to the end.

    >>> fence_examples(["A sum:", "", ">>> 1 + 1", "2", "", "Done."])
    ['A sum:', '', '```pycon', '>>> 1 + 1', '2', '```', '', 'Done.']
    """
    result: list[str] = []
    inside = fenced = False
    for line in lines:
        fenced ^= line.lstrip().startswith("```")
        if inside and not line.strip():
            result.append("```")
            inside = False
        elif not inside and not fenced and line.startswith(">>> "):
            result.append("```pycon")
            inside = True
        result.append(line.replace("  # doctest: +NORMALIZE_WHITESPACE", "") if inside else line)
    return [*result, "```"] if inside else result


class ExampleError(PluginError):
    """An example on a page prints something else than the page shows."""


def run_examples(page: Path) -> dict[str, Any]:
    """Run the examples of a page, and return the names that they define.

    Raises:
        ExampleError: with doctest's report.
    """
    names: dict[str, Any] = {}
    test = doctest.DocTestParser().get_doctest(page.read_text(encoding="utf-8"), names, page.name, str(page), 0)
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    if runner.run(test, out=report.append, clear_globs=False).failed:
        raise ExampleError("".join(report))
    return test.globs


def check_page_examples(root: Path) -> list[Path]:
    """Run the examples of all pages in docs/, and return the pages that have some.

    Raises:
        ExampleError: with doctest's report.
    """
    pages = [page for page in sorted((root / "docs").rglob("*.md")) if "\n>>> " in page.read_text(encoding="utf-8")]
    for page in pages:
        run_examples(page)
    return pages


class _Examples(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return fence_examples(lines)


class DoctestsExtension(Extension):
    """Fence the examples of docstrings."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.preprocessors.register(_Examples(md), "doctests", priority=29)  # before fences are read
