"""What a data set is to the rest of the project: two parts, and the facts about them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol

import torch
from torch import Tensor


class DataError(ValueError):
    """Data is missing, damaged or not what it says; the message says what to do."""


class Images(Protocol):
    """Some images with labels. They differ in size where they come from files."""

    @property
    def labels(self) -> Tensor:
        """(images,), int64."""
        ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> Tensor:
        """One image, (C_in, H, W), uint8."""
        ...

    def content(self) -> bytes:
        """What tells these images from others of as many: their pixels, or the names of their files."""
        ...


@dataclass(frozen=True)
class ImageTensor:
    """Images in memory, all of one size: (images, C_in, H, W), uint8."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def image(self, index: int) -> Tensor:
        """One image, (C_in, H, W), uint8: a view."""
        return self.pixels[index]

    def content(self) -> bytes:
        """All pixels."""
        return self.pixels.numpy().tobytes()

    def part(self, indices: Tensor) -> ImageTensor:
        """Those images alone, in that order."""
        return ImageTensor(self.pixels[indices], self.labels[indices])


@dataclass(frozen=True)
class Split:
    """A data set: images to learn from, images to be tested on, and what a checkpoint has to remember of it.

    Raises DataError where labels and classes don't fit.
    """

    name: str
    train: Images
    test: Images
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # of pixels in [0, 1], one entry a channel
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        for part, images in (("training", self.train), ("test", self.test)):
            if not len(images):
                raise DataError(f"{self.name} has no {part} images")
            low, high = int(images.labels.min()), int(images.labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"{self.name} has a {part} label {high if high >= len(self.classes) else low}, but its "
                    f"{len(self.classes)} classes are numbered from 0 to {len(self.classes) - 1}"
                )

    @property
    def channels(self) -> int:
        """C_in: 1 for grey images, 3 for colour."""
        return len(self.mean)


def fingerprint(data: Split) -> dict[str, int | str]:
    """What a training that goes on must find as it left it: the images, their classes and their order.

    Of images in files the names count, not the pixels, for which a million files would have to be read.
    """
    labels, images = blake2b("\n".join(data.classes).encode(), digest_size=8), blake2b(digest_size=8)
    for part in (data.train, data.test):
        labels.update(part.labels.numpy().tobytes())
        images.update(part.content())
    return {
        "training images": len(data.train),
        "test images": len(data.test),
        "classes": len(data.classes),
        "names and labels": labels.hexdigest(),
        "pixels or files": images.hexdigest(),
    }


def balanced(labels: Tensor, per_class: int) -> Tensor:
    """Indices of the first `per_class` images of every class, in their order.

    >>> balanced(torch.tensor([1, 0, 1, 1, 0]), 1)
    tensor([0, 1])
    """
    firsts = [torch.nonzero(labels == label).flatten()[:per_class] for label in labels.unique()]
    return torch.cat(firsts).sort().values
