"""`@code PATH NAME [NAME ...]` on a line of its own: the live source of these definitions, as highlighted blocks.

Each block has a title with path and line. Equation tags in its comments become labels, which stay in view while a long
line is scrolled. A name that the file does not define stops the build.
"""

import re
from pathlib import Path

from builder.excerpts import cut
from builder.tags import TAGS, expand

DIRECTIVE = re.compile(r"^(?P<indent> *)@code +(?P<path>\S+) +(?P<names>\S.*?) *$")
FENCE = re.compile(r"^ *(```+|~~~+)")
TAGGED_COMMENT = re.compile(rf'<span class="c1">(#[^<]*?)({TAGS.pattern})</span>')


def insert_code(markdown: str, root: Path) -> str:
    """Replace every directive by fenced code, except inside fences, where it is shown as it is.

    Args:
        markdown: of a page.
        root: the checkout, where paths start.

    Raises:
        ExcerptError: for an unknown path or name.
    """
    result: list[str] = []
    fence = ""
    for line in markdown.split("\n"):
        opened = FENCE.match(line)
        if opened and (not fence or opened[1].startswith(fence)):
            fence = "" if fence else opened[1]
        directive = None if fence else DIRECTIVE.match(line)
        result += [line] if directive is None else _fences(directive, root)
    return "\n".join(result)


def _fences(directive: re.Match[str], root: Path) -> list[str]:
    indent, path = directive["indent"], directive["path"]
    lines = []
    for name in directive["names"].split():
        excerpt = cut(root / path, name)
        lines += ["", f'```{{.python .live title="{path}:{excerpt.line}"}}', *excerpt.source.splitlines(), "```", ""]
    return [indent + line if line else "" for line in lines]


def label_tags(html: str) -> str:
    """Turn equation tags at the end of highlighted comments into labels. `data-eq` lists every number of a range.

    >>> label_tags('<span class="c1"># (HW, C)  Eq. 11, 12</span>')
    '<span class="c1"># (HW, C)  <span class="eq" data-eq="11 12"><b>Eq. 11, 12</b></span></span>'
    """

    def label(found: re.Match[str]) -> str:
        comment, tags = found[1], found[2]
        numbers = " ".join(map(str, sorted(expand(tags).equations)))
        return f'<span class="c1">{comment}<span class="eq" data-eq="{numbers}"><b>{tags}</b></span></span>'

    return TAGGED_COMMENT.sub(label, html)
