"""From an image as it is stored to what a network takes, with torchvision's transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hatnet.data.image_file import size_of_image
from hatnet.data.image_folder import ImageFolder
from hatnet.data.images import DataError, Images, ImageTensor, Split

if TYPE_CHECKING:
    from hatnet.training.recipes import Recipe

Transform = Callable[[Tensor], Tensor]  # (C_in, H, W) uint8 -> (C_in, size, size) float32
Mixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # images, labels -> images, (B, classes) label distributions


def for_training(recipe: Recipe, data: Split) -> Transform:
    """Augmentation as the recipe says, then pixels with mean 0 and standard deviation 1."""
    from torchvision.transforms import InterpolationMode, v2

    size = recipe.image_size
    steps: list[torch.nn.Module] = []
    if recipe.crop_padding is None:
        steps.append(v2.RandomResizedCrop(size, interpolation=InterpolationMode.BICUBIC, antialias=True))
    elif recipe.crop_padding:
        steps.append(v2.RandomCrop(size, padding=recipe.crop_padding))
    if recipe.flip:
        steps.append(v2.RandomHorizontalFlip())
    if recipe.rand_augment:
        steps.append(v2.RandAugment(magnitude=recipe.rand_augment, interpolation=InterpolationMode.BILINEAR))
    steps += _normalised(data)
    if recipe.erasing:
        steps.append(v2.RandomErasing(recipe.erasing, value="random"))  # after normalisation: noise of variance 1
    return v2.Compose(steps)


def for_testing(recipe: Recipe, data: Split) -> Transform:
    """Small images as they are; of others the centre after a resize, as the paper tests."""
    from torchvision.transforms import InterpolationMode, v2

    size = recipe.image_size
    steps: list[torch.nn.Module] = []
    if recipe.crop_padding is None:
        steps.append(v2.Resize(int(256 / 224 * size), interpolation=InterpolationMode.BICUBIC, antialias=True))
        steps.append(v2.CenterCrop(size))
    return v2.Compose([*steps, *_normalised(data)])


def require_fit(recipe: Recipe, data: Split) -> None:
    """Images that are taken as they are must have the size that the recipe says, in both parts.

    Raises:
        DataError: naming the first size that is another.
    """
    if recipe.crop_padding is None:  # any size is resized
        return
    advice = f"give --crop-padding None to resize them (crop_padding={recipe.crop_padding} takes them as they are)"
    for images in (data.train, data.test):
        require_side(images, data.name, recipe.image_size, advice)


def require_side(images: Images, name: str, side: int, advice: str) -> None:
    """Every image must be `side` pixels high and wide.

    Of files only the headers are read, and those that can't be read are passed over.

    Args:
        images: of the data set `name`.
        name: for the message.
        side: in pixels, as the recipe's `image_size`.
        advice: for the message: what to do.

    Raises:
        DataError: naming the first size that is another.
    """
    for what, height, width in _sizes(images, name):
        if (height, width) != (side, side):
            raise DataError(f"{what} {height} x {width} pixels, image_size={side}: {advice}")


def mixing(recipe: Recipe, classes: int) -> Mixing | None:
    """Mixup, CutMix, or for each slice one of them; labels become a distribution over the classes. None for neither.

    An image is mixed with its neighbour in the slice.
    """
    from torchvision.transforms import v2

    mixes: list[v2.Transform] = []
    if recipe.mixup:
        mixes.append(v2.MixUp(alpha=recipe.mixup, num_classes=classes))
    if recipe.cutmix:
        mixes.append(v2.CutMix(alpha=recipe.cutmix, num_classes=classes))
    return v2.RandomChoice(mixes) if mixes else None


def _sizes(images: Images, name: str) -> Iterator[tuple[str, int, int]]:
    """Heights and widths, each after the words that name the images."""
    if isinstance(images, ImageTensor):
        yield (f"the images of {name} have", *images.pixels.shape[-2:])
    if isinstance(images, ImageFolder):
        for path in images.paths:
            try:
                size = size_of_image(path)
            except (OSError, ValueError):
                continue
            yield (f"{path} has", *size)


def _normalised(data: Split) -> list[torch.nn.Module]:
    from torchvision.transforms import v2

    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(data.mean), list(data.std))]
