"""Confidence intervals of the difference between two arms, from a few seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt
from statistics import fmean, stdev

import numpy as np

from hatnet.checks import require_numbers, shown
from hatnet.studies.ablation.arms import BASE
from hatnet.studies.ablation.record import Record
from hatnet.studies.common.statistics import t_quantile


@dataclass(frozen=True)
class Difference:
    """Test accuracy of an arm minus that of H-MHSA, seed by seed, in points (0.01 of all test images)."""

    arm: str
    points: tuple[float, ...]  # one per seed
    margin: float  # half-width of the 95 % interval, from the spread of all arms together; nan if that is unknown

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return fmean(self.points)

    @property
    def error(self) -> float:
        """Standard error of the mean from these seeds alone; nan for one seed."""
        return stdev(self.points) / sqrt(len(self.points)) if len(self.points) > 1 else nan

    @property
    def verdict(self) -> str:
        """`better` or `worse` if the 95 % interval excludes 0, else `unclear`; `-` for one seed."""
        if isnan(self.margin):
            return "-"
        if abs(self.mean) > self.margin:
            return "better" if self.mean > 0 else "worse"
        return "unclear"


def differences(record: Record) -> dict[str, Difference]:
    """Compare every arm with H-MHSA, over the seeds that all arms have finished."""
    seeds = complete_seeds(record)
    if BASE not in record.arms or not seeds:
        return {}
    table = [[100 * record.accuracies(arm)[seed] for seed in seeds] for arm in record.arms]
    degrees_of_freedom = (len(table) - 1) * (len(seeds) - 1)
    t = t_quantile(degrees_of_freedom) if degrees_of_freedom else nan
    margin, base = t * residual_deviation(table) * sqrt(2 / len(seeds)), table[record.arms.index(BASE)]
    return {
        arm: Difference(arm, tuple(a - b for a, b in zip(row, base, strict=True)), margin)
        for arm, row in zip(record.arms, table, strict=True)
        if arm != BASE
    }


def complete_seeds(record: Record) -> list[int]:
    """Seeds that every arm of the record has finished."""
    seeds = [set(record.accuracies(arm)) for arm in record.arms]
    return sorted(set.intersection(*seeds)) if seeds else []


def compared_accuracies(record: Record, arm: str) -> list[float]:
    """Accuracies of an arm, in %, for the seeds that all arms have finished; if there are none, for its own seeds."""
    accuracies = record.accuracies(arm)
    return [100 * accuracies[seed] for seed in complete_seeds(record) or accuracies]


def residual_deviation(table: Sequence[Sequence[float]]) -> float:
    """Standard deviation of a single run, after the means of its row (arm) and its column (seed) are subtracted.

    Three runs of one arm say little about their spread. All arms together say more, if they scatter alike. The result
    is nan for a single row or column. Raises ValueError unless all rows have the same length, at least 1.

    >>> residual_deviation([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])  # a better arm, better seeds: nothing is left
    0.0
    """
    rows = table if isinstance(table, list | tuple) else ()
    for row in rows:
        require_numbers("a row of the table", row)
    if len({len(row) for row in rows}) != 1:
        raise ValueError(f"table={shown(table)} must have rows of one length, at least 1")
    values = np.array(table, dtype=np.float64)
    residuals = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    degrees_of_freedom = (len(table) - 1) * (len(table[0]) - 1)
    return sqrt((residuals**2).sum() / degrees_of_freedom) if degrees_of_freedom else nan
