"""HTML and SVG elements as functions. What is not markup already is text, and text is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

import numpy as np

VOID = {"meta", "br"}
LEAVES = {"circle", "image", "line", "path", "rect", "use"}  # of SVG, which may close themselves


class Markup(str):
    """A string that holds elements, not text."""

    __slots__ = ()


def element(name: str, /, *children: str | Iterable[str], **attributes: object) -> Markup:
    """One element. Attributes that are None are left out; `class_` and `aria_label` become `class` and `aria-label`.

    >>> element("p", "G1 < G2, ", element("b", "8"), class_="note", aria_label=None)
    '<p class="note">G1 &lt; G2, <b>8</b></p>'
    """
    opening = name + "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_number(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{opening}>")
    content = join(*children)
    return Markup(f"<{opening}/>" if name in LEAVES and not content else f"<{opening}>{content}</{name}>")


def join(*children: str | Iterable[str]) -> Markup:
    """Children after one another, text escaped."""
    pieces: list[str] = []
    for child in children:
        if isinstance(child, str):
            pieces.append(child if isinstance(child, Markup) else escape(child))
        else:
            pieces.append(join(*child))
    return Markup("".join(pieces))


def scroll(label: str, content: Markup) -> Markup:
    """A box that scrolls sideways where its content is wider than the page, also by keyboard."""
    return element("div", content, class_="scroll", tabindex=0, role="region", aria_label=label)


def times(*sizes: int) -> str:
    """Sizes as people write them.

    >>> times(56, 56, 48)
    '56 × 56 × 48'
    """
    return " \N{MULTIPLICATION SIGN} ".join(map(str, sizes))


def scientific(number: float) -> str:
    """A difference as people write it.

    >>> scientific(3.14e-15), scientific(0)
    ('3.1e-15', '0')
    """
    return f"{number:.1e}" if number else "0"


def _number(value: object) -> str:
    """An attribute's value; floats lose the digits that no screen shows."""
    return f"{value:.6g}" if isinstance(value, float | np.floating) else str(value)
