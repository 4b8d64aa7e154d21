"""Predict with dense models on image files of any size: a class for every pixel, or objects."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import functional

from hatnet.checks import require_between, require_whole
from hatnet.data.image_file import WHITE, open_image, size_of_image
from hatnet.data.image_list import find_images
from hatnet.data.photo import LARGEST, size_resized
from hatnet.data.transparency import parse_colour
from hatnet.dense.semantic_fpn import SemanticFPN
from hatnet.dense.source import DenseSource, find_dense
from hatnet.device import full_precision, usable_device

SEGMENTED_AT = 512  # shorter side in pixels if the weights do not say how they were trained; the paper's for ADE20K
Unreadable = Callable[[Path, str], None]  # receives a file that cannot be read, and the reason


@dataclass(frozen=True)
class Segmentation:
    """The class of every pixel of an image."""

    image: Path
    names: tuple[str, ...]  # of all classes, or their numbers if the weights have no names
    labels: NDArray[np.uint16] = field(repr=False)  # (H, W), of the file turned upright
    picture: NDArray[np.uint8] = field(repr=False)  # as the network received it, (h, w) or (h, w, 3)

    @property
    def shares(self) -> dict[int, float]:
        """The share of the pixels of every class that is present, the largest first."""
        numbers, counts = np.unique(self.labels, return_counts=True)
        order = np.argsort(-counts, kind="stable")
        return {int(numbers[place]): float(counts[place] / self.labels.size) for place in order}

    def compact(self) -> Self:
        """The same at the size of the picture, for a figure."""
        return replace(self, labels=_sampled(self.labels, self.picture.shape[:2]))


@dataclass(frozen=True)
class Objects:
    """The objects in an image, the surest first. N is their number."""

    image: Path
    size: tuple[int, int]  # height and width of the file turned upright
    names: tuple[str, ...]  # (N,) classes, or their numbers if the weights have no names
    labels: tuple[int, ...] = field(repr=False)  # (N,), from 1
    scores: tuple[float, ...] = field(repr=False)  # (N,)
    boxes: NDArray[np.float64] = field(repr=False)  # (N, 4): x1, y1, x2, y2 in pixels of the file
    masks: NDArray[np.bool_] | None = field(repr=False)  # (N, H, W); None for a detector without masks
    picture: NDArray[np.uint8] = field(repr=False)  # (h, w) or (h, w, 3): the file, or smaller

    def compact(self) -> Self:
        """The same with masks of the size of the picture, for a figure."""
        if self.masks is None:
            return self
        size = self.picture.shape[:2]
        masks = [_sampled(mask, size) for mask in self.masks]
        return replace(self, masks=np.array(masks, bool).reshape(-1, *size))


@dataclass(frozen=True)
class DenseSettings:
    """How to predict. Raises ValueError for a value out of range.

    Attributes:
        score: objects with a lower score, from 0 to 1, are left out.
        image_size: the shorter side in pixels to which images are resized; None is that of the training.
        background: the colour behind transparent pixels, such as white, black or '#ff8800'.
        device: where PyTorch runs, such as cpu or cuda.
    """

    score: float = 0.5
    image_size: int | None = None
    background: str = WHITE
    device: str = "cpu"

    def __post_init__(self) -> None:
        require_between("score", self.score, 0, 1)
        if self.image_size is not None:
            require_whole("image_size", self.image_size, 1, LARGEST)
        parse_colour(self.background)


DEFAULTS = DenseSettings()


def predict(
    images: str | Path | Iterable[str | Path],
    weights: str | Path,
    *,
    unreadable: Unreadable | None = None,
    **settings: Any,
) -> Iterator[Segmentation] | Iterator[Objects]:
    """Predict the classes of all pixels, or the objects, in image files, in the given order.

    Args:
        images: files, and folders, of which all images are used; see `find_images`.
        weights: a file of `hatnet.save`, or the folder of a run, with a dense model; its task decides.
        unreadable: called with each file that cannot be read and the reason; without it, the error is raised.
        settings: fields of `DenseSettings`, such as `score=0.7`, `image_size=800` or `device="cuda"`.

    Raises FileNotFoundError or ValueError at once for missing images or weights and for settings that do not fit.
    While you iterate, raises ValueError for a file that cannot be read and for outputs that are not finite.
    """
    return predict_files(find_images(images), find_dense(weights), DenseSettings(**settings), unreadable)


def predict_files(
    paths: list[Path], source: DenseSource, settings: DenseSettings = DEFAULTS, unreadable: Unreadable | None = None
) -> Iterator[Any]:
    """`predict` for a list of files and for weights that are already loaded."""
    model: Any = source.model
    if model.config.in_channels not in (1, 3):
        raise ValueError(f"the network takes {model.config.in_channels} channels; image files give 1 (grey) or 3")
    size = settings.image_size or _own_size(source)
    model.config.layout(size, size)  # raises if images are too small
    device = usable_device(settings.device)
    model.to(device).eval()
    find = _segment if isinstance(model, SemanticFPN) else _detect

    def results() -> Iterator[Any]:
        for path in paths:
            with _resized_to(size, model), full_precision(), torch.inference_mode():
                try:
                    pixels = _read(path, source, size, settings.background)
                except (OSError, ValueError) as error:
                    if unreadable is None:
                        raise
                    unreadable(path, str(error))
                    continue
                found = find(path, pixels.to(device), source, size, settings.score)
            yield found

    return results()


def _own_size(source: DenseSource) -> int:
    """The shorter side of the images of the training."""
    model: Any = source.model
    if isinstance(model, SemanticFPN):
        return source.image_size or SEGMENTED_AT
    return int(model.transform.min_size[-1])  # the detectors use the last of several in evaluation


@contextmanager
def _resized_to(size: int, model: Any) -> Iterator[None]:
    """A detector resizes images itself: to `size`, with a limit of the longer side that scales along."""
    if isinstance(model, SemanticFPN):
        yield
        return
    transform = model.transform
    shorter, longer = transform.min_size, transform.max_size
    transform.min_size, transform.max_size = (size,), max(round(longer * size / shorter[-1]), size)
    try:
        yield
    finally:
        transform.min_size, transform.max_size = shorter, longer


@contextmanager
def _watched_heads(model: nn.Module) -> Iterator[list[Tensor]]:
    """Whether the outputs of each layer behind the backbone are finite: torchvision drops objects without a score."""
    finite: list[Tensor] = []
    layers = (
        layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and not name.startswith("backbone.")
    )
    hooks = [layer.register_forward_hook(lambda _, __, y: finite.append(y.isfinite().all())) for layer in layers]
    try:
        yield finite
    finally:
        for hook in hooks:
            hook.remove()


def _read(path: Path, source: DenseSource, size: int, background: str) -> Tensor:
    """Read an image, (C, H, W) uint8. Raises ValueError before an elongated image is enlarged beyond all limits."""
    height, width = size_of_image(path)
    if isinstance(source.model, SemanticFPN):
        size_resized(height, width, size)
    else:
        if min(height, width) * _scale(source, height, width) < 1:
            raise ValueError(f"{path} has {width} x {height} pixels, too elongated to be resized; crop it")
    pixels = np.array(open_image(path, "RGB" if source.model.config.in_channels == 3 else "L", background))
    return torch.from_numpy(np.atleast_3d(pixels)).permute(2, 0, 1)


def _scale(source: DenseSource, height: int, width: int) -> float:
    """The factor by which a detector resizes an image."""
    transform: Any = source.model.transform
    return min(transform.min_size[-1] / min(height, width), transform.max_size / max(height, width))


def _floats(pixels: Tensor) -> Tensor:
    """Bytes as floats in [0, 1], with the rounding of training."""
    return functional.to_dtype(pixels, torch.float32, scale=True)


def _segment(path: Path, pixels: Tensor, source: DenseSource, size: int, _: float) -> Segmentation:
    small = functional.resize(pixels, [size], antialias=True)  # the shorter side, as in evaluation
    model: Any = source.model
    (logits,) = model(_floats(small)[None])  # (classes, h, w)
    _require(logits.isfinite(), path)
    labels = _largest(logits, (pixels.shape[1], pixels.shape[2]))
    names = tuple(_name(source, label) for label in range(source.model.config.num_classes))
    return Segmentation(path, names, labels.cpu().numpy().astype(np.uint16), _picture(small))


def _largest(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The class with the largest logit at every pixel of an image of `size`, (H, W); the lower of two equal ones.

    Logits are resized class by class, since those of a large photo would not fit into memory together.
    """
    resize = partial(F.interpolate, size=size, mode="bilinear", align_corners=False)
    best = torch.full(size, -torch.inf, device=logits.device)
    labels = torch.zeros(size, dtype=torch.int32, device=logits.device)
    for label, values in enumerate(logits):
        values = values if values.shape == best.shape else resize(values[None, None])[0, 0]
        labels[values > best] = label
        best = torch.maximum(best, values)
    return labels


