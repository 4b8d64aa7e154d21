"""Parameters and traces are flat dictionaries whose keys are paths, such as `stages.0.blocks.1.attention.norm.weight`.

`within` selects the parameters below a path, `named` puts gradients back below their paths, and `scope` is the part of
a trace below a path. None of them computes anything.
"""

from collections.abc import Collection, Mapping
from typing import Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Params: TypeAlias = Mapping[str, Array]
Gradients: TypeAlias = dict[str, Array]  # of the loss, by the names of the parameters
Value = TypeVar("Value")


class Trace(Protocol):
    """Receives the named intermediates of a forward pass; a dictionary does."""

    def __setitem__(self, name: str, value: Array, /) -> None: ...


def within(params: Params, path: str) -> dict[str, Array]:
    """The parameters below `path`, by the rest of their names.

    Raises:
        TypeError: if `params` is no mapping of names to arrays.
        ValueError: if there are none.

    >>> within({"norm.weight": np.ones(2), "norm.bias": np.zeros(2), "kv.bias": np.ones(4)}, "norm")
    {'weight': array([1., 1.]), 'bias': array([0., 0.])}
    """
    require_params(params)
    found = {name.removeprefix(f"{path}."): value for name, value in params.items() if name.startswith(f"{path}.")}
    if not found:
        raise ValueError(f"no parameter below {path!r}; given: {', '.join(sorted(params)) or 'none'}")
    return found


def require_params(params: object, layers: Collection[str] | None = None, what: str = "params") -> None:
    """Raise a TypeError unless `params` maps names to arrays, a ValueError for parameters outside these `layers`.

    `what` is the name of the argument, for the message.

    >>> require_params({"norm.weight": np.ones(2), "nrm.bias": np.ones(2)}, ["norm"])
    Traceback (most recent call last):
    ValueError: unexpected parameter 'nrm.bias'; the layers are: norm
    """
    if not isinstance(params, Mapping):
        raise TypeError(f"{what} must be a dictionary of arrays by name, got {type(params).__name__}")
    for name, value in params.items():
        if not isinstance(name, str) or not isinstance(value, np.ndarray):
            raise TypeError(f"{what} must be a dictionary of arrays by name, got {type(value).__name__} for {name!r}")
        if layers is not None and name.partition(".")[0] not in layers:
            raise ValueError(f"unexpected parameter {name!r}; the layers are: {', '.join(layers)}")


def named(parts: Mapping[str, Mapping[str, Value]]) -> dict[str, Value]:
    """The gradients (or shapes) of several parts of a network, each below its path; undoes `within`.

    >>> named({"norm": {"weight": np.ones(2)}, "attention.kv": {"weight": np.zeros(3), "bias": np.zeros(1)}})
    {'norm.weight': array([1., 1.]), 'attention.kv.weight': array([0., 0., 0.]), 'attention.kv.bias': array([0.])}
    """
    return {f"{path}.{name}": gradient for path, own in parts.items() for name, gradient in own.items()}


class NoTrace:
    """Keeps nothing, so that a forward pass can write its intermediates unconditionally."""

    def __setitem__(self, name: str, value: Array, /) -> None:
        pass


class Scope:
    """The part of a trace below `path`."""

    def __init__(self, trace: Trace, path: str) -> None:
        self.trace, self.path = trace, path

    def __setitem__(self, name: str, value: Array, /) -> None:
        self.trace[f"{self.path}.{name}"] = value


NO_TRACE = NoTrace()


def scope(trace: Trace, path: str) -> Trace:
    """The part of `trace` below `path`; `NO_TRACE` has no parts.

    >>> trace = {}
    >>> scope(scope(trace, "stages.0"), "blocks.1")["output"] = np.ones(2)
    >>> trace
    {'stages.0.blocks.1.output': array([1., 1.])}
    """
    if not hasattr(trace, "__setitem__"):
        raise TypeError(f"trace must be a dictionary, got {type(trace).__name__}")
    return trace if trace is NO_TRACE else Scope(trace, path)
