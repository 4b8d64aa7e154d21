"""The weights that a training starts from: random ones, or trained ones from a file."""

from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

import torch
from torch import nn

from hatnet.config import HATNetConfig
from hatnet.network import HATNet
from hatnet.training.recipes import Recipe, from_json
from hatnet.training.seeds import derive
from hatnet.weights.checkpoints import about, is_ours, load, require_match
from hatnet.weights.official import load_official

Build = Callable[[HATNetConfig], HATNet]  # makes the network of a configuration


def random_network(recipe: Recipe, config: HATNetConfig, build: Build = HATNet) -> HATNet:
    """A network with random weights, seeded by the recipe and therefore the same at every call."""
    torch.manual_seed(derive(recipe.seed, "weights"))
    model = build(config)
    if recipe.initial_weights == "fan-in":
        fan_in(model)
    return model


def fan_in(model: HATNet) -> None:
    r"""Redraw every matrix and kernel, truncated normal with standard deviation $1/\sqrt{\text{fan-in}}$.

    The authors' 0.02 is $1/\sqrt{2500}$, close to that for the 48 to 2560 inputs of published variants, but far too
    little for a small network, which then starts slowly. The classifier keeps it, for nearly uniform predictions.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and module is not model.classifier:
            nn.init.trunc_normal_(module.weight, std=1 / sqrt(module.weight[0].numel()))


def load_trained(model: HATNet, path: Path, classes: Sequence[str] = ()) -> bool:
    """Load trained weights, ours or the authors', into a model. A classifier for other classes stays random.

    `classes` are the names of the classes that the model will learn. If the file names its own, they are compared.
    Returns whether the classifier was loaded too. Raises FileNotFoundError, or a CheckpointError that lists the
    differences if the file holds another network.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights to start from at {path}: train them first, or give --weights another file")
    trained = (load(path) if is_ours(path) else load_official(path)).state_dict()
    own = model.state_dict()
    names = about(path).get("classes", classes) if is_ours(path) else classes
    same_classes = trained["classifier.bias"].shape == own["classifier.bias"].shape and list(names) == list(classes)
    if not same_classes:
        trained |= {name: own[name] for name in ("classifier.weight", "classifier.bias")}
    require_match(trained, {name: tuple(tensor.shape) for name, tensor in own.items()}, {}, str(path))
    model.load_state_dict(trained)
    return same_classes


def description(path: Path) -> dict[str, Any]:
    """Describe the weights in a file: `checkpoints.about`, or the file's name if that is empty."""
    return (about(path) if is_ours(path) else {}) or {"file": path.name}


def first_recipe(known: Mapping[str, Any]) -> Recipe:
    """The first recipe, which began with random weights; raises ValueError if `checkpoints.about` does not give it."""
    while "started_from" in known:
        known = known["started_from"]
    if "recipe" not in known:
        facts = ", ".join(known) or "nothing"
        raise ValueError(f"the file does not say how its weights were first trained, only {facts}")
    return from_json(known["recipe"])


def before_training(known: Mapping[str, Any], config: HATNetConfig) -> HATNet:
    """The same network before training, in evaluation mode. Arguments and errors are those of `first_recipe`."""
    with torch.random.fork_rng():
        return random_network(first_recipe(known), config).eval()
