"""Checks of given values. Each raises a ValueError with the name, the value, and what it must be."""

from collections.abc import Collection
from math import inf


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
