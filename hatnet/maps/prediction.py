"""Predict the classes of image files, with class maps (extras `cli` and `train`)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hatnet.checks import require_whole
from hatnet.data.image_file import WHITE, open_image, size_of_image
from hatnet.data.image_list import find_images
from hatnet.data.photo import size_resized
from hatnet.data.transforms import Transform, for_prediction
from hatnet.data.transparency import parse_colour
from hatnet.device import full_precision, usable_device
from hatnet.maps.maps import attention_maps
from hatnet.maps.memory import images_at_once, memory_limit
from hatnet.network import HATNet
from hatnet.training.checkpoint_evaluation import recipe_for_testing
from hatnet.weights.checkpoints import holds_task
from hatnet.weights.pretrained import existing_weights
from hatnet.weights.source import Source, find_source

BATCH = 32  # images at once; fewer if memory is short
Unreadable = Callable[[Path, str], None]  # receives a file that cannot be read, and the reason


@dataclass(frozen=True)
class Prediction:
    """The prediction for one image. The most probable class comes first in all lists."""

    image: Path
    labels: tuple[int, ...]  # the numbers of the `top` classes
    classes: tuple[str, ...]  # their names, or their numbers if the weights have no names
    probabilities: tuple[float, ...]  # softmax over all classes of the network
    # The network's input as a picture, (H, W) or (H, W, 3) in [0, 1], and the relevance of the stem's tokens for the
    # first class, (H0, W0), which sums to one or is zero. Both are None after the first `maps` images.
    picture: NDArray[np.float64] | None = field(default=None, repr=False)
    class_map: NDArray[np.float64] | None = field(default=None, repr=False)  # None also without finite gradients

    @property
    def best(self) -> str:
        """The class with the highest probability."""
        return self.classes[0]


@dataclass(frozen=True)
class Settings:
    """How to predict. Raises ValueError for a value out of range.

    Attributes:
        top: the number of classes per image, most probable first; all if the network has fewer.
        maps: the number of images that are drawn, each with a class map: the first ones that can be read.
        background: the colour behind transparent pixels, such as white, black or '#ff8800'.
        memory: limit in GiB for attention weights; with class maps, also for gradients and stored activations.
        device: where PyTorch runs, such as cpu or cuda.
    """

    top: int = 3
    maps: int = 24
    background: str = WHITE
    memory: float = 2.0
    device: str = "cpu"

    def __post_init__(self) -> None:
        require_whole("top", self.top, 1)
        require_whole("maps", self.maps, 0)
        parse_colour(self.background)
        memory_limit(self.memory)


DEFAULTS = Settings()


def predict(
    images: str | Path | Iterable[str | Path],
    weights: str | Path,
    *,
    unreadable: Unreadable | None = None,
    **settings: Any,
) -> Iterator[Prediction]:
    """Predict the classes of image files, in the given order, with trained weights.

    Args:
        images: files, and folders, of which all images are used; see `find_images`.
        weights: the name of weights that come with the package (`fashion-mnist`), a file, or the folder of a run.
            `hatnet.dense.predict` takes those of segmentation, detection and instances.
        unreadable: called with each file that cannot be read and the reason; without it, the error is raised.
        settings: fields of `Settings`, such as `top=5`, `maps=0` or `device="cuda"`.

    Images are prepared as in `hatnet evaluate`; `for_prediction` describes other sizes. Few images are in memory at a
    time. Raises FileNotFoundError or ValueError at once for missing images or weights and for settings that do not fit.
    While you iterate, raises ValueError for a file that cannot be read and for logits that are not finite.

    >>> from hatnet.data.image_file import CHELSEA
    >>> [found] = predict(CHELSEA, "fashion-mnist")  # a cat: the network knows clothes only
    >>> len(found.classes), found.picture.shape, found.class_map.shape
    (3, (28, 28), (28, 28))
    """
    file = existing_weights(weights)
    if (task := holds_task(file)) not in (None, "classification"):
        raise ValueError(f"{file} holds a model for {task}, not for classification: use hatnet.dense.predict")
    return predict_files(find_images(images), find_source(weights), Settings(**settings), unreadable)


def predict_files(
    paths: list[Path], source: Source, settings: Settings = DEFAULTS, unreadable: Unreadable | None = None
) -> Iterator[Prediction]:
    """`predict` for a list of files and for weights that are already loaded."""
    config = source.model.config
    if config.in_channels not in (1, 3):
        raise ValueError(f"the network takes {config.in_channels} channels; image files give 1 (grey) or 3 (colour)")
    recipe = recipe_for_testing(source)
    size, device, limit = recipe.image_size, usable_device(settings.device), memory_limit(settings.memory)
    config.layout(size, size)  # raises if images are too small
    with_maps = images_at_once(config, size, size, BATCH, 4, limit, gradients=True) if settings.maps else BATCH
    without = images_at_once(config, size, size, BATCH, 4, limit)
    transform = for_prediction(recipe, source)
    source.model.to(device)

    def results() -> Iterator[Prediction]:
        left, batch = settings.maps, list[tuple[Path, Tensor]]()
        for path in paths:
            try:
                batch.append((path, _read(path, config.in_channels, size, transform, settings.background)))
            except (OSError, ValueError) as error:
                if unreadable is None:
                    raise
                unreadable(path, str(error))
            if batch and len(batch) >= (min(with_maps, left) if left else without):
                yield from _predict_batch(source, batch, settings.top, limit, with_maps=left > 0)
                left, batch = max(left - len(batch), 0), []
        if batch:
            yield from _predict_batch(source, batch, settings.top, limit, with_maps=left > 0)

    return results()


def percent(probability: float) -> str:
    """Format a probability; below one it never reads 100 %, above zero never 0 %.

    >>> percent(0.946), percent(0.99999), percent(0.00001)
    ('94.6 %', '> 99.9 %', '< 0.1 %')
    """
    if 0.9995 <= probability < 1:
        return "> 99.9 %"
    return "< 0.1 %" if 0 < probability < 0.0005 else f"{100 * probability:.1f} %"


def _read(path: Path, channels: int, size: int, transform: Transform, background: str) -> Tensor:
    """Read one image as input for the network, (C, size, size)."""
    size_resized(*size_of_image(path), size)  # raises before an elongated image is enlarged
    pixels = np.array(open_image(path, "RGB" if channels == 3 else "L", background))
    return transform(torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1))


@full_precision()
def _predict_batch(
    source: Source, batch: list[tuple[Path, Tensor]], top: int, limit: int, with_maps: bool
) -> list[Prediction]:
    model = source.model.eval()
    inputs = torch.stack([image for _, image in batch]).to(next(model.parameters()))
    with torch.inference_mode():
        logits = model(inputs)
    if not logits.isfinite().all():
        first = int((~logits.isfinite().all(dim=1)).nonzero()[0])
        raise ValueError(f"the logits for {batch[first][0]} are not finite: the weights are damaged or too large")
    order = logits.sort(dim=1, descending=True, stable=True).indices  # ties: the lower label first, as in argmax
    best = order[:, :top]
    values = logits.double().softmax(dim=1).gather(1, best).cpu()
    maps = class_maps(model, inputs, best[:, 0], limit) if with_maps else [None] * len(batch)
    found = []
    for (path, image), shares, labels, class_map in zip(batch, values, best, maps, strict=True):
        numbers = tuple(labels.tolist())
        names = tuple(source.classes[label] if label < len(source.classes) else str(label) for label in numbers)
        picture = _picture(image, source) if with_maps else None
        found.append(Prediction(path, numbers, names, tuple(shares.tolist()), picture, class_map))
    return found


def _picture(image: Tensor, source: Source) -> NDArray[np.float64]:
    """Undo the normalisation of an image, for a figure: (C, H, W) -> (H, W) or (H, W, 3), in [0, 1]."""
    channels = image.permute(1, 2, 0).double().numpy()
    picture: NDArray[np.float64] = (channels * np.asarray(source.std) + np.asarray(source.mean)).clip(0, 1)
    return picture[..., 0] if picture.shape[2] == 1 else picture


def class_maps(model: HATNet, inputs: Tensor, labels: Tensor, limit: int) -> list[NDArray[np.float64] | None]:
    """The class map of each image for its label; None if its gradients are not finite, as on a plain surface."""
    try:
        relevance = attention_maps(model, inputs, limit).class_map(labels).astype(np.float64)
    except ValueError:
        if len(inputs) == 1:
            return [None]
        singles = (class_maps(model, one[None], label[None], limit) for one, label in zip(inputs, labels, strict=True))
        return [found for (found,) in singles]
    return [each / (each.sum() or 1) for each in relevance]
