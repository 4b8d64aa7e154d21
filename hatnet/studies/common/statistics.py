"""Statistics that several studies share: random orders, quartiles of times, quantiles of Student's t."""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from hatnet.checks import require_numbers, require_whole


@dataclass(frozen=True)
class Quartiles:
    """The median and the quartiles on both sides: half of the values lie between `low` and `high`."""

    low: float
    median: float
    high: float

    @property
    def spread(self) -> float:
        """The distance between the quartiles, relative to the median."""
        return (self.high - self.low) / self.median


def quartiles(values: Sequence[float]) -> Quartiles:
    """Quartiles of at least one value. Raises ValueError if there is none, or one is not finite.

    >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
    Quartiles(low=2.0, median=3.0, high=4.0)
    """
    require_numbers("values", values)
    if len(values) == 1:
        return Quartiles(values[0], values[0], values[0])
    return Quartiles(*statistics.quantiles(values, n=4, method="inclusive"))


def schedule(count: int, rounds: int, seed: int) -> list[list[int]]:
    """One random permutation of `range(count)` per round.

    Raises ValueError for a negative `count`, for `rounds` below 1, and for more than 10 million entries.

    >>> schedule(3, rounds=2, seed=1)
    [[0, 2, 1], [0, 1, 2]]
    """
    count, rounds = require_whole("count", count, 0), require_whole("rounds", rounds, 1)
    if max(count, 1) * rounds > 10**7:
        raise ValueError(f"count={count} and rounds={rounds} give more than 10 million entries")
    generator = random.Random(require_whole("seed", seed, 0))
    return [generator.sample(range(count), count) for _ in range(rounds)]


def t_quantile(degrees_of_freedom: int) -> float:
    """The half-width of a 95 % confidence interval of a mean, in standard errors. Raises ValueError below one degree.

    >>> round(t_quantile(2), 2), round(t_quantile(19), 2)
    (4.3, 2.09)
    """
    from scipy import stats  # extra `studies`; imported here so that the other commands work without it

    return float(stats.t.ppf(0.975, require_whole("degrees_of_freedom", degrees_of_freedom, 1)))
