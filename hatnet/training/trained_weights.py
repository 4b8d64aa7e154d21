"""Start from trained weights: their network holds unless the recipe asks for another; every difference is listed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from hatnet.config import VARIANTS, HATNetConfig
from hatnet.data import Split
from hatnet.data.image_folder import IMAGENET_MEAN, IMAGENET_STD
from hatnet.files import absolute_path
from hatnet.network import HATNet
from hatnet.training.recipes import WINDOWS, Recipe
from hatnet.weights.adapting import FirstLayer, adapt, rows_of_classes
from hatnet.weights.checkpoints import about, is_ours, load, require_match
from hatnet.weights.official import load_official
from hatnet.weights.pretrained import PRETRAINED, weights_file

HEAD = ("classifier.weight", "classifier.bias")


@dataclass(frozen=True)
class TrainedWeights:
    """The content of a file to start from. Facts that the file does not give are None or empty."""

    path: Path
    config: HATNetConfig
    tensors: dict[str, Tensor]
    description: dict[str, Any]  # `checkpoints.about`, or the file's name if that is empty
    classes: tuple[str, ...]
    mean: tuple[float, ...] | None  # of pixels in [0, 1], one entry per channel, or one for all
    std: tuple[float, ...] | None
    image_size: int | None


def read_trained(given: str | Path) -> TrainedWeights:
    """Read weights of ours, or the authors', found by `weights_file`.

    Raises FileNotFoundError, or CheckpointError if the file is damaged, or its facts are impossible for its network.
    """
    path = weights_file(given)
    if not path.is_file():
        raise FileNotFoundError(f"no weights to start from at {path}: train them first, or give --weights another file")
    if not is_ours(path):
        model = load_official(path)
        colour = model.config.in_channels == 3  # the authors normalise photos as for ImageNet
        mean, std = (IMAGENET_MEAN, IMAGENET_STD) if colour else (None, None)
        return TrainedWeights(path, model.config, model.state_dict(), {"file": path.name}, (), mean, std, None)
    model, known = load(path), about(path)
    classes = tuple(known.get("classes", ()))
    mean, std = (tuple(known[name]) if name in known else None for name in ("mean", "std"))
    description = known or {"file": path.name}
    size = known.get("image_size")
    return TrainedWeights(path, model.config, model.state_dict(), description, classes, mean, std, size)


def absolute_weights(given: str) -> str:
    """The name of weights that ship with the package as it is, any other path as an absolute one, `~` expanded."""
    return given if weights_file(given) in PRETRAINED.values() else str(absolute_path(given))


def normalised_as(data: Split, known: Mapping[str, Any]) -> Split:
    """The same data, with pixels normalised as in training if that is known."""
    return replace(data, mean=tuple(known.get("mean", data.mean)), std=tuple(known.get("std", data.std)))


def drawn_otherwise(data: Split, known: Mapping[str, Any]) -> bool:
    """Whether the test part was drawn from other images in training, so that it may hold training images now."""
    return known.get("data") == data.name and known.get("drawn_from", "") not in ("", data.drawn_from)


def tuned_config(recipe: Recipe, config: HATNetConfig, trained: HATNetConfig) -> HATNetConfig:
    """The network to train: that of the weights, except for what the recipe asks for.

    `config` is the recipe's network for the data; classes, channels and drop rates are from there. Raises ValueError
    if requested windows or the image size do not fit the network.
    """
    asked = {name: getattr(recipe, name) for name in WINDOWS if getattr(recipe, name) is not None}
    data = {name: getattr(config, name) for name in ("num_classes", "in_channels")}
    drops = {name: getattr(config, name) for name in ("drop_rate", "drop_path_rate", "classifier_drop_rate")}
    tuned = replace(trained, **asked, **data, **drops)
    tuned.layout(recipe.image_size, recipe.image_size)
    return tuned


def settled(recipe: Recipe, config: HATNetConfig) -> Recipe:
    """The recipe with the variant and windows of the network that it trains, to record and to repeat it."""
    variant = config.name if config.name in VARIANTS else recipe.variant
    return replace(recipe, variant=variant, **{name: getattr(config, name) for name in WINDOWS})


def require_variant(recipe: Recipe) -> None:
    """Raise a ValueError if the recipe's weights are of another variant than the recipe's; for a requested variant."""
    if recipe.weights is None:
        return
    held = read_trained(recipe.weights).config.name
    if held != recipe.variant:
        raise ValueError(f"{recipe.weights} holds {held!r}, not {recipe.variant!r}: leave --variant out")


def start_from(trained: TrainedWeights, model: HATNet, data: Split) -> tuple[Split, bool, list[str]]:
    """Load trained weights into `model`, adapted to the channels and classes of `data`.

    Returns the data, normalised as for the weights; whether the classifier stays random; and one line about each
    change. Raises CheckpointError that lists the differences if the model is another network.
    """
    tensors, lines = dict(trained.tensors), []
    mean, std = _normalisation(trained, data)
    before = FirstLayer(tensors["stem.conv1.weight"], tensors["stem.conv1.bias"], mean, std)
    layer = adapt(before, data.channels)
    tensors |= {"stem.conv1.weight": layer.weight, "stem.conv1.bias": layer.bias}
    if layer is not before:
        lines.append(ADAPTED[data.channels])
    if (layer.mean, layer.std) != (data.mean, data.std):
        lines.append(
            f"Pixels are normalised as for the weights: mean {_text(layer.mean)}, std {_text(layer.std)} "
            f"(data: mean {_text(data.mean)}, std {_text(data.std)})."
        )
    if drawn_otherwise(data, trained.description):
        lines.append(
            f"The images in {data.name} have changed since these weights were trained on it, so the test images may be "
            "among those of that training, and the test too easy. Folders train and val avoid this."
        )
    new_classifier, line = _fit_classifier(tensors, trained, model, data)
    own = model.state_dict()
    require_match(tensors, {name: tuple(tensor.shape) for name, tensor in own.items()}, {}, str(trained.path))
    model.load_state_dict(tensors)
    return replace(data, mean=layer.mean, std=layer.std), new_classifier, [*lines, line]


ADAPTED = {
    3: "The first convolution is adapted from grey to colour: its kernel is shared out over R, G and B as 0.299, 0.587 "
    "and 0.114. A colour image gives what its grey version gave.",
    1: "The first convolution is adapted from colour to grey: its kernels are summed. A grey image gives what it gave "
    "as R = G = B, except for small differences in the outermost pixels, next to the padding.",
}


def _fit_classifier(
    tensors: dict[str, Tensor], trained: TrainedWeights, model: HATNet, data: Split
) -> tuple[bool, str]:
    """Keep, reorder or drop the classifier in `tensors`; whether it is new, and the sentence that explains it."""
    count, own = len(data.classes), model.state_dict()
    if trained.classes == data.classes:
        return False, f"The classifier of the weights is kept: the same {count} classes."
    if not trained.classes and trained.config.num_classes == count:
        return False, (
            f"The classifier of the weights is kept: the file names no classes, but has {count} as the data. "
            "They must be in the order of the data's."
        )
    rows = rows_of_classes(trained.classes, data.classes)
    if rows is not None:
        tensors |= {name: tensors[name][rows] for name in HEAD}
        return False, f"The classifier of the weights is kept, with its {count} classes in the order of the data."
    tensors |= {name: own[name] for name in HEAD}
    reason = f"{trained.config.num_classes} others" if trained.classes else f"{trained.config.num_classes}, not named"
    return True, f"The classifier is new, for {count} classes; the weights have {reason}."


def differences(recipe: HATNetConfig, trained: HATNetConfig, network: HATNetConfig) -> list[str]:
    """One line on what the network to train has from the weights instead of the recipe, one on what it changes."""
    lines = []
    if different := _different(network, recipe, "recipe"):
        lines.append(f"From the weights, not from the recipe: {different}.")
    if different := _different(network, trained, "weights"):
        lines.append(f"Other than in the weights: {different}.")
    return lines


def _different(network: HATNetConfig, other: HATNetConfig, whose: str) -> str:
    pairs = {field.name: (getattr(network, field.name), getattr(other, field.name)) for field in fields(HATNetConfig)}
    return "; ".join(
        f"{name} {_text(ours)} ({whose}: {_text(its)})" for name, (ours, its) in pairs.items() if ours != its
    )


def _text(value: object) -> str:
    return ", ".join(f"{entry:g}" for entry in value) if isinstance(value, tuple) else str(value)


def _normalisation(trained: TrainedWeights, data: Split) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and std of the weights, or of the data where the file does not give them."""
    channels = trained.config.in_channels

    def fitted(values: Sequence[float]) -> tuple[float, ...]:
        return tuple(values) if len(values) == channels else channels * (sum(values) / len(values),)

    return fitted(trained.mean or data.mean), fitted(trained.std or data.std)
