"""What a study of faithfulness found, as data: one JSON file with every image's scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from hatnet.studies.common.records import RecordFormat
from hatnet.studies.faithfulness.baselines import check_baselines
from hatnet.studies.faithfulness.methods import METHODS, check_methods

MEASURES = ("insertion", "deletion", "occlusion", "size")


@dataclass(frozen=True)
class Settings:
    """What to study, and how. Raises ValueError, naming the domain, for anything outside it."""

    data: str = "fashion-subset"
    images: int = 120  # of the test part, equally many of each class
    methods: tuple[str, ...] = tuple(METHODS)
    baselines: tuple[str, ...] = ("blur", "mean")
    patch: int = 4  # side in pixels
    steps: int = 7  # of a curve
    blur: float = 4.0  # standard deviation in pixels
    random_maps: int = 2  # for each image
    untrained: int = 3  # networks; the first is the one that training began with, where that is known
    seed: int = 0  # of the other untrained networks, random maps, and the order of equal scores

    def __post_init__(self) -> None:
        check_methods(self.methods)
        check_baselines(self.baselines)
        for name, low, high in (
            ("images", 2, 100_000), ("patch", 1, 1024), ("steps", 1, 1000), ("random_maps", 1, 100),
            ("untrained", 1, 100), ("seed", 0, 2**32 - 1),
        ):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ValueError(f"{name}={value!r} must be a whole number from {low} to {high}")
        if not 0 < self.blur <= 100:
            raise ValueError(f"blur={self.blur!r} must be a number of pixels above 0, at most 100")


@dataclass(frozen=True)
class Score:
    """How one kind of map did, a value an image."""

    baseline: str
    method: str  # or "occlusion": patches in the order of what covering each does
    weights: str  # of the map: "trained", "untrained 1" and so on; the scores are always by the trained network
    insertion: list[float]  # area under the curve of the class's probability
    deletion: list[float]
    occlusion: list[float]  # Spearman's correlation with the fall of the logit
    size: list[float]  # with the absolute change of the logit
    insertion_curve: list[list[float]]  # [mean, standard error] at each point
    deletion_curve: list[list[float]]


@dataclass(frozen=True)
class Likeness:
    """Spearman's correlation of the trained network's map with those of untrained ones: the mean, for each image."""

    method: str
    values: list[float]


@dataclass(frozen=True)
class End:
    """What the network makes of a baseline alone."""

    baseline: str
    probability: float  # of the class that is explained, mean
    answer: str  # its most frequent answer to baselines
    part: float  # of baselines so answered


@dataclass
class Record:
    """Everything that one run found."""

    date: str
    machine: dict[str, str | int]
    seconds: float  # of the processor
    settings: Settings
    weights: dict[str, Any]  # what is known of them
    patches: int  # of an image
    right: float  # part of the images that is classified right
    probability: float  # of the class that is explained, the one that the network answers: mean
    # How the untrained networks' weights are drawn: as the training's recipe says (authors or fan-in), or unknown where
    # none is known, and then fan-in. Nothing in records from before this was noted.
    initial_weights: str = ""
    ends: list[End] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    likenesses: list[Likeness] = field(default_factory=list)

    def score(self, baseline: str, method: str, weights: str = "trained") -> Score | None:
        """One kind of map, or None where it was not studied."""
        wanted = (baseline, method, weights)
        return next((score for score in self.scores if (score.baseline, score.method, score.weights) == wanted), None)

    def untrained(self, baseline: str, method: str) -> list[Score]:
        """One kind of map, drawn from each of the untrained networks; none where it was not studied."""
        return [
            score
            for score in self.scores
            if (score.baseline, score.method) == (baseline, method) and score.weights != "trained"
        ]

    def likeness(self, method: str) -> list[float] | None:
        """Of one kind of map, or None where it knows no network."""
        return next((one.values for one in self.likenesses if one.method == method), None)


def rounded(values: Sequence[float]) -> list[float]:
    """To four places, which is finer than any spread here."""
    return [round(float(value), 4) for value in values]


FORMAT = RecordFormat(
    "hatnet faithfulness", 1, Record, Settings, lists={"ends": End, "scores": Score, "likenesses": Likeness}
)
read, write = FORMAT.read, FORMAT.write
