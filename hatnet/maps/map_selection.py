"""What a figure, or an explorer at first, shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hatnet.config import StageLayout
from hatnet.maps.tokens import Token, require

KINDS = ("local", "global", "composed", "rollout", "class")


@dataclass(frozen=True)
class Subject:
    """A token, and which of its maps.

    Attributes:
        stage, block: counted from 0.
        query: the token, row and column in the stage's map.
        head: None for the mean of the heads.
        label: the class of the class map; None for the one that the network answers.
        kinds: which maps, of `KINDS`.
    """

    stage: int
    block: int
    query: Token
    head: int | None = None
    label: int | None = None
    kinds: Sequence[str] = KINDS

    def shown(self, layouts: Sequence[StageLayout]) -> list[str]:
        """The kinds that its stage has, in the order of `KINDS`.

        Raises:
            ValueError: for an unknown stage or kind, or where only the local map of a stage without windows is asked
                for.
        """
        require("stage", self.stage, len(layouts), "the network")
        for kind in self.kinds:
            if kind not in KINDS:
                raise ValueError(f"kind {kind!r} is not known; known: {', '.join(KINDS)}")
        plain = layouts[self.stage].window is None
        found = [kind for kind in KINDS if kind in self.kinds and not (plain and kind == "local")]
        if not found:
            raise ValueError(f"stage {self.stage} has no windows: its attention is plain, ask for global")
        return found
