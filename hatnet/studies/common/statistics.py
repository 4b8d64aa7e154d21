"""Statistics that several studies share: quartiles of times, quantiles of Student's t."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Quartiles:
    """Median and the quartiles around it: half of the times lie between `low` and `high`."""

    low: float
    median: float
    high: float

    @property
    def spread(self) -> float:
        """The distance of the quartiles, relative to the median."""
        return (self.high - self.low) / self.median


def quartiles(values: Sequence[float]) -> Quartiles:
    """Quartiles of at least one value.

    >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
    Quartiles(low=2.0, median=3.0, high=4.0)
    """
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    return Quartiles(*statistics.quantiles(values, n=4, method="inclusive"))


def t_quantile(degrees_of_freedom: int) -> float:
    """How many standard errors on each side of the mean make a 95 % interval.

    >>> round(t_quantile(2), 2), round(t_quantile(19), 2)
    (4.3, 2.09)
    """
    return float(stats.t.ppf(0.975, degrees_of_freedom))
