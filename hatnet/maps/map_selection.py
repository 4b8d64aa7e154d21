"""The choice of a token and its maps, for a figure or for the first view of an explorer."""

from collections.abc import Sequence
from dataclasses import dataclass

from hatnet.config import HATNetConfig, StageLayout, nearest
from hatnet.maps.tokens import Token, require, require_place, token_at

KINDS = ("local", "global", "composed", "rollout", "class")


@dataclass(frozen=True)
class MapSelection:
    """A token, and which of its maps. Stages, blocks and heads count from 0."""

    stage: int
    block: int
    query: Token
    head: int | None = None  # None for the mean of the heads
    label: int | None = None  # the class of the class map; None for the class that the network predicts
    kinds: Sequence[str] = KINDS

    def available_kinds(self, layouts: Sequence[StageLayout]) -> list[str]:
        """The selected kinds that the stage has, in the order of `KINDS`. Raises ValueError if there is none."""
        require("stage", self.stage, len(layouts), "the network")
        for kind in self.kinds:
            if kind not in KINDS:
                raise ValueError(f"kind {kind!r} is not known; known: {', '.join(KINDS)}")
        plain = layouts[self.stage].window is None
        found = [kind for kind in KINDS if kind in self.kinds and not (plain and kind == "local")]
        if not found:
            raise ValueError(f"stage {self.stage} has no windows: its attention is plain, ask for global")
        return found


def select_maps(
    config: HATNetConfig,
    size: tuple[int, int],
    pixel: tuple[int, int],
    *,
    stage: int | None = None,
    block: int | None = None,
    head: int | None = None,
    label: int | None = None,
    kinds: Sequence[str] = KINDS,
) -> MapSelection:
    """Select the maps of the token at a pixel (x, y) of an image (H, W), and check that the network has them.

    A stage of None is the last with windows, a block of None the last of the stage. Raises ValueError for what does
    not exist, and for one head of a rollout.

    >>> from hatnet.config import get_config
    >>> select_maps(get_config("micro"), (28, 28), (14, 14))
    MapSelection(stage=1, block=1, query=(3, 3), head=None, label=None, kinds=('local', 'global', 'composed', \
'rollout', 'class'))
    """
    layouts = config.layout(*size)
    stage = max(len(config.stages) - 2, 0) if stage is None else stage
    require("stage", stage, len(config.stages), "the network")
    block = config.stages[stage].depth - 1 if block is None else block
    require_place(config, layouts, stage, block, head)
    query = token_at(*pixel, size, config.stages[stage].stride)
    selection = MapSelection(stage, block, query, head, label, kinds)
    selection.available_kinds(layouts)  # raises if there is none
    if head is not None and tuple(kinds) == ("rollout",):
        raise ValueError(f"--kind rollout combines all heads, so --head {head} cannot be shown; leave it out")
    return selection


def class_number(label: str | None, classes: Sequence[str], count: int) -> int | None:
    """The number of a class that is given by a name of `classes` or by a number in digits; None stays None.

    A ValueError reports a class that a network with `count` classes lacks.

    >>> class_number("bag", ["shirt", "bag"], 2), class_number("1", [], 2)
    (1, 1)
    """
    if label is None:
        return None
    if label in classes:
        return classes.index(label)
    if not label.isdecimal():
        known = f"known: {', '.join(classes)}" if classes else "the names are not known here, give a number"
        raise ValueError(f"unknown class {label!r}{nearest(label, classes)}; {known}")
    require("class", int(label), count, "the network")
    return int(label)
