"""Check and normalise what dense models receive: pixels in [0, 1], and the objects of training images.

torchvision checks some of it. The rest would pass in silence, for instance a grey image for a colour network, or the
label of the background.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hatnet.checks import is_number, require_type, shown
from hatnet.config import HATNetConfig
from hatnet.data.photo import MEAN, STD
from hatnet.weights.facts import BOUNDS

Target = Mapping[str, Tensor]  # the objects of one image: boxes (N, 4), labels (N,), and masks (N, H, W)


def statistics(config: HATNetConfig, mean: object, std: object) -> tuple[list[float], list[float]]:
    """Mean and std per channel; ImageNet's for colour and 0.5 for others where they are None. Raises ValueError."""
    colour = config.in_channels == 3
    found = []
    for name, given, known in (("mean", mean, MEAN), ("std", std, STD)):
        values: Any = (known.tolist() if colour else [0.5] * config.in_channels) if given is None else given
        low, high = BOUNDS[name]
        good = isinstance(values, list | tuple) and len(values) == config.in_channels
        if not good or not all(is_number(value) and low <= value <= high for value in values):
            raise ValueError(
                f"image_{name}={shown(given)} must be {config.in_channels} numbers from {low:g} to {high:g}, one per "
                "channel of the images"
            )
        found.append([float(value) for value in values])
    return found[0], found[1]


class Normalise(nn.Module):
    """Subtract the mean of each channel and divide by its standard deviation: the part of torchvision's
    `GeneralizedRCNNTransform` that images of one size need, with the same names.
    """

    def __init__(self, image_mean: Sequence[float], image_std: Sequence[float]) -> None:
        super().__init__()
        self.image_mean, self.image_std = list(image_mean), list(image_std)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_in, H, W)."""
        mean, std = (
            torch.tensor(values, dtype=image.dtype, device=image.device).view(-1, 1, 1)
            for values in (self.image_mean, self.image_std)
        )
        return (image - mean) / std


def check_images(images: object, config: HATNetConfig) -> None:
    """Raise a TypeError or a ValueError unless `images` are tensors of pixels (C_in, H, W), scaled to [0, 1]."""
    if isinstance(images, Tensor):  # torchvision iterates over a batch, too
        images = list(images)
    require_type("images", images, (list, tuple), "a list of tensors (C, H, W)")
    assert isinstance(images, list | tuple)
    if not images:
        raise ValueError("images=[] must hold at least one image")
    for index, image in enumerate(images):
        require_type(f"images[{index}]", image, Tensor, "a tensor")
        if image.ndim != 3 or image.shape[0] != config.in_channels or not image.numel():
            raise ValueError(
                f"images[{index}] must have the shape ({config.in_channels}, H, W), got {tuple(image.shape)}"
            )
        if not image.is_floating_point():
            raise TypeError(f"images[{index}] must hold floats in [0, 1], got {image.dtype}; divide bytes by 255")


def check_targets(targets: object, images: Sequence[Tensor], config: HATNetConfig, masks: bool) -> None:
    """Raise a TypeError or a ValueError, naming the image, unless there is one target per image, and it is complete."""
    require_type("targets", targets, (list, tuple), "a list with the objects of each image, in training mode")
    assert isinstance(targets, list | tuple)
    if len(targets) != len(images):
        raise ValueError(f"{len(targets)} targets were given for {len(images)} images; one per image is expected")
    for index, (target, image) in enumerate(zip(targets, images, strict=True)):
        where = f"targets[{index}]"
        require_type(where, target, Mapping, "a table with boxes and labels")
        expected = ("boxes", "labels", "masks") if masks else ("boxes", "labels")
        missing = [name for name in expected if not isinstance(target.get(name), Tensor)]
        if missing:
            raise ValueError(f"{where} must hold tensors named {', '.join(expected)}; it lacks {', '.join(missing)}")
        _check_target(where, target, image, config.num_classes, masks)


def _check_target(where: str, target: Any, image: Tensor, classes: int, masks: bool) -> None:
    boxes, labels = target["boxes"], target["labels"]
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
        raise ValueError(f"{where}: boxes must be floats (N, 4), got {boxes.dtype} {tuple(boxes.shape)}")
    count = len(boxes)
    if tuple(labels.shape) != (count,) or labels.dtype != torch.int64:
        raise ValueError(f"{where}: labels must be int64 ({count},), got {labels.dtype} {tuple(labels.shape)}")
    if masks:
        _check_masks(where, target["masks"], (count, *image.shape[1:]))
    if not boxes.isfinite().all():
        raise ValueError(f"{where}: boxes must be finite numbers")
    _check_corners(where, boxes, *image.shape[1:])
    if ((labels < 1) | (labels > classes)).any():
        low, high = int(labels.min()), int(labels.max())
        raise ValueError(
            f"{where}: labels must be from 1 to {classes}, since 0 is the background; they are from {low} to {high}"
        )


def _check_corners(where: str, boxes: Tensor, height: int, width: int) -> None:
    x1, y1, x2, y2 = boxes.unbind(1)
    empty, outside = (x1 >= x2) | (y1 >= y2), (x1 >= width) | (y1 >= height) | (x2 <= 0) | (y2 <= 0)
    for wrong, words in (
        (empty, "must be (x1, y1, x2, y2) with x1 < x2 and y1 < y2"),
        (outside, "must show part of it"),
    ):
        if wrong.any():
            place = int(wrong.nonzero()[0])
            found = ", ".join(f"{value:g}" for value in boxes[place].tolist())
            raise ValueError(f"{where}: boxes[{place}] = ({found}) in an image of {height} x {width} pixels {words}")


def _check_masks(where: str, masks: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(masks.shape) != shape:
        raise ValueError(f"{where}: masks must have the shape {shape}, got {tuple(masks.shape)}")
    if masks.dtype not in (torch.bool, torch.uint8) or (masks.numel() and masks.max() > 1):
        found = str(masks.dtype) + (f" up to {masks.max().item()}" if masks.numel() else "")
        raise ValueError(f"{where}: masks must be bool, or uint8 with 0 and 1; got {found}")
