"""Parameters and traces are flat dictionaries whose keys are paths, such as `stages.0.blocks.1.attention.norm.weight`.

`within` selects the parameters below a path, and `scope` the part of a trace below a path. Neither computes anything.
"""

from collections.abc import Mapping
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.float64]
Params: TypeAlias = Mapping[str, Array]


class Trace(Protocol):
    """Receives the named intermediates of a forward pass; a dictionary does."""

    def __setitem__(self, name: str, value: Array, /) -> None: ...


def within(params: Params, path: str) -> dict[str, Array]:
    """The parameters below `path`, by the rest of their names.

    Raises:
        KeyError: if there are none.

    >>> within({"norm.weight": np.ones(2), "norm.bias": np.zeros(2), "kv.bias": np.ones(4)}, "norm")
    {'weight': array([1., 1.]), 'bias': array([0., 0.])}
    """
    found = {name.removeprefix(f"{path}."): value for name, value in params.items() if name.startswith(f"{path}.")}
    if not found:
        raise KeyError(f"no parameter below {path!r}; given: {', '.join(sorted(params)) or 'none'}")
    return found


class Scope:
    """The part of a trace below `path`; with no trace, it keeps nothing."""

    def __init__(self, trace: Trace | None, path: str) -> None:
        self.trace, self.path = trace, path

    def __setitem__(self, name: str, value: Array, /) -> None:
        if self.trace is not None:
            self.trace[f"{self.path}.{name}"] = value


NO_TRACE = Scope(None, "")


def scope(trace: Trace, path: str) -> Trace:
    """The part of `trace` below `path`.

    >>> trace = {}
    >>> scope(scope(trace, "stages.0"), "blocks.1")["output"] = np.ones(2)
    >>> trace
    {'stages.0.blocks.1.output': array([1., 1.])}
    """
    return Scope(trace, path)
