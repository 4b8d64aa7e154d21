"""A trace: a dictionary that receives the named intermediates of a forward pass, under the reference's names."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Trace(Protocol):
    """What receives the intermediates; a dictionary is one."""

    def __setitem__(self, name: str, value: Tensor, /) -> None: ...


class _Scope:
    """Forwards what is written to another trace, under a path."""

    def __init__(self, trace: Trace, path: str) -> None:
        self.trace, self.path = trace, path

    def __setitem__(self, name: str, value: Tensor, /) -> None:
        self.trace[f"{self.path}.{name}"] = value


def scope(trace: Trace | None, path: str) -> Trace | None:
    """Where to record what happens below `path`; None, so nothing, where no trace is asked for."""
    return None if trace is None else _Scope(trace, path)
