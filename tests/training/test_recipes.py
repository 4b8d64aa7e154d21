"""Recipes: bounds, JSON, the networks they build, and their rows in the guide."""

import json
import re
from dataclasses import fields, replace
from itertools import product
from pathlib import Path

import pytest

from hatnet.config import get_config
from hatnet.training.recipes import EXPECT, RECIPES, Recipe, from_json, get_recipe, to_json
from tests.training.runs import SMALL


def test_every_recipe_builds_its_network_for_its_data():
    assert [*RECIPES] == [*SIZES]
    for recipe in RECIPES.values():
        config = recipe.config(10, 1)
        assert config.layout(recipe.image_size, recipe.image_size)
        assert config.name == get_config(recipe.variant).name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": -1.0}, "lr=-1.0 must be from"),
        ({"epochs": 0}, "epochs=0 must be a whole number from 1 to 100000"),
        ({"epochs": 2.5}, "epochs=2.5 must be a whole number"),
        ({"warmup_epochs": 5.0}, "warmup_epochs=5 must be fewer than epochs=3"),
        ({"slice_size": 3, "batch_size": 6}, "slice_size=3 must be even if images are mixed"),
        ({"slice_size": 5}, "slice_size=5 must divide batch_size=16"),
        ({"image_size": 4}, "too small"),
        ({"variant": "micr"}, "did you mean 'micro'"),
        ({"label_smoothing": 1.5}, "label_smoothing=1.5 must be from 0 to 1"),
        ({"stem_strides": (0, 1)}, "stem_strides"),
    ],
)
def test_impossible_recipes_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **changes)
    with pytest.raises(AttributeError):
        SMALL.lr = 1.0  # recipes are frozen, so there is no other way to change one


@pytest.mark.parametrize("name", [field.name for field in fields(Recipe)])
def test_a_value_of_no_field_is_refused_by_name(name):
    with pytest.raises((TypeError, ValueError), match=f"^{name}=.* must be"):
        replace(SMALL, **{name: object()})


BOUNDS = {
    (0, 1): ("ema", "erasing", "label_smoothing"), (0, 0.999): ("drop_path", "classifier_drop"),
    (0, 0.9): ("validation",),
    (0, 100): ("mixup", "cutmix"), (0, 30): ("rand_augment",), (1, 100): ("repeats",), (0, 2**32): ("seed",),
    (0, 4096): ("crop_padding",), (1, 2**20): ("batch_size", "slice_size"),
    (1, 100_000): ("epochs",), (2, 1024): ("width",), (1, 4096): ("image_size", "regions"),
    (0, 1e5): ("warmup_epochs",), (1e-12, 1e3): ("lr",), (1e-6, 1): ("layer_decay",),
    (0, 1e3): ("first_lr", "last_lr", "weight_decay"), (0, 1e9): ("clip",),
}  # fmt: skip


@pytest.mark.parametrize(("bounds", "names"), BOUNDS.items())
def test_numbers_outside_their_bounds_are_refused(bounds, names):
    """Probabilities, rates below 1, and numbers that no computer could use."""
    for name, value in product(names, (bounds[0] - 1, 2 * bounds[1] + 1)):
        with pytest.raises(ValueError, match=f"{name}=") as refused:
            replace(SMALL, **{name: value})
        low, high = map(float, re.search(r"from (\S+) to (\S+)$", str(refused.value)).groups())
        assert (low, high) == pytest.approx(bounds, rel=1e-5, abs=0), name


def test_every_number_has_bounds():
    numbers = [
        field.name for field in fields(Recipe) if field.type in ("int", "float", "int | None", int, float, int | None)
    ]
    assert sorted(numbers) == sorted(name for names in BOUNDS.values() for name in names)


# Images per step and per slice, G1 of random weights, the weights to start from, and the initial weights.
SIZES = {
    "fashion-quick": (64, 64, (7, 4), None, "fan-in"),
    "fashion": (64, 64, (7, 4), None, "fan-in"),
    "photos": (32, 32, None, "fashion-mnist", "fan-in"),
    "cifar10": (128, 128, None, None, "fan-in"),
    "cifar100": (128, 128, None, None, "fan-in"),
    "imagenette": (256, 64, None, None, "authors"),
    "imagenet": (1024, 128, None, None, "authors"),
    "scenes-segmentation": (8, 8, None, "fashion-mnist", "fan-in"),
    "scenes-detection": (8, 8, None, "scenes-segmentation", "fan-in"),
    "scenes-instances": (8, 8, None, "scenes-segmentation", "fan-in"),
    "ade20k": (16, 4, None, None, "authors"),
    "coco-retinanet": (16, 2, None, None, "authors"),
    "coco-maskrcnn": (16, 2, None, None, "authors"),
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_keep_the_batches_and_the_start_that_were_measured(name):
    recipe = RECIPES[name]
    found = recipe.batch_size, recipe.slice_size, recipe.untrained_grid_sizes, recipe.weights, recipe.initial_weights
    assert found == SIZES[name]
    strides = (2, 2) if name.startswith("scenes") else None  # stage 0 has 32 x 32 tokens
    assert (recipe.seed, recipe.grid_sizes, recipe.pool_sizes, recipe.stem_strides) == (0, None, None, strides)
    assert (recipe.validation, recipe.layer_decay, recipe.head_only) == (0, 1, False)
    assert (recipe.precision, recipe.compile) == ("auto", False)


def test_recipes_survive_json_and_unknown_keys_name_the_nearest():
    for recipe in RECIPES.values():
        assert from_json(json.loads(json.dumps(to_json(recipe)))) == recipe
    with pytest.raises(ValueError, match="unknown key 'epoch' in a recipe, did you mean 'epochs'"):
        from_json({"epoch": 3})


def test_a_recipe_can_change_strides_windows_and_pooling():
    finer = replace(get_recipe("fashion"), stem_strides=(1, 1), grid_sizes=(7, 7), pool_sizes=(4, 2))
    layout = finer.config(10, 1).layout(28, 28)
    assert [(stage.map, stage.windows, stage.merged) for stage in layout] == [
        ((28, 28), (4, 4), (7, 7)),
        ((14, 14), (2, 2), (7, 7)),
        ((7, 7), None, None),
    ]


def test_the_guide_has_a_row_for_every_recipe_with_what_to_expect():
    assert EXPECT.keys() == RECIPES.keys()
    assert all(len(words) > 20 for words in EXPECT.values())
    guide = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    for name, recipe in RECIPES.items():
        network = f"{recipe.variant}, {recipe.image_size} px"
        assert f"| `{name}` | {recipe.data} | {network} | {recipe.epochs} | {EXPECT[name]} |" in guide


def test_the_imagenet_recipe_is_the_papers():
    """Section 4.1 of the paper: AdamW, 128 images on each of 8 GPUs, 1e-3, weight decay 0.05, cosine, 300 epochs."""
    recipe = get_recipe("imagenet")
    assert (recipe.epochs, recipe.batch_size, recipe.slice_size, recipe.lr) == (300, 8 * 128, 128, 1e-3)
    assert (recipe.weight_decay, recipe.label_smoothing, recipe.image_size) == (0.05, 0.1, 224)
    assert min(recipe.mixup, recipe.cutmix) > 0
