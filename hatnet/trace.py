"""A trace: a dictionary that receives the named intermediates of a forward pass, under the reference's names."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True)
class Place:
    """Where an intermediate, or a parameter, is in the network: `stages.0.blocks.1.attention.norm` taken apart."""

    stage: int | None  # counted from 0; None for the stem, the classifier and the logits
    block: int | None  # within its stage, counted from 0; None outside blocks
    name: str  # within its block or stage: attention.norm, downsampled, logits

    @staticmethod
    def parse(path: str) -> Place:
        """The place that a name in a trace, or of a parameter, stands for.

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
        """The name again."""
        stage = [] if self.stage is None else ["stages", str(self.stage)]
        block = [] if self.block is None else ["blocks", str(self.block)]
        return ".".join([*stage, *block, *([self.name] if self.name else [])])
