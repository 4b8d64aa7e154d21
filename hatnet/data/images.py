"""A data set: training, validation and test images, and the facts that a checkpoint has to keep."""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import blake2b
from math import inf, isfinite
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import torch
from torch import Tensor

from hatnet.checks import is_number, require_choice, require_type, shown

Kind = Literal["classification", "segmentation", "objects"]
KINDS: dict[str, Kind] = {  # what the images of each task are labelled with
    "classification": "classification", "segmentation": "segmentation", "detection": "objects", "instances": "objects",
}  # fmt: skip
BACKGROUND = "background"  # the class 0 of a segmentation of objects
UNKNOWN = 255  # in masks of segmentation: pixels without a class, which loss and metrics ignore
TOLERATED = 0.25  # fraction of faulty files or annotations that are left out; more are refused
TOLERATED_COUNT = 3  # that many are left out of few, too
WHOLE_NUMBERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


class DataError(ValueError):
    """Data is missing, damaged or inconsistent. The message says what to do."""


def too_many(faulty: int, count: int) -> bool:
    """Whether so many of `count` files or annotations are faulty that one should not go on without them.

    >>> too_many(3, 10), too_many(4, 10), too_many(2, 2)
    (False, True, True)
    """
    return 0 < faulty == count or faulty > max(TOLERATED * count, TOLERATED_COUNT)


@runtime_checkable
class Images(Protocol):
    """Images with labels. Images from files may differ in size."""

    @property
    def labels(self) -> Tensor:
        """(images,), int64: the classes, or zeros where `label` is more than a class."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> Tensor:
        """One image, (C_in, H, W), uint8."""

    def label(self, index: int) -> Any:
        """The label of one image. A transform of torchvision may change it together with the image.

        Classification: a class. Segmentation: a `tv_tensors.Mask`, (H, W) int64, of classes and `UNKNOWN`. Objects: a
        dict of `boxes` (`tv_tensors.BoundingBoxes`, x1, y1, x2, y2 in pixels, (N, 4) float32), `labels` (N,) int64 from
        1, `masks` (`tv_tensors.Mask`, (N, H, W) uint8), and `image_id`.
        """

    def content(self) -> bytes:
        """Bytes that identify these images: their pixels, or the names of their files."""

    def part(self, indices: Tensor) -> Images:
        """The images at `indices`, in that order."""


@dataclass(frozen=True)
class ImageTensor:
    """Images in memory, all of one size: (images, C_in, H, W), uint8. Raises DataError for other shapes and types."""

    pixels: Tensor
    labels: Tensor  # (images, ...), whole numbers

    def __post_init__(self) -> None:
        for name, value in (("pixels", self.pixels), ("labels", self.labels)):
            if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_meta:
                raise DataError(f"{name} must be a dense tensor, got {type(value).__name__}")
        if self.pixels.ndim != 4 or self.pixels.dtype != torch.uint8:
            found = f"{tuple(self.pixels.shape)} of {self.pixels.dtype}"
            raise DataError(f"pixels must have shape (images, C_in, H, W) and hold uint8, got {found}")
        if self.labels.ndim < 1 or len(self.labels) != len(self.pixels) or self.labels.dtype not in WHOLE_NUMBERS:
            found = f"{tuple(self.labels.shape)} of {self.labels.dtype}"
            raise DataError(f"labels must hold one class per image ({len(self.pixels)}), whole numbers; got {found}")

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Tensor:
        """One image, (C_in, H, W), uint8: a view."""
        return self.pixels[index]

    def label(self, index: int) -> Tensor:
        return self.labels[index]

    def content(self) -> bytes:
        return self.pixels.numpy().tobytes()

    def part(self, indices: Tensor) -> ImageTensor:
        """The images at `indices`, in that order."""
        return replace(self, pixels=self.pixels[indices], labels=self.labels[indices])


@dataclass(frozen=True)
class Split:
    """A data set in two or three parts.

    Label k is `classes[k]`, and for objects `classes[k - 1]`, since their label 0 means background.

    Raises DataError if a part is empty or has a label without a class, and unless `mean` and `std` have one number per
    channel, `std` above 0.
    """

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # of pixels in [0, 1], one entry per channel
    std: tuple[float, ...]
    validation: Images | None = None  # chooses the best weights; without it, the test images do
    note: str = ""  # what a user should know about how it was split
    drawn_from: str = ""  # hash of the images from which the test part was drawn; empty if it is a part of its own
    kind: Kind = "classification"

    def __post_init__(self) -> None:
        self._check_facts()
        for part, images in self.parts.items():
            if not len(images):
                raise DataError(f"{self.name} has no {part} images")
            low, high = int(images.labels.min()), int(images.labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"{self.name} has a {part} label {high if high >= len(self.classes) else low}, but its "
                    f"{len(self.classes)} classes are numbered from 0 to {len(self.classes) - 1}"
                )

    def _check_facts(self) -> None:
        require_type("name", self.name, str, "a text")
        require_choice("kind", self.kind, get_args(Kind))
        for name, images in self.parts.items():
            require_type(name, images, Images, "images, such as an ImageTensor or an ImageFolder")
        if not isinstance(self.classes, tuple) or not all(isinstance(name, str) for name in self.classes):
            raise DataError(f"classes={shown(self.classes)} must be a tuple of names")
        for field, least in (("mean", -inf), ("std", 0.0)):
            numbers = getattr(self, field)
            good = isinstance(numbers, tuple) and all(is_number(n) and isfinite(n) and n > least for n in numbers)
            if not good or len(numbers) != len(self.mean):
                above = ", above 0" if field == "std" else ""
                raise DataError(f"{field}={shown(numbers)} must be a tuple of one finite number per channel{above}")
        for part, images in self.parts.items():
            if isinstance(images, ImageTensor) and images.pixels.shape[1] != self.channels:
                found = images.pixels.shape[1]
                raise DataError(f"{self.name} has {part} images with {found} channels, but mean has {self.channels}")

    @property
    def parts(self) -> dict[str, Images]:
        """The parts that there are, by the names used in messages."""
        parts = {"training": self.train, "validation": self.validation, "test": self.test}
        return {name: images for name, images in parts.items() if images is not None}

    @property
    def choosing(self) -> str:
        """The part that is tested after every epoch and chooses the best weights: validation, or else test."""
        return "test" if self.validation is None else "validation"

    @property
    def channels(self) -> int:
        """C_in: 1 for grey images, 3 for colour."""
        return len(self.mean)


def fingerprint(data: Split) -> dict[str, int | str]:
    """Identify images, classes and their order, which a resumed training must find again. Files count by name."""
    require_type("data", data, Split, "a Split")
    labels, images = blake2b("\n".join(data.classes).encode(), digest_size=8), blake2b(digest_size=8)
    for part in data.parts.values():
        labels.update(part.labels.numpy().tobytes())
        images.update(part.content())
    return {
        **{f"{name} images": len(images) for name, images in data.parts.items()},
        "classes": len(data.classes),
        "names and labels": labels.hexdigest(),
        "pixels or files": images.hexdigest(),
    }


def balanced(labels: Tensor, per_class: int) -> Tensor:
    """Indices of the first `per_class` images of each class, in ascending order.

    >>> balanced(torch.tensor([1, 0, 1, 1, 0]), 1)
    tensor([0, 1])
    """
    firsts = [torch.nonzero(labels == label).flatten()[:per_class] for label in labels.unique()]
    return torch.cat(firsts).sort().values
