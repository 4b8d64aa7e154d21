"""`>>>` examples in docstrings become highlighted code; Markdown alone would take them for quotes."""

from __future__ import annotations

from typing import Any

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor


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


class _Examples(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return fence_examples(lines)


class DoctestsExtension(Extension):
    """Examples with prompts."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.preprocessors.register(_Examples(md), "doctests", priority=29)  # before fences are read


def makeExtension(**settings: Any) -> DoctestsExtension:  # noqa: N802
    """What Python-Markdown looks for."""
    return DoctestsExtension(**settings)
