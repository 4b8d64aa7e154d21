"""The task of a recipe."""

from hatnet.training.classification import CLASSIFICATION
from hatnet.training.recipes import Recipe
from hatnet.training.task import Task


def task_of(recipe: Recipe) -> Task:
    """The task that a recipe trains for. The dense ones need torchvision."""
    if recipe.task == "classification":
        return CLASSIFICATION
    if recipe.task == "segmentation":
        from hatnet.training.segmentation import Segmentation

        return Segmentation(recipe.width)
    from hatnet.training.detection import Detection

    return Detection(recipe.task, recipe.width, recipe.image_size, recipe.regions)
