"""`@code PATH NAME [NAME ...]` on a line of its own: the live source of these definitions, as highlighted blocks.

Each block carries path and line, and the equation tags of its comments become labels, which stay in sight while a long
line is scrolled. A name that the file does not define stops the build.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from markdown import Extension, Markdown
from markdown.postprocessors import Postprocessor
from markdown.preprocessors import Preprocessor

from builder.excerpts import cut
from builder.tags import TAGS, expand

DIRECTIVE = re.compile(r"^(?P<indent> *)@code +(?P<path>\S+) +(?P<names>\S.*?) *$")
FENCE = re.compile(r"^ *(```+|~~~+)")
TAGGED_COMMENT = re.compile(rf'<span class="c1">(#[^<]*?)({TAGS.pattern})</span>')


def directives_to_fences(lines: list[str], root: Path) -> list[str]:
    """Replace every directive by fenced code, but for those that are themselves shown as code.

    Raises:
        ExcerptError: for an unknown path or name.
    """
    result: list[str] = []
    fence = ""
    for line in lines:
        opened = FENCE.match(line)
        if opened and (not fence or opened[1].startswith(fence)):
            fence = "" if fence else opened[1]
        directive = None if fence else DIRECTIVE.match(line)
        result += [line] if directive is None else _fences(directive, root)
    return result


def _fences(directive: re.Match[str], root: Path) -> list[str]:
    indent, path = directive["indent"], directive["path"]
    lines = []
    for name in directive["names"].split():
        excerpt = cut(root / path, name)
        lines += ["", f'```{{.python .live title="{path}:{excerpt.line}"}}', *excerpt.source.splitlines(), "```", ""]
    return [indent + line if line else "" for line in lines]


def label_tags(html: str) -> str:
    """Equation tags at the end of highlighted comments become labels, `data-eq` holding every number of a range.

    >>> label_tags('<span class="c1"># (HW, C)  Eq. 11, 12</span>')
    '<span class="c1"># (HW, C)  <span class="eq" data-eq="11 12"><b>Eq. 11, 12</b></span></span>'
    """

    def label(found: re.Match[str]) -> str:
        comment, tags = found[1], found[2]
        numbers = " ".join(map(str, sorted(expand(tags).equations)))
        return f'<span class="c1">{comment}<span class="eq" data-eq="{numbers}"><b>{tags}</b></span></span>'

    return TAGGED_COMMENT.sub(label, html)


class _Directives(Preprocessor):
    def __init__(self, md: Markdown, root: Path) -> None:
        super().__init__(md)
        self.root = root

    def run(self, lines: list[str]) -> list[str]:
        return directives_to_fences(lines, self.root)


class _Labels(Postprocessor):
    def run(self, text: str) -> str:
        return label_tags(text)


class CodeExtension(Extension):
    """The `@code` directive."""

    def __init__(self, **settings: Any) -> None:
        self.config = {"root": [".", "the folder that paths start from"]}
        super().__init__(**settings)

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        root = Path(self.getConfig("root"))
        md.preprocessors.register(_Directives(md, root), "live_code", priority=27)  # before fences are read
        md.postprocessors.register(_Labels(md), "equation_labels", priority=2)  # after raw_html


def makeExtension(**settings: Any) -> CodeExtension:  # noqa: N802
    """What Python-Markdown looks for."""
    return CodeExtension(**settings)
