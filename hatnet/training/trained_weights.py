"""Start from trained weights: keep their network unless the recipe changes it, and list every difference."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from hatnet.config import HATNetConfig
from hatnet.data import Split
from hatnet.network import HATNet
from hatnet.training.networks import BODY, Dense, Network, body_of
from hatnet.training.recipes import Recipe
from hatnet.weights.adapting import FirstLayer, adapt, rows_of_classes
from hatnet.weights.checkpoints import holds_task, require_match
from hatnet.weights.pretrained import existing_weights
from hatnet.weights.source import NO_CHANGES, Source, find_source
from hatnet.weights.windows import RATES, WINDOWS, changed_fields, describe_changes

if TYPE_CHECKING:
    from hatnet.dense.source import DenseSource

    AnySource = Source | DenseSource
else:  # hatnet.dense imports torchvision
    AnySource = object

HEAD = ("classifier.weight", "classifier.bias")


def find_weights(weights: str | Path, windows: Mapping[str, tuple[int, ...] | None] = NO_CHANGES) -> AnySource:
    """The network of trained weights, of any task. Arguments and errors are those of `find_source`."""
    if holds_task(existing_weights(weights)) in (None, "classification"):
        return find_source(weights, windows=windows)
    from hatnet.dense.source import find_dense

    return find_dense(weights, windows)


def task_in(source: AnySource) -> str:
    """The task of the network of trained weights."""
    return "classification" if isinstance(source, Source) else source.task


def normalised_as(data: Split, known: Mapping[str, Any]) -> Split:
    """The same data with the normalisation in `known`; where that is missing, its own."""
    return replace(data, mean=tuple(known.get("mean", data.mean)), std=tuple(known.get("std", data.std)))


def drawn_otherwise(data: Split, known: Mapping[str, Any]) -> bool:
    """True if training drew its test part from other images: today's test part may then hold training images."""
    return known.get("data") == data.name and known.get("drawn_from", "") not in ("", data.drawn_from)


def trained_config(recipe: Recipe, source: AnySource) -> HATNetConfig:
    """The network of the weights. A dense task gives that of classification the windows for dense tasks."""
    own: HATNetConfig = source.model.config
    return own.with_dense_windows() if recipe.task != task_in(source) == "classification" else own


def tuned_config(recipe: Recipe, config: HATNetConfig, trained: HATNetConfig) -> HATNetConfig:
    """The network to train: that of the weights, except for the fields that the recipe sets.

    Classes, channels and drop rates are those of `config`, the recipe's network for the data. Raises ValueError
    if requested windows or the image size do not fit the network.
    """
    asked = {name: getattr(recipe, name) for name in WINDOWS if getattr(recipe, name) is not None}
    others = {name: getattr(config, name) for name in ("num_classes", "in_channels", *RATES)}
    tuned = replace(trained, **asked, **others)
    tuned.layout(recipe.image_size, recipe.image_size)
    return tuned


def start_from(source: AnySource, model: Network, data: Split) -> tuple[Split, list[str]]:
    """Load trained weights into `model`, adapted to the channels and classes of `data`.

    Return the data, normalised as for the weights, and one line per change. Raise CheckpointError, which lists the
    differences, if the model is another network.
    """
    tensors, lines = body_of(source.model).state_dict(), []
    mean, std = (_fitted(_statistics(name, source, data), source) for name in ("mean", "std"))
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
    if drawn_otherwise(data, source.about):
        lines.append(
            f"The images in {data.name} have changed since these weights were trained on it, so the test images may be "
            "among those of that training, and the test is too easy then. Folders train and val avoid this."
        )
    if isinstance(model, HATNet):
        assert isinstance(source, Source)
        lines.append(_fit_classifier(tensors, source, model, data))
    else:
        lines.append(_fit_heads(source, model, data))
    body = body_of(model)
    kept = {name: tensor for name, tensor in tensors.items() if isinstance(model, HATNet) or name not in HEAD}
    require_match(kept, {name: tuple(tensor.shape) for name, tensor in body.state_dict().items()}, {}, str(source.file))
    body.load_state_dict(kept)
    return replace(data, mean=layer.mean, std=layer.std), lines


