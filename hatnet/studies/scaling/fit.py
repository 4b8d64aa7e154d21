"""What the single times say: quartiles, the exponent of growth, the rate, and who wins at which size."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log, nan, sqrt

from hatnet.studies.common.statistics import Quartiles


@dataclass(frozen=True)
class Exponent:
    r"""Time or cost grows as $N^\text{value}$ with the number of tokens $N$, if it grows as a power at all.

    `error` is the standard error of the slope: how far the points scatter around a straight line, which holds their
    noise and their bend. It is NaN for two points, which lie on a line always.
    """

    value: float
    error: float


def fit_exponent(tokens: Sequence[int], costs: Sequence[float]) -> Exponent | None:
    """The slope of cost against tokens on log axes, by least squares; None for fewer than two sizes.

    >>> fit_exponent([100, 400, 1600], [1.0, 8.0, 64.0]).value
    1.5
    """
    if len(set(tokens)) < 2:
        return None
    x, y = [log(value) for value in tokens], [log(value) for value in costs]
    slope, intercept = statistics.linear_regression(x, y)
    if len(x) == 2:
        return Exponent(slope, nan)
    residuals = sum((b - intercept - slope * a) ** 2 for a, b in zip(x, y, strict=True))
    scatter = sum((a - statistics.fmean(x)) ** 2 for a in x)
    return Exponent(slope, sqrt(residuals / (len(x) - 2) / scatter))


def rate(macs: Sequence[int], seconds: Sequence[float]) -> float:
    """MACs a second, the one constant between formula and clock: the geometric mean over the sizes.

    >>> round(rate([100, 400], [1.0, 1.0]))
    200
    """
    return exp(statistics.fmean(log(count / time) for count, time in zip(macs, seconds, strict=True)))


@dataclass(frozen=True)
class Duel:
    """One module against another at one size."""

    size: int
    tokens: int
    formula: float  # MACs of the other over MACs of this one
    clock: Quartiles  # the same of times, round by round
    rounds: int

    @property
    def verdict(self) -> str:
        """`faster` or `slower` where more than three quarters of the rounds say so, else `even`."""
        return "faster" if self.clock.low > 1 else "slower" if self.clock.high < 1 else "even"


def crossings(tokens: Sequence[int], ratios: Sequence[float]) -> list[float]:
    """Where a ratio passes 1, in tokens, read off straight lines between neighbouring sizes on log axes.

    >>> [round(value) for value in crossings([100, 10000], [0.5, 2.0])]
    [1000]
    """
    found = []
    for (n, ratio), (next_n, next_ratio) in pairwise(zip(tokens, ratios, strict=True)):
        if (ratio < 1) != (next_ratio < 1):
            share = log(ratio) / (log(ratio) - log(next_ratio))
            found.append(exp(log(n) + share * (log(next_n) - log(n))))
    return found
