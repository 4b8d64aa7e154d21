"""How sure a difference between two arms is, from a few seeds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt
from statistics import fmean, stdev

from hatnet.studies.ablation.arms import BASE
from hatnet.studies.ablation.record import Record
from hatnet.studies.common.statistics import t_quantile


@dataclass(frozen=True)
class Difference:
    """Test accuracy of an arm less that of H-MHSA, seed by seed; everything in points (0.01 of all test images)."""

    arm: str
    points: tuple[float, ...]  # a seed each
    margin: float  # half of the 95 % interval, from the spread of all arms together; nan where that is unknown

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return fmean(self.points)

    @property
    def error(self) -> float:
        """Its standard error from these seeds alone; nan for one seed."""
        return stdev(self.points) / sqrt(len(self.points)) if len(self.points) > 1 else nan

    @property
    def verdict(self) -> str:
        """`better` or `worse` where the 95 % interval leaves out 0, else `unclear`; nothing for one seed."""
        if isnan(self.margin):
            return "-"
        if abs(self.mean) > self.margin:
            return "better" if self.mean > 0 else "worse"
        return "unclear"


def differences(record: Record) -> dict[str, Difference]:
    """Every arm against H-MHSA, over the seeds that all arms have finished."""
    seeds = complete_seeds(record)
    if BASE not in record.arms or not seeds:
        return {}
    table = [[100 * record.accuracies(arm)[seed] for seed in seeds] for arm in record.arms]
    margin = _margin(table)
    base = table[record.arms.index(BASE)]
    return {
        arm: Difference(arm, tuple(a - b for a, b in zip(row, base, strict=True)), margin)
        for arm, row in zip(record.arms, table, strict=True)
        if arm != BASE
    }


def complete_seeds(record: Record) -> list[int]:
    """Seeds with which every arm of the record is finished."""
    found = [set(record.accuracies(arm)) for arm in record.arms]
    return sorted(set.intersection(*found)) if found else []


def comparable(record: Record, arm: str) -> list[float]:
    """Accuracies of an arm with the seeds that all arms have finished; with those it has where there are none."""
    found = record.accuracies(arm)
    return [found[seed] for seed in complete_seeds(record) or found]


def residual(table: Sequence[Sequence[float]]) -> float:
    """The spread of a single run, with what belongs to its row (arm) and to its column (seed) taken out.

    Three runs of one arm say little about their spread; all arms together say more, if they scatter alike.

    >>> residual([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]])  # a better arm, better seeds: nothing is left
    0.0
    """
    arms, seeds = len(table), len(table[0])
    if min(arms, seeds) < 2:
        return nan
    rows = [fmean(row) for row in table]
    columns = [fmean(row[seed] for row in table) for seed in range(seeds)]
    squares = sum(
        (table[arm][seed] - rows[arm] - columns[seed] + fmean(rows)) ** 2
        for arm in range(arms)
        for seed in range(seeds)
    )
    return sqrt(squares / ((arms - 1) * (seeds - 1)))


def _margin(table: Sequence[Sequence[float]]) -> float:
    """Half of the 95 % interval of the mean difference of two rows."""
    freedom = (len(table) - 1) * (len(table[0]) - 1)
    return t_quantile(freedom) * residual(table) * sqrt(2 / len(table[0])) if freedom else nan
