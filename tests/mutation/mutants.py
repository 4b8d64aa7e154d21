"""All mutants of a file: what each changes, and a key that stays the same while its definition does."""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, takewhile
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

from tests.mutation.operators import operators

ROOT = Path(__file__).parents[2]
MODEL = ("config", "layers", "attention", "hierarchical_attention", "lean", "network", "models")
SAMPLED = ("training", "data", "maps", "studies")
SAMPLE, SEED = 640, 0
COMMENT = re.compile(r"  # .*")
PARTS = ("reference", "model", "sample")


@dataclass(frozen=True)
class Mutant:
    """A file with one small change."""

    path: str
    definition: str  # the function, method or class that is changed, as in `Learner.take_step`; "" for a module
    operator: str
    lines: range  # of the statement that is changed, in the unchanged file
    around: range  # lines of the function or class
    before: str  # the lines that change, joined and stripped
    after: str
    source: str  # the whole changed file
    key: str  # of the change and of the top-level statement around it
    word: str  # the name of the function or class, or of the constant of a module


@dataclass(frozen=True)
class Change:
    """One application of an operator to a top-level statement of a file; cheap, since nothing is parsed again."""

    path: str
    statement: ast.stmt
    text: str  # of the statement
    operator: str
    occurrence: int


def changes_of(path: str) -> Iterator[Change]:
    """Every place of a file where an operator applies."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines(keepends=True)
    for statement in ast.parse("".join(lines)).body:
        text = "".join(lines[_start(statement) - 1 : statement.end_lineno])
        nodes = list(ast_nodes(get_ast(text)))
        for name, operator in operators().items():
            for occurrence in range(sum(1 for node in nodes for _ in operator.mutation_positions(node))):
                yield Change(path, statement, text, name, occurrence)


def mutants(changes: Iterable[Change]) -> Iterator[Mutant]:
    """The mutants that compile and differ from the file, and from those before, by more than annotations."""
    seen = set()
    for change in changes:
        try:
            changed = mutate_code(change.text, operators()[change.operator], change.occurrence)
        except AttributeError:  # cosmic-ray does not replace dotted exceptions
            continue
        meaning = _meaning(changed)
        found = (change.path, change.statement.lineno, meaning)
        if meaning not in (None, _meaning(change.text)) and found not in seen:
            seen.add(found)
            yield _mutant(change, changed)


def _meaning(source: str) -> str | None:
    """The syntax tree of a file as text, without annotations, which mypy checks; None if it does not compile."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):
            if getattr(node, field, None) is not None:
                setattr(node, field, ast.Constant(None))
    return ast.dump(tree)


def _mutant(change: Change, changed: str) -> Mutant:
    node, old, new = change.statement, change.text.splitlines(), changed.splitlines()
    first = _equal(old, new)
    same = min(_equal(old[::-1], new[::-1]), min(len(old), len(new)) - first)  # lines at the end
    before, after = old[first : len(old) - same], new[first : len(new) - same]
    around = list(_around(node, _start(node) + first))
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    texts = tuple(" ".join(COMMENT.sub("", line).strip() for line in part).strip() for part in (before, after))
    key = hashlib.sha256("\0".join((change.path, change.text, str(first), *texts)).encode()).hexdigest()[:16]
    name = ".".join(inner.name for inner in around if isinstance(inner, definitions))
    lines = (ROOT / change.path).read_text(encoding="utf-8").splitlines(keepends=True)
    whole = "".join((*lines[: _start(node) - 1], changed, *lines[node.end_lineno :]))
    holder = next((inner for inner in reversed(around) if isinstance(inner, definitions)), node)
    place = _own_lines(around[-1]), range(_start(holder), holder.end_lineno + 1)
    named = [part for part in name.split(".") if part and not part.startswith("__")]
    word = named[-1] if named else _word(holder)
    return Mutant(change.path, name, change.operator, *place, *texts, whole, key, word)


def _word(node: ast.stmt) -> str:
    """The name that an assignment gives to its result; empty for other statements."""
    target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
    return getattr(target, "id", "")


def _equal(old: list[str], new: list[str]) -> int:
    """How many lines at the start are equal."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(old, new, strict=False))))


def _start(node: ast.stmt) -> int:
    return min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])


def _around(node: ast.stmt, line: int) -> Iterator[ast.stmt]:
    """The statements that contain a line, from the outermost to the innermost."""
    inner: ast.stmt | None = node
    while inner is not None:
        yield inner
        inner = next((n for n in _inside(inner) if _start(n) <= line <= n.end_lineno), None)


def _inside(node: ast.AST) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, ast.ExceptHandler | ast.match_case):
            yield from child.body


def _own_lines(node: ast.stmt) -> range:
    """The lines of a statement without those of the statements inside it."""
    inside = list(_inside(node))
    return range(_start(node), _start(inside[0]) if inside else node.end_lineno + 1)


def files_of(part: str) -> list[str]:
    """The files of a part: `reference`, `model`, or one of those of which a sample is taken."""
    if part == "model":
        return [f"hatnet/{name}.py" for name in MODEL]
    folder = "reference" if part == "reference" else f"hatnet/{part}"
    return sorted(str(path.relative_to(ROOT)) for path in (ROOT / folder).rglob("*.py"))


def mutants_of(part: str, size: int = SAMPLE, seed: int = SEED) -> list[Mutant]:
    """All mutants of `reference` or `model`; for `sample`, `size` of those of training, data, maps and studies.

    The sample is drawn by a number computed from the seed, the statement and the change, so that a change elsewhere
    leaves a mutant in it.
    """
    if part != "sample":
        return list(mutants(change for path in files_of(part) for change in changes_of(path)))
    changes = [change for each in SAMPLED for path in files_of(each) for change in changes_of(path)]
    ranks = [hashlib.sha256(f"{seed} {c.path} {c.text} {c.operator} {c.occurrence}".encode()).digest() for c in changes]
    order = sorted(range(len(changes)), key=ranks.__getitem__)
    return list(islice(mutants(changes[i] for i in order), size))
