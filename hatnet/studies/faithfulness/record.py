"""The record of a study: one JSON file with the scores of every image."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hatnet.checks import require_kind
from hatnet.studies.common.records import RecordFormat
from hatnet.studies.common.settings import require_known, require_whole_numbers
from hatnet.studies.faithfulness.methods import METHODS
from hatnet.studies.faithfulness.patches import BASELINES

MEASURES = ("insertion", "deletion", "occlusion", "size")


@dataclass(frozen=True)
class Settings:
    """Settings of a study, the options of `hatnet faithfulness`. Raises ValueError if a value is out of range."""

    data: str = "fashion-subset"  # data set whose test images are used
    images: int = 120  # number of test images, equally many of each class
    methods: tuple[str, ...] = tuple(METHODS)  # the maps to test
    baselines: tuple[str, ...] = ("blur", "mean")  # what replaces patches: blur, mean or black
    patch: int = 4  # side of a patch in pixels
    steps: int = 7  # number of steps of a curve
    blur: float = 4.0  # standard deviation of the blur in pixels
    random_maps: int = 2  # random maps per image
    untrained: int = 3  # untrained networks; the first has the trained network's own initial weights, if known
    seed: int = 0  # for the other untrained networks, the random maps, and the order of equal scores

    def __post_init__(self) -> None:
        require_known("method", self.methods, METHODS)
        require_known("baseline", self.baselines, BASELINES)
        require_whole_numbers(
            self, images=(2, 100_000), patch=(1, 1024), steps=(1, 1000), random_maps=(1, 100), untrained=(1, 100),
            seed=(0, 2**32 - 1),
        )  # fmt: skip
        if not 0 < self.blur <= 100:
            raise ValueError(f"blur={self.blur!r} must be a number of pixels above 0, at most 100")


@dataclass(frozen=True)
class Score:
    """Scores of one kind of map, with one value per image. The trained network computes them for all maps."""

    baseline: str
    method: str  # or "occlusion": patches ranked by the logit's drop when each is covered
    weights: str  # of the network that draws the map: "trained", "untrained 1" and so on
    insertion: list[float]  # area under the curve of the class's probability
    deletion: list[float]  # likewise
    occlusion: list[float]  # rank correlation with the drop of the logit
    size: list[float]  # rank correlation with the absolute change of the logit
    insertion_curve: list[list[float]]  # [mean, standard error] at each point
    deletion_curve: list[list[float]]


@dataclass(frozen=True)
class Similarity:
    """Rank correlation of a trained network's maps with untrained networks' maps: the mean for each image."""

    method: str
    values: list[float]


@dataclass(frozen=True)
class BaselineAnswer:
    """The network's predictions for the baselines alone."""

    baseline: str
    probability: float  # mean probability of the explained class
    answer: str  # the class predicted most often
    part: float  # fraction of the baselines for which it is predicted


@dataclass
class Record:
    """Results of one study. The field names are those of the file, so they stay."""

    date: str
    machine: dict[str, str | int]
    seconds: float  # processor time
    settings: Settings
    weights: dict[str, str | int | float]  # facts about the weights: data, epoch, test accuracy
    patches: int  # per image
    right: float  # fraction of the images that are classified correctly
    probability: float  # mean probability of the explained class, which is the predicted one
    # Distribution of the untrained networks' weights: "authors" or "fan-in", as in the training's recipe; "unknown" if
    # there is no recipe, and then fan-in is used. Empty in records from before this field existed.
    initial_weights: str = ""
    ends: list[BaselineAnswer] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    likenesses: list[Similarity] = field(default_factory=list)

    def __post_init__(self) -> None:
        require_kind("test_accuracy", self.weights.get("test_accuracy", 0.0), float)

    def score(self, baseline: str, method: str, weights: str = "trained") -> Score | None:
        """Scores of one kind of map; None if the study left it out."""
        key = (baseline, method, weights)
        return next((score for score in self.scores if (score.baseline, score.method, score.weights) == key), None)

    def trained(self, baseline: str) -> dict[str, Score]:
        """Scores of the trained network's maps by method, those of occlusion last."""
        found = {method: self.score(baseline, method) for method in (*self.settings.methods, "occlusion")}
        return {method: score for method, score in found.items() if score is not None}

    def untrained(self, baseline: str, method: str) -> list[Score]:
        """Scores of one kind of map for each untrained network; empty if the study left it out."""
        return [
            score
            for score in self.scores
            if (score.baseline, score.method) == (baseline, method) and score.weights != "trained"
        ]

    def similarity(self, method: str) -> list[float] | None:
        """Similarity of trained and untrained networks' maps, per image; None if the map needs no network."""
        return next((entry.values for entry in self.likenesses if entry.method == method), None)


def rounded(values: Sequence[float]) -> list[float]:
    """Round to four decimal places, far below the spread of any score."""
    return [round(float(value), 4) for value in values]


FORMAT = RecordFormat(
    "hatnet faithfulness", 1, Record, Settings,
    lists={"ends": BaselineAnswer, "scores": Score, "likenesses": Similarity},
)  # fmt: skip
read, write = FORMAT.read, FORMAT.write
