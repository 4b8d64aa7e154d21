"""Random weights to start a training from, and those that a trained network once started from."""

from collections.abc import Mapping
from math import sqrt
from typing import Any

import torch
from torch import nn

from hatnet.config import HATNetConfig
from hatnet.network import HATNet
from hatnet.training.networks import Build, Network, body_of
from hatnet.training.recipes import Recipe, from_json
from hatnet.training.seeds import derive


def random_network(recipe: Recipe, config: HATNetConfig, build: Build = HATNet) -> Network:
    """A network with random weights, seeded by the recipe and therefore the same at every call."""
    torch.manual_seed(derive(recipe.seed, "weights"))
    model = build(config)
    if recipe.initial_weights == "fan-in":
        fan_in(model)
    return model


def fan_in(model: Network) -> None:
    r"""Redraw every matrix and kernel of a HAT-Net, truncated normal with standard deviation $1/\sqrt{\text{fan-in}}$.

    The authors' 0.02 is $1/\sqrt{2500}$, close to that for the 48 to 2560 inputs of published variants, but far too
    little for a small network, which then starts slowly. The classifier keeps it, for nearly uniform predictions; so do
    the pyramid and the heads of a dense model, which have initial weights of their own.
    """
    body = body_of(model)
    for module in body.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and module is not getattr(body, "classifier", None):
            nn.init.trunc_normal_(module.weight, std=1 / sqrt(module.weight[0].numel()))


def first_recipe(known: Mapping[str, Any]) -> Recipe:
    """The first recipe, which began with random weights; raises ValueError if `checkpoints.about` does not give it."""
    while "started_from" in known:
        known = known["started_from"]
    if "recipe" not in known:
        facts = ", ".join(known) or "nothing"
        raise ValueError(f"the file does not say how its weights were first trained, only {facts}")
    try:
        return from_json(known["recipe"])
    except TypeError as error:
        raise ValueError(f"the recipe in the file cannot be read: {error}") from error


def before_training(known: Mapping[str, Any], config: HATNetConfig) -> HATNet:
    """The same network before training, in evaluation mode. Arguments and errors are those of `first_recipe`."""
    with torch.random.fork_rng():
        network = random_network(first_recipe(known), config)
    assert isinstance(network, HATNet)
    return network.eval()
