"""The changes that are made: cosmic-ray's operators, one for each kind of mistake, and two of our own."""

from collections.abc import Iterator
from functools import cache

import parso.python.tree as tree
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.plugins import get_operator

# One replacement for each operator. cosmic-ray would make twelve of every sum; those crash at once, so that they cost
# time and raise the score, and test nothing more.
BINARY = {
    "Add": "Sub", "Sub": "Add", "Mul": "Div", "Div": "Mul", "FloorDiv": "Mod", "Mod": "FloorDiv", "Pow": "Mul",
    "BitOr": "BitAnd", "BitAnd": "BitOr",
}  # fmt: skip
COMPARISONS = {  # the neighbour, which differs at the boundary only, and the opposite
    "Lt": ("LtE", "GtE"), "LtE": ("Lt", "Gt"), "Gt": ("GtE", "LtE"), "GtE": ("Gt", "Lt"),
    "Eq": ("NotEq",), "NotEq": ("Eq",), "Is": ("IsNot",), "IsNot": ("Is",),
}  # fmt: skip
OTHERS = (
    "NumberReplacer", "ReplaceUnaryOperator_Delete_USub", "ReplaceUnaryOperator_Delete_Not", "AddNot",
    "ReplaceUnaryOperator_Delete_Invert", "ReplaceTrueWithFalse", "ReplaceFalseWithTrue", "ReplaceAndWithOr",
    "ReplaceOrWithAnd", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak", "ExceptionReplacer",
    "RemoveDecorator", "ZeroIterationForLoop",
)  # fmt: skip


class DeleteStatement(Operator):
    """Delete a statement without which the code still runs: a call, a `raise`, a change of what is there already."""

    def mutation_positions(self, node) -> Iterator[tuple]:
        if node.type == "simple_stmt" and self._can_go(node.children[0]):
            yield node.start_pos, node.end_pos

    def mutate(self, node, index):
        first = node.children[0]
        node.children[0] = tree.Keyword("pass", first.start_pos, first.get_first_leaf().prefix)
        return node

    @staticmethod
    def _can_go(statement) -> bool:
        if statement.type != "expr_stmt":
            return statement.type in ("atom_expr", "raise_stmt", "assert_stmt", "del_stmt", "yield_expr")
        target, sign = statement.children[0], statement.children[1]
        if sign.type == "annassign":
            return False
        read = {leaf.value for leaf in _leaves(statement.children[-1]) if leaf.type == "name"}
        return (
            sign.get_first_leaf().value != "="
            or target.type == "atom_expr"
            or bool({n.value for n in _names(target)} & read)
        )

    @classmethod
    def examples(cls):
        return (Example("x = 1\nx += 1\n", "x = 1\npass\n"), Example("f(x)\n", "pass\n"))


class DropKeyword(Operator):
    """Leave out a keyword argument, so that its default counts."""

    def mutation_positions(self, node) -> Iterator[tuple]:
        for argument in self._keywords(node):
            yield argument.start_pos, argument.end_pos

    def mutate(self, node, index):
        argument = self._keywords(node)[index]
        if argument.parent is node:  # the only argument
            node.children.remove(argument)
            return node
        arguments = argument.parent.children
        place = arguments.index(argument)
        del arguments[max(place - 1, 0) : place + 1]  # with the comma before it
        if not place:
            del arguments[0]
        return node

    @staticmethod
    def _keywords(node) -> list:
        if node.type != "trailer" or node.children[0].value != "(" or len(node.children) != 3:
            return []
        inner = node.children[1]
        arguments = inner.children if inner.type == "arglist" else [inner]
        return [
            a for a in arguments if a.type == "argument" and a.children[1].type == "operator" and a.children[1] == "="
        ]

    @classmethod
    def examples(cls):
        return (Example("f(x, axis=0)", "f(x)"), Example("f(axis=0)", "f()"))


def _leaves(node) -> Iterator:
    children = getattr(node, "children", None)
    if children is None:
        yield node
    else:
        for child in children:
            yield from _leaves(child)


def _names(target) -> Iterator:
    return (leaf for leaf in _leaves(target) if leaf.type == "name")


@cache
def operators() -> dict[str, Operator]:
    """Every operator by name."""
    names = [f"ReplaceBinaryOperator_{old}_{new}" for old, new in BINARY.items()]
    names += [f"ReplaceComparisonOperator_{old}_{new}" for old, news in COMPARISONS.items() for new in news]
    found = {name: get_operator(f"core/{name}")() for name in (*names, *OTHERS)}
    return found | {"DeleteStatement": DeleteStatement(), "DropKeyword": DropKeyword()}
