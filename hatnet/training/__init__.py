"""Training: recipes, and the loop that follows them."""

from hatnet.training.distributed import World, join
from hatnet.training.loop import NonFiniteLossError, Progress, Training, Watch
from hatnet.training.recipes import RECIPES, Recipe, get_recipe

__all__ = ["RECIPES", "NonFiniteLossError", "Progress", "Recipe", "Training", "Watch", "World", "get_recipe", "join"]
