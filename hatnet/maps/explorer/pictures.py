"""The pictures of an explorer: an image, and the maps of a network for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hatnet.config import HATNetConfig
from hatnet.maps.maps import AttentionMaps, attention_maps
from hatnet.network import HATNet

Array = NDArray[np.floating[Any]]
Normalise = Callable[[NDArray[np.float64]], NDArray[np.float64]]  # (C, H, W) in [0, 1] -> input of the network


@dataclass(frozen=True)
class ClassMap:
    """The relevance of every place for one class, or for the class of one object."""

    name: str  # of the class or of the object
    values: Array  # (H, W), over the tokens of stage 0: `AttentionMaps.class_map`, or one of `object_maps`
    role: str = ""  # why it is shown, such as "the network's answer"
    of: Literal["class", "object"] = "class"


@dataclass(frozen=True)
class Picture:
    """One image, with the attention weights of every block of a network."""

    name: str
    image: Array  # (H, W, 3) or (H, W), in [0, 1]: the pixels before normalisation
    weights: Mapping[str, Array]  # for this one image, under their names in the trace: `AttentionMaps.weights`
    predictions: Mapping[str, float] = field(default_factory=dict)  # class -> probability, in the order to show them
    label: str = ""  # the true class, if it is known
    rollout: Array | None = None  # (H, W), over the tokens of stage 0: `AttentionMaps.rollout()`
    class_maps: Sequence[ClassMap] = ()  # the first is shown first


@dataclass(frozen=True)
class Start:
    """The first view of an explorer."""

    query: tuple[int, int] | None = None  # a pixel (x, y), from the left and from the top; None for the middle
    stage: int = 0
    block: int = 0
    head: int | None = None  # None for the mean of the heads
    kind: str = "local"  # one of KINDS; "rollout" and "class" cover the whole network and have no query


def picture_from_model(
    model: HATNet,
    image: NDArray[np.float64],
    name: str,
    *,
    classes: Sequence[str] = (),
    label: int | None = None,
    normalise: Normalise | None = None,
) -> Picture:
    """Run a model on one image (C, H, W) in [0, 1]; arguments as in `write_maps`."""
    pixels = torch.from_numpy(image if normalise is None else normalise(image)).to(next(model.parameters()))
    shown = image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    return picture_from_maps(attention_maps(model, pixels), shown, name, classes=classes, label=label)


def picture_from_maps(
    maps: AttentionMaps,
    image: Array,
    name: str,
    *,
    classes: Sequence[str] = (),
    label: int | None = None,
    asked: int | None = None,
) -> Picture:
    """Everything that an explorer shows of one image. For the class maps, the network runs again with gradients.

    The image is (H, W) or (H, W, 3), in [0, 1], before normalisation. The true class `label` gets a class map too, and
    the map of `asked` is shown first. Raises ValueError if the network lacks `label`.
    """
    require_label(name, label, maps.config, classes)
    scores = np.exp(maps.logits - maps.logits.max())
    probabilities = scores / scores.sum()
    best = np.argsort(-probabilities)[:3]
    return Picture(
        name=name,
        image=image,
        weights=maps.weights,
        predictions={classes[index]: float(probabilities[index]) for index in best if index < len(classes)},
        label="" if label is None or not classes else classes[label],
        rollout=maps.rollout(),
        class_maps=[
            ClassMap(classes[index] if index < len(classes) else f"class {index}", maps.class_map(index), role)
            for index, role in _roles(int(best[0]), label, asked).items()
        ],
    )


def _roles(answer: int, label: int | None, asked: int | None) -> dict[int, str]:
    """The classes that get a map, in order, each with the reason why."""
    roles = {answer: "the network's answer"}
    if label is not None:
        roles[label] = "the true class" if label != answer else f"{roles[answer]}, and true"
    if asked is not None:
        roles = {asked: roles.get(asked, "the class asked for"), **roles}  # in front
    return roles


def require_label(name: str, label: int | None, config: HATNetConfig, classes: Sequence[str]) -> None:
    """Raise a ValueError for a true class that the network lacks, or that has no name where other classes have one."""
    count = min(config.num_classes, len(classes) or config.num_classes)
    if label is not None and not 0 <= label < count:
        raise ValueError(
            f"label {label} of {name!r} is not the number of a class: the network has {config.num_classes}, counted "
            f"from 0, and {len(classes) or 'none'} of them are named"
        )
