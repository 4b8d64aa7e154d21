"""The task of the questions: a class for each token that is asked, as in segmentation."""

from dataclasses import dataclass, replace

from hatnet.data import Split
from hatnet.data.transforms import Statistics, Transform, for_testing, for_training
from hatnet.training.recipes import Recipe
from hatnet.training.segmentation import LOSS, PIXEL_ACCURACY, Segmentation
from hatnet.training.task import Metric

ACCURACY = replace(
    PIXEL_ACCURACY,
    name="accuracy",
    description="fraction of the asked discs of the {part} images answered right",
    title="Accuracy",
    axis="answered right in %",
    sentence="{value} of the asked discs of {images} are answered right",
)


@dataclass(frozen=True)
class Answers(Segmentation):
    """Images and answers of a question, as they are: the network gives one answer for each token."""

    metrics: tuple[Metric, ...] = (LOSS, ACCURACY)
    selection: Metric = ACCURACY

    def for_training(self, recipe: Recipe, data: Split) -> Transform:
        """Normalised pixels."""
        return for_training(recipe, data)

    def for_testing(self, recipe: Recipe, data: Statistics) -> Transform:
        """Normalised pixels."""
        return for_testing(recipe, data)
