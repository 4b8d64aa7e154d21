"""Training: recipes, tasks, and the loop that follows them."""

from hatnet.training.distributed import Processes, join
from hatnet.training.loop import NonFiniteLossError, Training
from hatnet.training.progress import Monitor, Progress
from hatnet.training.recipes import RECIPES, Recipe, get_recipe

__all__ = [
    "RECIPES",
    "Monitor",
    "NonFiniteLossError",
    "Processes",
    "Progress",
    "Recipe",
    "Training",
    "get_recipe",
    "join",
]
