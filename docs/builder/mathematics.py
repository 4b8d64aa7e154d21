r"""`$...$` and `$$...$$` to MathML at build time: pages need no script, and wrong LaTeX stops the build.

pymdownx.arithmatex (generic) finds the formulas; this extension converts them.
"""

import html
import re

from markdown import Extension, Markdown
from markdown.postprocessors import Postprocessor
from math_core import LatexError, LatexToMathML
from mkdocs.exceptions import PluginError

FOUND = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


class FormulaError(PluginError):
    """LaTeX that cannot be converted."""


def to_mathml(latex: str, display: bool = False, macros: dict[str, str] | None = None) -> str:
    r"""Convert one formula.

    Args:
        latex: without dollar signs.
        display: whether it has a line of its own.
        macros: name without backslash -> replacement.

    Raises:
        FormulaError: if the formula is not valid; the message contains it.

    >>> to_mathml("A_1")
    '<math><msub><mi>A</mi><mn>1</mn></msub></math>'
    >>> to_mathml(r"\foo x")
    Traceback (most recent call last):
    builder.mathematics.FormulaError: invalid formula \foo x: 0: Unknown command "\foo".
    """
    converter = LatexToMathML(macros=macros or {}, fancy_error=False)
    try:
        return converter.convert_with_local_state(latex, displaystyle=display)
    except LatexError as error:
        raise FormulaError(f"invalid formula {latex}: {error}") from None


class _ToMathML(Postprocessor):
    def __init__(self, md: Markdown, macros: dict[str, str]) -> None:
        super().__init__(md)
        self.macros = macros

    def run(self, text: str) -> str:
        return FOUND.sub(self._convert, text)

    def _convert(self, found: re.Match[str]) -> str:
        element, bracket, latex = found.groups()
        mathml = to_mathml(html.unescape(latex).strip(), display=bracket == "[", macros=self.macros)
        return f'<{element} class="math" data-search-exclude>{mathml}</{element}>'


class MathematicsExtension(Extension):
    """Convert the formulas that arithmatex found. An extension, since headings in the contents have formulas too."""

    def __init__(self, macros: dict[str, str]) -> None:
        super().__init__()
        self.macros = macros

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        md.postprocessors.register(_ToMathML(md, self.macros), "mathematics", priority=1)  # after raw_html
