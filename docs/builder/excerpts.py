"""Functions, methods and classes cut from a live file by name.

pymdownx.snippets would need markers in the source, and would show docstrings again that the page already explains.
"""

import ast
import textwrap
from dataclasses import dataclass
from pathlib import Path

from mkdocs.exceptions import PluginError


class ExcerptError(PluginError):
    """A file does not define the name."""


@dataclass(frozen=True)
class Excerpt:
    """The source of one definition, without docstrings and indentation."""

    name: str
    line: int  # of the definition, counted from 1
    source: str


def cut(path: Path, name: str) -> Excerpt:
    """Cut the definition of `name`, such as `local_attention` or `HMHSA.local_attention`, from a file.

    Raises:
        ExcerptError: if there is no such file or definition; the message lists the definitions there are.
    """
    if not path.is_file():
        raise ExcerptError(f"no file {path}")
    text = path.read_text(encoding="utf-8")
    known = dict(definitions(ast.parse(text)))
    if name not in known:
        raise ExcerptError(f"{path} does not define {name!r}; it defines {', '.join(known)}")
    node = known[name]
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    lines = text.splitlines()
    dropped = {number for inner in ast.walk(node) for number in _docstring_lines(inner, lines)}
    kept = [lines[number - 1] for number in range(first, _end(node) + 1) if number not in dropped]
    return Excerpt(name, first, textwrap.dedent("\n".join(kept)))


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def definitions(tree: ast.AST, prefix: str = "") -> list[tuple[str, Definition]]:
    """All definitions by qualified name, in the order of the file.

    >>> [name for name, _ in definitions(ast.parse("class A:\\n  def f(self): ...\\ndef g(): ..."))]
    ['A', 'A.f', 'g']
    """
    found: list[tuple[str, Definition]] = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Definition):
            found.append((prefix + node.name, node))
            found.extend(definitions(node, f"{prefix}{node.name}."))
    return found


def _end(node: Definition) -> int:
    assert node.end_lineno is not None
    return node.end_lineno


def _docstring_lines(node: ast.AST, lines: list[str]) -> range:
    """The lines of a definition's docstring and the empty ones after it; none if code shares a line with it."""
    if not isinstance(node, Definition) or ast.get_docstring(node) is None or len(node.body) == 1:
        return range(0)
    first, last = node.body[0].lineno, node.body[0].end_lineno
    assert last is not None
    if not lines[first - 1].lstrip().startswith(("'", '"', "r'", 'r"')):
        return range(0)
    while not lines[last].strip():
        last += 1
    return range(first, last + 1)
