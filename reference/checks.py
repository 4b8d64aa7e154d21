"""Checks of arguments, declared above each function: `@checked(x="H W C", heads=1)`. They compute nothing.

- A text is the shape of an array of floats. Equal names must have equal sizes, and `...` stands for any leading axes,
  the same for all arguments of a function. `H/G2` is the size H divided by the argument G2, or by a number, rounded up.
  Arguments are checked in the order of the rules, so what a rule refers to comes before it.
- For `params`, a text lists the layers with parameters. Others are refused.
- A number is the least value of a whole number, and a tuple has one such number per entry of the argument.

A wrong argument raises a TypeError or a ValueError with its name, its value, and what is allowed. No result holds NaN
or infinite values: numbers too large for float64 raise a ValueError.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from math import prod
from reprlib import Repr
from typing import Any, ParamSpec, TypeVar

import numpy as np

from reference.names import Array, require_params

P = ParamSpec("P")
R = TypeVar("R")
Finite = TypeVar("Finite", bound=Array | float)
Rule = str | int | tuple[int, ...]
Sizes = dict[str, Any]  # of axes and whole numbers by their names; "..." has several

UNUSUAL = (np.ma.MaskedArray, np.matrix)  # their arithmetic differs from that of arrays
LARGEST = 2**30  # entries of a matrix, 8 GiB


def checked(**rules: Rule) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Check the named arguments before each call, and the result after it. Arrays are passed on in float64.

    >>> @checked(x="H W C", weight="C")
    ... def scale(x, weight):
    ...     return x * weight
    >>> scale(np.ones((4, 5, 6)), np.ones(1))
    Traceback (most recent call last):
    ValueError: scale: weight must have shape (C,) = (6,), got (1,)
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        order = [*rules, *(name for name in signature.parameters if name not in rules)]
        optional = {name for name, parameter in signature.parameters.items() if parameter.default is None}

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            sizes: Sizes = {"1": 1}
            try:
                bound = signature.bind(*args, **kwargs)
                bound.apply_defaults()
                given: dict[str, Any] = bound.arguments
                for name in order:
                    if not (given[name] is None and name in optional):
                        given[name] = _check(name, given[name], rules.get(name), sizes)
                with np.errstate(all="ignore"):  # the result is checked instead
                    result = function(*bound.args, **bound.kwargs)
                for part in result if isinstance(result, tuple) else (result,):
                    for value in part.values() if isinstance(part, dict) else (part,):
                        if isinstance(value, np.ndarray | float):
                            require_finite("the result", value)
            except (TypeError, ValueError) as error:
                raise _with_name(error, function.__name__) from error.__cause__
            return result

        return call

    return decorate


def require_finite(name: str, value: Finite) -> Finite:
    """Return an array or a number, or raise a ValueError if it holds NaN or infinite values.

    >>> require_finite("the variance", np.array([1.0, np.inf]))
    Traceback (most recent call last):
    ValueError: the variance holds 1 NaN or infinite values of 2; finite numbers up to 1.8e308 are expected
    """
    if not np.isfinite(value).all():
        bad = np.count_nonzero(~np.isfinite(value))
        raise ValueError(
            f"{name} holds {bad} NaN or infinite values of {np.size(value)}; finite numbers up to 1.8e308 are expected"
        )
    return value


def require_floats(name: str, value: object) -> None:
    """Raise a TypeError unless a value is an array of floats.

    >>> require_floats("x", np.arange(3))
    Traceback (most recent call last):
    TypeError: x must be a NumPy array of floats, unmasked, got an array of int64
    """
    if not isinstance(value, np.ndarray) or isinstance(value, UNUSUAL) or not np.issubdtype(value.dtype, np.floating):
        kind = f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__
        raise TypeError(f"{name} must be a NumPy array of floats, unmasked, got {kind}")


def require_whole(name: str, value: object, low: int, high: int | None = None) -> int:
    """Return a whole number, also one of NumPy, as an int. Raises TypeError for other types, ValueError out of range.

    >>> require_whole("heads", 2.0, 1)
    Traceback (most recent call last):
    TypeError: heads=2.0 must be a whole number of at least 1
    """
    bounds = f"of at least {low}" if high is None else f"from {low} to {high}"
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}={value!r} must be a whole number {bounds}")
    if value < low or (high is not None and value > high):
        raise ValueError(f"{name}={value!r} must be a whole number {bounds}")
    return int(value)


def require_number(name: str, value: object, low: float, high: float = np.inf) -> float:
    """Return a real number, also one of NumPy, as a float. Raises TypeError for other types, ValueError out of range.

    >>> require_number("smoothing", 1.5, 0, 1)
    Traceback (most recent call last):
    ValueError: smoothing=1.5 must be a number from 0 to 1
    """
    bounds = f"of at least {low:g}" if high == np.inf else f"from {low:g} to {high:g}"
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise TypeError(f"{name}={shortened(value)} must be a number {bounds}")
    if not low <= value <= high or np.isinf(value):  # NaN is not either
        raise ValueError(f"{name}={shortened(value)} must be a number {bounds}")
    return float(value)


def shortened(value: object) -> str:
    """A value for a message, of a line at most."""
    text = Repr()
    text.maxstring = text.maxother = 60
    return text.repr(value)


def require_size(rows: int, columns: int) -> None:
    """Raise a ValueError for a matrix of more than `LARGEST` entries."""
    if rows * columns > LARGEST:
        raise ValueError(f"a matrix of {rows} x {columns} is too large: at most {LARGEST} entries are formed")


def _check(name: str, value: Any, rule: Rule | None, sizes: Sizes) -> Any:
    """The value of one argument, as the function receives it."""
    if name == "params":
        require_params(value, str(rule).split() if rule else None)
    elif name == "trace" and not _is_trace(value):
        raise TypeError(f"trace must be a dictionary, got {type(value).__name__}")
    elif isinstance(rule, str):
        return _check_array(name, value, rule.split(), sizes)
    elif isinstance(rule, int):
        sizes[name] = require_whole(name, value, rule)
        return sizes[name]
    elif isinstance(rule, tuple):
        if not isinstance(value, tuple | list) or len(value) != len(rule):
            raise TypeError(f"{name}={value!r} must be a tuple of {len(rule)} whole numbers")
        whole = tuple(
            require_whole(f"{name}[{i}]", entry, low) for i, (entry, low) in enumerate(zip(value, rule, strict=True))
        )
        sizes[name] = prod(whole)
        return whole
    return value


def _is_trace(value: object) -> bool:
    return hasattr(value, "__setitem__") and (isinstance(value, Mapping) or not hasattr(value, "__len__"))


def _check_array(name: str, value: Any, axes: list[str], sizes: Sizes) -> Array:
    require_floats(name, value)
    leading = value.ndim - len(axes) + 1 if axes[0] == "..." else 0  # number of axes that ... stands for
    filled = value.size > 0
    shape = (value.shape[:leading], *value.shape[leading:]) if axes[0] == "..." else value.shape
    for axis in axes:
        if "/" in axis and axis not in sizes:
            length, step = (int(sizes.get(part, part)) for part in axis.split("/"))
            sizes[axis] = -(-length // step)
    if (
        not filled
        or len(shape) != len(axes)
        or any(sizes.setdefault(a, n) != n for a, n in zip(axes, shape, strict=True))
    ):
        symbols = ", ".join(axes) + ("," if len(axes) == 1 else "")
        known = ", ".join(str(sizes.get(axis, axis)).strip("(),") for axis in axes if sizes.get(axis) != ())
        known += "," if len(axes) == 1 else ""
        numbers = f" = ({known})" if any(axis in sizes for axis in axes) else ""
        raise ValueError(f"{name} must have shape ({symbols}){numbers}, got {value.shape}")
    return require_finite(name, np.asanyarray(value, np.float64))


def _with_name(error: TypeError | ValueError, function: str) -> TypeError | ValueError:
    """The same error, prefixed with the name of the innermost function."""
    if getattr(error, "named", False):
        return error
    named = type(error)(f"{function}: {error}") if type(error) in (TypeError, ValueError) else error
    named.named = True  # type: ignore[union-attr]
    return named