def _detect(path: Path, pixels: Tensor, source: DenseSource, _: int, score: float) -> Objects:
    height, width = pixels.shape[1:]
    scale, small = _scale(source, height, width), pixels
    if scale < 1:  # the detector itself would resize without anti-aliasing
        small = functional.resize(pixels, [max(round(side * scale), 1) for side in (height, width)], antialias=True)
    model: Any = source.model
    with _watched_heads(model) as finite:
        (found,) = model([_floats(small)])
    _require(torch.stack(finite), path)
    boxes = found["boxes"].double().cpu() * torch.tensor([width / small.shape[2], height / small.shape[1]] * 2)
    keep = (found["scores"].cpu() >= score) & (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    places = [int(place) for place in found["scores"].cpu().argsort(descending=True, stable=True) if keep[place]]
    masks = None
    if "masks" in found:
        masks = np.array([_mask(found["masks"][place, 0], (height, width)) for place in places], bool)
        masks = masks.reshape(-1, height, width)
    labels = tuple(int(found["labels"][place]) for place in places)
    names = tuple(_name(source, label - 1, label) for label in labels)
    scores = tuple(float(found["scores"][place]) for place in places)
    return Objects(path, (height, width), names, labels, scores, boxes[places].numpy(), masks, _picture(small))


def _mask(probabilities: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
    if probabilities.shape != size:
        probabilities = F.interpolate(probabilities[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]
    return (probabilities >= 0.5).cpu().numpy()


def _require(finite: Tensor, path: Path) -> None:
    if not finite.all():
        raise ValueError(f"the outputs for {path} are not finite: the weights are damaged or too large")


def _name(source: DenseSource, index: int, number: int | None = None) -> str:
    return source.classes[index] if index < len(source.classes) else str(index if number is None else number)


def _picture(pixels: Tensor) -> NDArray[np.uint8]:
    channels = pixels.permute(1, 2, 0).cpu().numpy()
    return channels[..., 0] if channels.shape[2] == 1 else channels


def _sampled(values: NDArray[Any], size: tuple[int, ...]) -> NDArray[Any]:
    """The nearest values (H, W) at the places of a map of another size."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size, values.shape, strict=True)
    )
    return values[rows][:, columns]