def _statistics(name: str, source: AnySource, data: Split) -> Sequence[float]:
    """Mean or std of the pixels that the weights expect; the data's if that is unknown."""
    if isinstance(source, Source):
        known: Sequence[float] = source.about.get(name, getattr(data, name))
        return known
    inside: Sequence[float] = getattr(source.model.transform, f"image_{name}")
    return inside


ADAPTED = {
    3: "The first convolution is adapted from grey to colour: its kernel is split over R, G and B in shares of 0.299, "
    "0.587 and 0.114. A colour image gives the same output as its grey version.",
    1: "The first convolution is adapted from colour to grey: its kernels are summed. A grey image gives the same "
    "output as before with R = G = B, except for small differences in the outermost pixels, next to the padding.",
}


def _fit_classifier(tensors: dict[str, Tensor], source: Source, model: HATNet, data: Split) -> str:
    """Keep, reorder or replace the classifier in `tensors`. Return a sentence that says which and why."""
    has, count = source.model.config.num_classes, len(data.classes)
    if source.classes == data.classes:
        return f"The classifier of the weights is kept: the same {count} classes."
    if not source.classes and has == count:
        return (
            f"The classifier of the weights is kept: the file names no classes, but has {count}, as many "
            "as the data. They must be in the same order."
        )
    rows = rows_of_classes(source.classes, data.classes)
    if rows is not None:
        tensors |= {name: tensors[name][rows] for name in HEAD}
        return f"The classifier of the weights is kept, with its {count} classes in the order of the data."
    own = model.state_dict()
    tensors |= {name: own[name] for name in HEAD}
    reason = f"{has} others" if source.classes else f"{has} without names"
    return f"The classifier is new, for {count} classes; the weights have {reason}."


def _fit_heads(source: AnySource, model: Dense, data: Split) -> str:
    """Load the pyramid and the heads of weights for the same task and classes. Return a sentence about them."""
    if isinstance(source, Source):
        return "Pyramid and heads are new; the weights are for classification."
    ours, theirs = (type(model).__name__, model.width), (type(source.model).__name__, source.model.width)
    if ours != theirs or source.classes != data.classes:
        others = f"{len(source.classes)} other classes" if source.classes else "classes without names"
        reason = f"{theirs[0]} of width {theirs[1]}" if ours != theirs else others
        return f"Pyramid and heads are new; the weights are for {reason}."
    heads, own = (
        {name: tensor for name, tensor in network.state_dict().items() if not name.startswith(BODY)}
        for network in (source.model, model)
    )
    require_match(heads, {name: tuple(tensor.shape) for name, tensor in own.items()}, {}, str(source.file))
    model.load_state_dict(heads, strict=False)
    return f"Pyramid and heads of the weights are kept: the same {len(data.classes)} classes."


def differences(recipe: Recipe, config: HATNetConfig, source: AnySource, network: HATNetConfig) -> list[str]:
    """One line per difference between the recipe, its network `config`, the weights, and the network to train."""
    trained = source.model.config
    asked = [name for name in WINDOWS if getattr(recipe, name) is not None]  # `config` has the variant's instead
    own = (*asked, *changed_fields(trained, network))
    lines = describe_changes(config, network, "the recipe's", "the weights'", but=own)
    lines += describe_changes(trained, network)
    size = source.about.get("image_size", recipe.image_size)
    if size != recipe.image_size:
        lines.append(f"Images of {recipe.image_size} pixels; the weights were trained on {size}.")
    return lines


def _fitted(values: Sequence[float], source: AnySource) -> tuple[float, ...]:
    """One number for each channel of the weights: `values`, or their mean if they have another number."""
    channels = source.model.config.in_channels
    return tuple(values) if len(values) == channels else channels * (sum(values) / len(values),)


def _text(values: tuple[float, ...]) -> str:
    return ", ".join(f"{entry:g}" for entry in values)
