"""The network to look into: from a file, by the name of weights that come with the package, or random."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hatnet.config import get_config
from hatnet.data.photo import MEAN, STD
from hatnet.equivalence import randomise
from hatnet.network import HATNet
from hatnet.weights.checkpoints import about, is_ours, load, weights_file
from hatnet.weights.official import load_official
from hatnet.weights.pretrained import pretrained_file


@dataclass(frozen=True)
class Source:
    """A network, and what has to be known to show it an image and to read its answer."""

    model: HATNet
    words: str  # where its weights are from, a sentence or two
    about: dict[str, Any] = field(default_factory=dict)  # what training noted, as `hatnet.weights.checkpoints.about`

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, none where they are not known."""
        return tuple(self.about.get("classes", ()))

    @property
    def image_size(self) -> int:
        """The side of the images that it was trained on; 224 pixels where that is not known, 64 for micro."""
        return int(self.about.get("image_size", 64 if self.model.config.name == "micro" else 224))

    @property
    def mean(self) -> tuple[float, ...]:
        """What is taken out of pixels in [0, 1], ImageNet's mean where nothing is known."""
        return tuple(self.about.get("mean", MEAN if self.model.config.in_channels == 3 else (0.5,)))

    @property
    def std(self) -> tuple[float, ...]:
        """What they are then divided by."""
        return tuple(self.about.get("std", STD if self.model.config.in_channels == 3 else (0.5,)))


def find_source(
    checkpoint: Path | None = None, pretrained: str | None = None, variant: str | None = None, seed: int = 0
) -> Source:
    """The network that a command asks for.

    Args:
        checkpoint: a file of ours (.safetensors), the folder of a run, or a file of the authors (.pth).
        pretrained: the name of weights that come with the package.
        variant: where not given, that of the weights, or tiny.
        seed: of random weights, where neither of the first two is given.

    Raises:
        FileNotFoundError, CheckpointError: (the second a ValueError) if weights can't be read.
        ValueError: for an unknown variant or one that the weights are not of, or where both kinds of weights are given.
    """
    if checkpoint is not None and pretrained is not None:
        raise ValueError("--checkpoint and --pretrained both say which weights to take; give one of them")
    if variant is not None:
        get_config(variant)  # raises, and suggests the nearest
    if pretrained is not None:
        checkpoint = pretrained_file(variant or "micro", pretrained)
    if checkpoint is None:
        return _random(variant or "tiny", seed)
    source = _from_file(weights_file(checkpoint))
    if variant not in (None, source.model.config.name):
        raise ValueError(f"{checkpoint} holds {source.model.config.name!r}, not {variant!r}; leave --variant out")
    return source


def _random(variant: str, seed: int) -> Source:
    if seed < 0:
        raise ValueError(f"seed={seed} must not be negative")
    model = HATNet(get_config(variant))
    randomise(model, seed)
    return Source(
        model.eval(),
        f"Random weights (seed {seed}): the maps show how hierarchical attention works, "
        "not what a trained network looks at.",
    )


def _from_file(checkpoint: Path) -> Source:
    if not is_ours(checkpoint):
        return Source(load_official(checkpoint).float(), f"Weights of the authors' file {checkpoint.name}.")
    known = about(checkpoint)
    return Source(load(checkpoint).float(), f"Weights of {checkpoint.name}, {_training(known)}.", known)


def _training(known: dict[str, Any]) -> str:
    """What is known of the training, in words."""
    if "data" not in known:
        return "which does not say how they were trained"
    accuracy = f": right on {known['test_accuracy']:.1%} of its test images" if "test_accuracy" in known else ""
    return f"trained on {known['data']}{accuracy}"
