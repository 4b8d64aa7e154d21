"""Preparation of a study: checks before it starts, test images, and networks with untrained weights."""

from math import ceil

import torch
from torch import Tensor

from hatnet.data import Split
from hatnet.data.images import DataError, balanced
from hatnet.data.transforms import for_testing
from hatnet.maps.memory import GIB, images_at_once
from hatnet.network import HATNet
from hatnet.studies.faithfulness.methods import METHODS, require_captum
from hatnet.studies.faithfulness.record import Settings
from hatnet.training.checkpoint_evaluation import recipe_for_testing, require_size, require_suited
from hatnet.training.initial_weights import before_training, fan_in, first_recipe
from hatnet.training.recipes import Recipe
from hatnet.weights.source import Source

LARGEST_BATCH = 50  # images; fewer where memory is short
FEWEST_PATCHES = 4  # per image; fewer give no useful ranking


def check_study(settings: Settings, source: Source, data: Split, memory_limit: int = 2 * GIB) -> None:
    """Check that a study can run, before it starts. Arguments as in `study`.

    Raises DataError if the network does not fit the images or the classes, or there are too few images; ValueError if
    the settings leave too few patches, one image takes too much memory, or Captum is missing.
    """
    require_suited(source, data)
    side, patches = recipe_for_testing(source).image_size, patches_per_image(settings, source)
    if patches < FEWEST_PATCHES:
        raise ValueError(
            f"patch={settings.patch} cuts images of {side} x {side} pixels into {patches} patches, at least "
            f"{FEWEST_PATCHES} are needed; give a smaller patch, such as {max(side // 7, 1)}"
        )
    _require_images(settings, data)
    if any(method.startswith("grad-cam") for method in settings.methods):
        require_captum()
    batch_size(settings, source, memory_limit)
    require_size(recipe_for_testing(source), data, source)


def patches_per_image(settings: Settings, source: Source) -> int:
    """Number of patches of an image."""
    return ceil(recipe_for_testing(source).image_size / settings.patch) ** 2


def batch_size(settings: Settings, source: Source, memory_limit: int) -> int:
    """`LARGEST_BATCH` images, halved until they fit into `memory_limit` bytes. Raises ValueError if one takes more."""
    side, item = recipe_for_testing(source).image_size, next(source.model.parameters()).element_size()
    gradients = any(METHODS[method].needs_gradients for method in settings.methods)
    return images_at_once(source.model.config, side, side, LARGEST_BATCH, item, memory_limit, gradients)


def prepare_images(settings: Settings, source: Source, data: Split) -> tuple[Tensor, Tensor]:
    """Prepare the first test images of each class as `hatnet evaluate` does: (B, C_in, H, W), and their labels (B,)."""
    indices, recipe = balanced(data.test.labels, settings.images // len(data.classes)), recipe_for_testing(source)
    images = (data.test.image(int(index)) for index in indices)
    if recipe.crop_padding is None:
        prepare = for_testing(recipe, data)
        return torch.stack([prepare(image) for image in images]), data.test.labels[indices]
    # These images need no resizing. torchvision multiplies by 1 / 255, which differs from a division in the last bit.
    # Where a map is flat, that bit decides the order of the patches, and kept records would no longer be reproduced.
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    return (torch.stack(list(images)).float() / 255 - mean) / std, data.test.labels[indices]


def original_recipe(source: Source) -> Recipe | None:
    """The recipe that started from random weights; None if the weights do not record it."""
    try:
        return first_recipe(source.about)
    except ValueError:
        return None


def untrained_networks(source: Source, settings: Settings) -> list[HATNet]:
    """Networks before training: one with the trained network's own initial weights, others drawn in the same way.

    One network would not be enough, because an untrained network's maps depend strongly on its random weights. If the
    recipe is not known, `fan_in` draws the weights of all networks.
    """
    recipe = original_recipe(source)
    networks = [] if recipe is None else [before_training(source.about, source.model.config)]
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        while len(networks) < settings.untrained:
            network = HATNet(source.model.config)
            if recipe is None or recipe.initial_weights == "fan-in":
                fan_in(network)
            networks.append(network.eval())
    return networks


def _require_images(settings: Settings, data: Split) -> None:
    classes, per_class = len(data.classes), settings.images // len(data.classes)
    if settings.images % classes or settings.images > len(data.test):
        raise ValueError(
            f"images={settings.images} must be a multiple of the {classes} classes, at most {len(data.test)}"
        )
    available = data.test.labels.bincount(minlength=classes)
    fewest = int(available.min())
    if fewest < per_class:
        raise DataError(
            f"{data.name} has {fewest} test images of {data.classes[int(available.argmin())]}, but "
            f"images={settings.images} needs {per_class} of each class; give at most {fewest * classes}"
        )
