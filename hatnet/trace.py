"""A trace receives the intermediates of a forward pass, under the names that `reference` uses too.

Any dictionary is a trace: `trace = {}; model(image, trace)`. Without one, a forward pass writes to `NO_TRACE`, which
keeps nothing, so that layers write their intermediates unconditionally.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor
from torch.fx import Proxy


class Trace(Protocol):
    """Receives intermediates by name; a dictionary does."""

    def __setitem__(self, name: str, value: Tensor, /) -> None: ...


class Scope:
    """The part of a trace below `path`."""

    def __init__(self, trace: Trace | None, path: str) -> None:
        self.trace, self.path = trace, path  # a trace of None keeps nothing

    def __setitem__(self, name: str, value: Tensor, /) -> None:
        if self.trace is not None:
            self.trace[full_name(self, name)] = value


NO_TRACE = Scope(None, "")


def scope(trace: Trace, path: str) -> Scope:
    """The part of `trace` below `path`.

    >>> import torch
    >>> trace = {}
    >>> scope(scope(trace, "stages.0"), "blocks.1")["output"] = torch.zeros(2)
    >>> trace
    {'stages.0.blocks.1.output': tensor([0., 0.])}
    """
    if isinstance(trace, Scope):
        return Scope(trace.trace, full_name(trace, path))
    return Scope(trace, path)


def given_or_none(trace: Trace | None) -> Trace:
    """`trace`, or `NO_TRACE` for None and while torch.fx records a graph, which keeps no trace."""
    return NO_TRACE if trace is None or isinstance(trace, Proxy) else trace


def full_name(trace: Trace, name: str) -> str:
    """The name in the whole trace of an intermediate that a layer calls `name`, also without a trace."""
    return f"{trace.path}.{name}" if isinstance(trace, Scope) and trace.path else name


def records(trace: Trace) -> bool:
    """Return whether a trace keeps anything, to skip intermediates that are costly to compute."""
    return not isinstance(trace, Scope) or trace.trace is not None


@dataclass(frozen=True)
class Place:
    """The stage and block of an intermediate or a parameter, from its name."""

    stage: int | None  # counted from 0; None for the stem, the classifier and the logits
    block: int | None  # within its stage, counted from 0; None outside blocks
    name: str  # within its block or stage, for instance attention.norm, downsampled or logits

    @staticmethod
    def parse(path: str) -> Place:
        """The place of an intermediate or a parameter.

        >>> Place.parse("stages.0.blocks.1.attention.norm")
        Place(stage=0, block=1, name='attention.norm')
        >>> Place.parse("logits")
        Place(stage=None, block=None, name='logits')
        """
        first, *rest = path.split(".")
        if first != "stages":
            return Place(None, None, path)
        if len(rest) > 2 and rest[1] == "blocks":
            return Place(int(rest[0]), int(rest[2]), ".".join(rest[3:]))
        return Place(int(rest[0]), None, ".".join(rest[1:]))

    def __str__(self) -> str:
        stage = "" if self.stage is None else f"stages.{self.stage}."
        block = "" if self.block is None else f"blocks.{self.block}."
        return f"{stage}{block}{self.name}".removesuffix(".")
