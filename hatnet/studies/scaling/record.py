"""The record of a scaling measurement: one JSON file with the machine, the settings and every individual timing."""

from dataclasses import dataclass, field

from hatnet.studies.common.records import RecordFormat
from hatnet.studies.common.statistics import Quartiles, quartiles
from hatnet.studies.scaling.fit import Comparison, Exponent, fit_exponent, macs_per_second
from hatnet.studies.scaling.settings import Settings


@dataclass
class Point:
    """One module at one size."""

    module: str
    size: int  # side of the image, in pixels
    tokens: int  # of one image
    macs: int  # of one forward pass of the whole batch, by the formula
    memory: int  # predicted peak, in bytes
    calls: int = 1  # in a row for each time, so that short calls can be timed
    refused: str = ""  # why there are no times
    seconds: list[float] = field(default_factory=list)  # of one call, one time per round

    @property
    def quartiles(self) -> Quartiles:
        """Quartiles of the times; there must be at least one."""
        return quartiles(self.seconds)


@dataclass
class Record:
    """Results of one run of `hatnet scaling`."""

    date: str
    machine: dict[str, str | int]
    settings: Settings
    points: list[Point]
    complete: bool = False  # False if the run was stopped before the last round

    def point(self, module: str, size: int) -> Point:
        """One module at one size."""
        return next(point for point in self.points if (point.module, point.size) == (module, size))

    def timed(self, module: str) -> list[Point]:
        """The points of a module that have times, by size."""
        found = [point for point in self.points if point.module == module and point.seconds]
        return sorted(found, key=lambda point: point.tokens)

    def exponent(self, module: str) -> Exponent | None:
        """Growth of the median time with the number of tokens."""
        points = self.timed(module)
        return fit_exponent([point.tokens for point in points], [point.quartiles.median for point in points])

    def formula_exponent(self, module: str) -> Exponent | None:
        """Growth of the formula's MACs over the same sizes."""
        points = self.timed(module)
        return fit_exponent([point.tokens for point in points], [float(point.macs) for point in points])

    def rate(self, module: str) -> float:
        """MACs per second, over all sizes."""
        points = self.timed(module)
        return macs_per_second([point.macs for point in points], [point.quartiles.median for point in points])

    def comparisons(self, module: str, other: str = "mhsa") -> list[Comparison]:
        """The module compared with another one, at every size where both have times."""
        others = {point.size: point for point in self.timed(other)}
        return [
            Comparison(
                point.size,
                point.tokens,
                others[point.size].macs / point.macs,
                quartiles([b / a for a, b in zip(point.seconds, others[point.size].seconds, strict=False)]),
            )
            for point in self.timed(module)
            if point.size in others
        ]

    def noise(self) -> Quartiles | None:
        """The spread of the times of each point, over all points."""
        spreads = [point.quartiles.spread for point in self.points if len(point.seconds) > 1]
        return quartiles(spreads) if spreads else None


FORMAT = RecordFormat("hatnet scaling", 1, Record, Settings, lists={"points": Point})
read, write = FORMAT.read, FORMAT.write
