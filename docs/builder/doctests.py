"""`>>>` examples in docstrings become highlighted code; Markdown alone would take them for quotations.

mkdocstrings highlights only those below a heading `Examples:`, which would be longer than most of ours.
"""

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
    """Fence the examples of docstrings."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.preprocessors.register(_Examples(md), "doctests", priority=29)  # before fences are read
