"""The weights that training starts from."""

from __future__ import annotations

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


def fresh(recipe: Recipe, config: HATNetConfig, build: Callable[[HATNetConfig], HATNet] = HATNet) -> HATNet:
    """A network with the random weights that a recipe's seed gives, the same at every call."""
    torch.manual_seed(derive(recipe.seed, "weights"))
    model = build(config)
    if recipe.initial_weights == "fan-in":
        fan_in(model)
    return model


def fan_in(model: HATNet) -> None:
    r"""Draw every matrix and kernel anew, truncated normal with standard deviation $1/\sqrt{\text{fan-in}}$.

    The authors' 0.02 is close to that for the widths of the published variants (0.02 is $1/\sqrt{2500}$, they have 48
    to 2560 inputs), but far below it for the few channels of a small network, which then starts slowly. The classifier
    keeps its small weights, so that the first predictions are even.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and module is not model.classifier:
            nn.init.trunc_normal_(module.weight, std=1 / sqrt(module.weight[0].numel()))


def start_from(model: HATNet, path: Path, classes: Sequence[str] = ()) -> bool:
    """Take over trained weights, ours or the authors'. A classifier of other classes keeps its fresh ones.

    Args:
        model: takes them.
        path: of the file.
        classes: that the model is to learn. Ten others are other classes, where the file says which its ten are.

    Returns:
        Whether the classifier was taken over too.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged, or of another network; what differs is listed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights to start from at {path}: train them first, or give --weights another file")
    trained = (load(path) if is_ours(path) else load_official(path)).state_dict()
    own = model.state_dict()
    known = about(path).get("classes", classes) if is_ours(path) else classes
    same_classes = trained["classifier.bias"].shape == own["classifier.bias"].shape and list(known) == list(classes)
    if not same_classes:
        trained |= {name: own[name] for name in ("classifier.weight", "classifier.bias")}
    require_match(trained, {name: tuple(tensor.shape) for name, tensor in own.items()}, {}, str(path))
    model.load_state_dict(trained)
    return same_classes


def origin_of(path: Path) -> dict[str, Any]:
    """What is known of weights to start from: `checkpoints.about`, and for those without it the file's name."""
    return (about(path) if is_ours(path) else {}) or {"file": path.name}


def first_recipe(known: Mapping[str, Any]) -> Recipe:
    """The recipe that began with fresh weights, for trained ones that may have started from others.

    Args:
        known: `hatnet.weights.checkpoints.about` of weights.

    Raises:
        ValueError: if the first weights were not trained here.
    """
    while "started_from" in known:
        known = known["started_from"]
    if "recipe" not in known:
        raise ValueError(f"the weights don't say how they were first trained, only {', '.join(known) or 'nothing'}")
    return from_json(known["recipe"])


def before_training(known: Mapping[str, Any], config: HATNetConfig) -> HATNet:
    """The network with the very weights that its training began with, which its seed tells; in evaluation mode.

    Args:
        known: `hatnet.weights.checkpoints.about` of the trained weights.
        config: of the network.

    Raises:
        ValueError: if the first weights were not trained here.
    """
    with torch.random.fork_rng():
        return fresh(first_recipe(known), config).eval()
