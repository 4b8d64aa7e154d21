"""Options of the commands that read weights: other windows than those of the training."""

from dataclasses import asdict, dataclass
from typing import Annotated

import tyro

from hatnet.cli.console import console, plain
from hatnet.weights.source import Source, find_source


@dataclass(frozen=True)
class WindowOptions:
    """Windows and strides, which hold no parameters. Every change is printed.

    Attributes:
        grid_sizes: G1 of each stage but the last; that of the weights if not given.
        pool_sizes: G2 of each stage but the last, likewise.
        stem_strides: strides of the stem's two convolutions, likewise.
    """

    grid_sizes: tuple[int, ...] | None = None
    pool_sizes: tuple[int, ...] | None = None
    stem_strides: tuple[int, int] | None = None

    @property
    def changes(self) -> dict[str, tuple[int, ...] | None]:
        """The options by their names in `HATNetConfig`; None where not given."""
        return asdict(self)


Windows = Annotated[WindowOptions, tyro.conf.arg(name="")]
WEIGHTS_OWN = WindowOptions()


def open_source(weights: str | None, windows: WindowOptions, variant: str | None = None, seed: int = 0) -> Source:
    """`find_source`, and print what differs from the configuration of the weights."""
    source = find_source(weights, variant, seed, windows.changes)
    for line in source.changes:
        console.print(plain(line))
    return source
