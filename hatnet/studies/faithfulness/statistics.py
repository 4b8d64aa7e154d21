"""How sure a mean over images is, and how sure the difference of two kinds of map on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, stdev

from hatnet.studies.common.statistics import t_quantile
from hatnet.studies.faithfulness.record import MEASURES, Score

BETTER = {"insertion": 1, "deletion": -1, "occlusion": 1, "size": 1}  # the sign of what is good


@dataclass(frozen=True)
class Interval:
    """A mean, and half of its 95 % interval: Student's t times the standard error over images."""

    mean: float
    margin: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies above or below 0, else 0."""
        return 0 if abs(self.mean) <= self.margin else 1 if self.mean > 0 else -1


def interval(values: Sequence[float]) -> Interval:
    """Of at least two values.

    >>> interval([1.0, 3.0])
    Interval(mean=2.0, margin=12.71)
    """
    return Interval(fmean(values), t_quantile(len(values) - 1) * stdev(values) / sqrt(len(values)))


def gain(score: Score, other: Score, measure: str) -> Interval:
    """By how much one kind of map is better than another, image by image; positive is better."""
    pairs = zip(getattr(score, measure), getattr(other, measure), strict=True)
    return interval([BETTER[measure] * (a - b) for a, b in pairs])


def mean_score(scores: Sequence[Score]) -> Score:
    """Of several networks' maps: the mean of every measure for each image. Curves are those of the first."""

    def mean(measure: str) -> list[float]:
        return [fmean(image) for image in zip(*(getattr(score, measure) for score in scores), strict=True)]

    return replace(
        scores[0], weights="untrained", insertion=mean("insertion"), deletion=mean("deletion"),
        occlusion=mean("occlusion"), size=mean("size"),
    )  # fmt: skip


def told_apart(score: Score, other: Score) -> dict[str, int]:
    """For each measure, 1 where the first is better, -1 where it is worse, 0 where that can't be told."""
    return {measure: gain(score, other, measure).sign for measure in MEASURES}
