"""Checks of given values. Each raises a ValueError with the name, the value, and what it must be."""

from collections.abc import Collection
from math import inf
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin


def require_whole(name: str, value: object, low: int, high: int | None = None) -> None:
    """Require a whole number from `low` to `high`, or of at least `low` where `high` is None.

    >>> require_whole("epochs", 3, 1)
    >>> require_whole("epochs", 2.5, 1)
    Traceback (most recent call last):
    ValueError: epochs=2.5 must be a whole number of at least 1
    >>> require_whole("seeds", True, 1, 1000)
    Traceback (most recent call last):
    ValueError: seeds=True must be a whole number from 1 to 1000
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= (inf if high is None else high):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name}={value!r} must be a whole number {bounds}")


def require_between(name: str, value: object, low: float, high: float) -> None:
    """Require a number from `low` to `high`, both included. NaN is none.

    >>> require_between("lr", float("nan"), 0, 1)
    Traceback (most recent call last):
    ValueError: lr=nan must be from 0 to 1
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{name}={value!r} must be from {low:g} to {high:g}")


def require_choice(name: str, value: object, known: Collection[object]) -> None:
    """Require one of some known values.

    >>> require_choice("clock", "sun", ("wall", "cpu"))
    Traceback (most recent call last):
    ValueError: clock='sun' must be one of wall, cpu
    """
    if value not in known:
        raise ValueError(f"{name}={value!r} must be one of {', '.join(map(str, known))}")


def require_type(name: str, value: object, annotation: Any) -> None:
    """Require a value of an annotated type: a class, a tuple, a Literal, or a union of them.

    A whole number is a float, too, but True is no number.

    >>> require_type("sizes", (7, 4), tuple[int, ...] | None)
    >>> require_type("lr", "0.1", float)
    Traceback (most recent call last):
    ValueError: lr='0.1' must be of the type float
    """
    if not _is_of(value, annotation):
        words = annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
        raise ValueError(f"{name}={value!r} must be of the type {words.replace('typing.', '')}")


def _is_of(value: object, annotation: Any) -> bool:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return any(_is_of(value, part) for part in parts)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        expected = parts[:1] * len(value) if parts[-1] is ... else parts
        return len(value) == len(expected) and all(map(_is_of, value, expected))
    if isinstance(value, bool):
        return annotation is bool
    return isinstance(value, int | float if annotation is float else annotation)
