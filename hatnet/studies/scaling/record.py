"""What was measured, as data: one JSON file that holds the machine, the settings and every single time."""

from __future__ import annotations

from dataclasses import dataclass, field

from hatnet.studies.common.records import RecordFormat
from hatnet.studies.common.statistics import Quartiles, quartiles
from hatnet.studies.scaling.fit import Duel, Exponent, fit_exponent, rate
from hatnet.studies.scaling.modules import DIVISORS, NAMES, Contender, check_names, contenders

SMALLEST, LARGEST = 32, 4096  # sides of an image in pixels
DTYPES = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Settings:
    """What to measure, and how. Raises ValueError, naming the domain, for anything outside it."""

    modules: tuple[str, ...] = NAMES
    sizes: tuple[int, ...] = (224, 320, 448, 640, 896, 1280, 2048)  # sides of square images, in pixels
    stage: int = 0  # as the code counts: gives the pixels of a token, and G1, G2 and the relatives' settings
    channels: int = 64  # C
    heads: int = 1
    batch: int = 1
    device: str = "cpu"
    dtype: str = "float32"
    backward: bool = False  # forward and backward, or forward alone
    attention: str = "fused"  # by PyTorch's fused kernels, or explicit: scores in memory
    clock: str = "wall"  # or cpu: time of the processor alone, for a machine shared with others
    rounds: int = 7
    longest: float = 10.0  # seconds of one call, above which a size is left out
    threads: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        check_names(self.modules)
        for name, low, high in (
            ("sizes", SMALLEST, LARGEST), ("stage", 0, len(DIVISORS) - 1), ("channels", 1, 4096), ("heads", 1, 4096),
            ("batch", 1, 4096), ("rounds", 1, 1000), ("threads", 1, 1024), ("seed", 0, 2**32 - 1),
        ):  # fmt: skip
            value = getattr(self, name)
            for entry in value if isinstance(value, tuple) else (value,):
                if not isinstance(entry, int) or isinstance(entry, bool) or not low <= entry <= high:
                    raise ValueError(f"{name}={entry!r} must be a whole number from {low} to {high}")
        if not self.sizes or len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"sizes={self.sizes} must hold at least one size, and none twice")
        if self.channels % self.heads:
            raise ValueError(f"heads={self.heads} must divide channels={self.channels}")
        if self.dtype not in DTYPES:
            raise ValueError(f"dtype={self.dtype!r} must be one of {', '.join(DTYPES)}")
        if self.attention not in ("fused", "explicit"):
            raise ValueError(f"attention={self.attention!r} must be fused or explicit")
        if self.clock not in ("wall", "cpu"):
            raise ValueError(f"clock={self.clock!r} must be wall or cpu")
        if self.clock == "cpu" and (self.device != "cpu" or self.threads > 1):
            raise ValueError(
                "clock='cpu' is for one thread of the CPU: elsewhere it misses or adds up what runs at once"
            )
        if not self.longest > 0:
            raise ValueError(f"longest={self.longest!r} must be a number of seconds above 0")

    @property
    def stride(self) -> int:
        """Pixels from one token to the next."""
        return 4 * 2**self.stage

    def side(self, size: int) -> int:
        """Tokens along a side of a square image."""
        return -(-size // self.stride)

    def contenders(self) -> dict[str, Contender]:
        """The modules by name, in the order asked for."""
        return contenders(self.modules, self.stage, self.channels, self.heads)


@dataclass
class Point:
    """One module at one size."""

    module: str
    size: int  # side of the image, in pixels
    tokens: int  # of one image
    macs: int  # of one forward pass of the whole batch, by the formula
    memory: int  # bytes at the peak, predicted
    calls: int = 1  # in a row for each time, so that short ones can be timed
    refused: str = ""  # why there are no times
    seconds: list[float] = field(default_factory=list)  # of one call, a time a round

    @property
    def quartiles(self) -> Quartiles:
        """Of the times; there is at least one."""
        return quartiles(self.seconds)


@dataclass
class Record:
    """Everything that one run of `hatnet scaling` found."""

    date: str
    machine: dict[str, str | int]
    settings: Settings
    points: list[Point]
    complete: bool = False  # False where it was stopped before the last round

    def point(self, module: str, size: int) -> Point:
        """One module at one size."""
        return next(point for point in self.points if (point.module, point.size) == (module, size))

    def timed(self, module: str) -> list[Point]:
        """The points of a module that have times, by size."""
        found = [point for point in self.points if point.module == module and point.seconds]
        return sorted(found, key=lambda point: point.tokens)

    def exponent(self, module: str) -> Exponent | None:
        """How the median time grows with the number of tokens."""
        points = self.timed(module)
        return fit_exponent([point.tokens for point in points], [point.quartiles.median for point in points])

    def formula_exponent(self, module: str) -> Exponent | None:
        """How the formula's MACs grow over the same sizes."""
        points = self.timed(module)
        return fit_exponent([point.tokens for point in points], [float(point.macs) for point in points])

    def rate(self, module: str) -> float:
        """MACs a second over all sizes."""
        points = self.timed(module)
        return rate([point.macs for point in points], [point.quartiles.median for point in points])

    def duels(self, module: str, other: str = "mhsa") -> list[Duel]:
        """The module against another at every size where both have times: above 1 it is the faster one."""
        others = {point.size: point for point in self.timed(other)}
        return [
            Duel(
                point.size,
                point.tokens,
                others[point.size].macs / point.macs,
                quartiles([b / a for a, b in zip(point.seconds, others[point.size].seconds, strict=False)]),
                min(len(point.seconds), len(others[point.size].seconds)),
            )
            for point in self.timed(module)
            if point.size in others
        ]

    def noise(self) -> Quartiles | None:
        """How far the quartiles of a point are apart, relative to its median, over all points."""
        spreads = [point.quartiles.spread for point in self.points if len(point.seconds) > 1]
        return quartiles(spreads) if spreads else None


FORMAT = RecordFormat("hatnet scaling", 1, Record, Settings, lists={"points": Point})
read, write = FORMAT.read, FORMAT.write
