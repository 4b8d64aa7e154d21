"""Files and functions stay short enough to be read at once."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("hatnet", "reference", "docs", "tests")
    for path in (ROOT / folder).rglob("*.py")
)
LONGEST_FUNCTION = 44  # lines without the docstring


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function, without those of its docstring."""
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    return function.end_lineno - function.lineno + 1 - (docstring.end_lineno - docstring.lineno + 1 if docstring else 0)


def test_no_file_and_no_function_is_too_long():
    assert len(FILES) > 100
    too_long = {}
    for file in FILES:
        source = (ROOT / file).read_text()
        lines = source.count("\n")
        if lines > (400 if file.startswith("tests/") else 419):
            too_long[file] = lines
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and length(node) > LONGEST_FUNCTION:
                too_long[f"{file}:{node.lineno} {node.name}"] = length(node)
    assert too_long == {}


def test_the_length_of_a_function_leaves_out_its_docstring():
    source = 'def f():\n    """Two\n    lines."""\n    x = 1\n    return x\n'
    assert length(ast.parse(source).body[0]) == 3
