"""Confidence intervals over images, for a mean score and for the difference between two kinds of map."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, stdev
from typing import Any

from hatnet.checks import require_numbers
from hatnet.studies.common.statistics import t_quantile
from hatnet.studies.faithfulness.record import MEASURES, Score

BETTER = {"insertion": 1, "deletion": -1, "occlusion": 1, "size": 1}  # the sign of an improvement


@dataclass(frozen=True)
class Interval:
    """A mean and the half-width of its 95 % interval: Student's t times the standard error over images."""

    mean: float
    margin: float

    @property
    def sign(self) -> int:
        """1 if the whole interval lies above 0, -1 if below, else 0."""
        return (self.mean > self.margin) - (self.mean < -self.margin)


def interval(values: Sequence[float]) -> Interval:
    """Compute the 95 % interval of the mean of at least two finite values; ValueError for others.

    >>> found = interval([1.0, 3.0])
    >>> found.mean, round(found.margin, 2)
    (2.0, 12.71)
    """
    require_numbers("values", values, least=2)
    return Interval(fmean(values), t_quantile(len(values) - 1) * stdev(values) / sqrt(len(values)))


def improvement(score: Score, other: Score, measure: str) -> Interval:
    """Mean improvement of one kind of map over another, image by image. Positive means `score` is better."""
    pairs = zip(getattr(score, measure), getattr(other, measure), strict=True)
    return interval([BETTER[measure] * (a - b) for a, b in pairs])


def mean_score(scores: Sequence[Score]) -> Score:
    """Average every measure over several networks, for each image. The curves are those of the first network."""
    values = {measure: zip(*(getattr(score, measure) for score in scores), strict=True) for measure in MEASURES}
    means: dict[str, Any] = {measure: [fmean(image) for image in images] for measure, images in values.items()}
    return replace(scores[0], weights="untrained", **means)


def verdicts(score: Score, other: Score) -> dict[str, int]:
    """For each measure: 1 if the first map is significantly better, -1 if worse, 0 if not significant (95 %)."""
    return {measure: improvement(score, other, measure).sign for measure in MEASURES}
