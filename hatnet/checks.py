"""Checks of arguments. Each raises a ValueError or a TypeError with the name, the value, and what is allowed."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import is_dataclass
from math import inf, nextafter
from types import UnionType
from typing import Any, Literal, TypeGuard, Union, get_args, get_origin, get_type_hints

import numpy as np

ALMOST_ONE = nextafter(1, 0)  # the largest drop rate


def require_whole(name: str, value: object, low: int, high: int | None = None) -> int:
    """Return a whole number from `low` to `high` as an int. If `high` is None, it must be at least `low`.

    Whole numbers of NumPy are accepted and converted, since an int cannot overflow.

    >>> require_whole("epochs", 3, 1)
    3
    >>> require_whole("epochs", 2.5, 1)
    Traceback (most recent call last):
    ValueError: epochs=2.5 must be a whole number of at least 1
    >>> require_whole("seeds", True, 1, 1000)
    Traceback (most recent call last):
    ValueError: seeds=True must be a whole number from 1 to 1000
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, int | np.integer)
        or not low <= value <= (inf if high is None else high)
    ):
        bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name}={shown(value)} must be a whole number {bounds}")
    return int(value)


def require_between(name: str, value: object, low: float, high: float) -> float:
    """Return a number from `low` to `high`, both included, as an int or a float. NaN is refused.

    >>> require_between("lr", float("nan"), 0, 1)
    Traceback (most recent call last):
    ValueError: lr=nan must be from 0 to 1
    """
    if not is_number(value) or not low <= value <= high:
        raise ValueError(f"{name}={shown(value)} must be from {low:g} to {high:g}")
    return value if isinstance(value, int | float) else float(value)


def require_numbers(name: str, values: object, least: int = 1) -> None:
    """Require a list, a tuple or an array of at least `least` finite numbers.

    >>> require_numbers("values", [1.0], least=2)
    Traceback (most recent call last):
    ValueError: values=[1.0] must be a list of at least 2 finite numbers
    """
    good = (
        isinstance(values, list | tuple | np.ndarray)
        and len(values) >= least
        and all(is_number(v) and -inf < v < inf for v in values)
    )
    if not good:
        raise ValueError(f"{name}={shown(values)} must be a list of at least {least} finite numbers")


def is_number(value: object) -> TypeGuard[float]:
    """True for a real number of Python or NumPy, except True and False."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def require_choice(name: str, value: object, known: Collection[object]) -> None:
    """Require one of the known values.

    >>> require_choice("clock", "sun", ("wall", "cpu"))
    Traceback (most recent call last):
    ValueError: clock='sun' must be one of wall, cpu
    """
    if not isinstance(value, Hashable) or value not in known:
        raise ValueError(f"{name}={shown(value)} must be one of {', '.join(map(str, known))}")


def require_type(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Require an instance of `kind`; `expected` describes it in the message.

    >>> require_type("flip", "no", bool, "True or False")
    Traceback (most recent call last):
    TypeError: flip='no' must be True or False
    """
    if not isinstance(value, kind):
        raise TypeError(f"{name}={shown(value)} must be {expected}")


def require_kind(name: str, value: object, kind: Any) -> None:
    """Raise a TypeError unless a value and all its entries have the annotated type.

    >>> require_kind("seconds", [1.0, "x"], list[float])
    Traceback (most recent call last):
    TypeError: seconds[1]='x' must be of the type float
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        if any(_has_kind(value, one) for one in inner):
            return
    elif origin in (list, tuple, Sequence):
        fixed = len(inner) if origin is tuple and inner[-1] is not ... else None
        if isinstance(value, list | tuple) and fixed in (None, len(value)):
            for index, entry in enumerate(value):
                require_kind(f"{name}[{index}]", entry, inner[index if fixed else 0])
            return
    elif origin in (dict, Mapping):
        if isinstance(value, Mapping):
            for key, entry in value.items():
                require_kind(f"{name}[{key!r}]", entry, inner[1])
            return
    elif is_dataclass(kind):
        if isinstance(value, kind):  # type: ignore[arg-type]
            for field, expected in get_type_hints(kind).items():
                require_kind(f"{name}.{field}", getattr(value, field), expected)
            return
    elif origin is Literal:
        if value in inner:
            return
    elif kind is Any or (
        isinstance(value, bool) == (kind is bool) and isinstance(value, int | float if kind is float else kind)
    ):
        return
    words = str(kind).replace("typing.", "") if inner else kind.__name__
    raise TypeError(f"{name}={shown(value)} must be of the type {words}")


def _has_kind(value: object, kind: Any) -> bool:
    try:
        require_kind("", value, kind)
    except TypeError:
        return False
    return True


def shown(value: object) -> str:
    """A value for a message, on one line of at most 100 characters.

    >>> len(shown("x" * 1000))
    100
    """
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:97]}..."
