"""The arithmetic of the times: exponents, rates, comparisons of two modules, and where they cross."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log, nan, sqrt

import numpy as np

from hatnet.checks import require_numbers, shown
from hatnet.studies.common.statistics import Quartiles


@dataclass(frozen=True)
class Exponent:
    r"""Time or cost grows as $N^\text{value}$ with the number of tokens $N$, if it grows as a power at all.

    `error` is the standard error of the slope. It measures how far the points lie from a straight line, because of
    noise and because the curve bends. It is NaN for two points, which always lie on a line.
    """

    value: float
    error: float


def fit_exponent(tokens: Sequence[int], costs: Sequence[float]) -> Exponent | None:
    """The slope of cost against tokens on logarithmic axes, by least squares; None for fewer than two sizes.

    Raises ValueError unless both are as many finite numbers above 0.

    >>> round(fit_exponent([100, 400, 1600], [1.0, 8.0, 64.0]).value, 12)
    1.5
    """
    require_positive(tokens=tokens, costs=costs)
    if len(set(tokens)) < 2:
        return None
    x, y = np.log(tokens), np.log(costs)
    if len(tokens) == 2:
        return Exponent(float(np.polyfit(x, y, 1)[0]), nan)
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)  # scipy's linregress has no error for constant costs
    return Exponent(float(slope), sqrt(covariance[0, 0]))


def macs_per_second(macs: Sequence[int], seconds: Sequence[float]) -> float:
    """The rate that turns the formula's MACs into time: the geometric mean over the sizes.

    Raises ValueError unless both are as many finite numbers above 0, at least one.
    """
    require_positive(macs=macs, seconds=seconds)
    return statistics.geometric_mean(count / time for count, time in zip(macs, seconds, strict=True))


@dataclass(frozen=True)
class Comparison:
    """One module compared with another at one size. Ratios above 1 mean that this one is cheaper."""

    size: int  # side of the image, in pixels
    tokens: int
    formula: float  # MACs of the other module over MACs of this one
    clock: Quartiles  # the same ratio of the times, round by round

    @property
    def verdict(self) -> str:
        """`faster` or `slower` where more than three quarters of the rounds agree, else `even`."""
        return "faster" if self.clock.low > 1 else "slower" if self.clock.high < 1 else "even"


def crossings(tokens: Sequence[int], ratios: Sequence[float]) -> list[float]:
    """Numbers of tokens where a ratio passes 1, interpolated linearly on logarithmic axes.

    Raises ValueError unless both are as many finite numbers above 0.
    """
    require_positive(tokens=tokens, ratios=ratios)
    found = []
    for (n, ratio), (next_n, next_ratio) in pairwise(zip(tokens, ratios, strict=True)):
        if (ratio < 1) != (next_ratio < 1):
            share = log(ratio) / (log(ratio) - log(next_ratio))
            found.append(exp(log(n) + share * (log(next_n) - log(n))))
    return found


def require_positive(**lists: Sequence[float]) -> None:
    """Raise a ValueError unless all lists have the same length and hold finite numbers above 0."""
    for name, values in lists.items():
        require_numbers(name, values, least=0)
        if min(values, default=1) <= 0:
            raise ValueError(f"{name}={shown(values)} must hold finite numbers above 0")
    if len({len(values) for values in lists.values()}) > 1:
        raise ValueError(f"{' and '.join(lists)} must have the same length, got {[len(v) for v in lists.values()]}")
