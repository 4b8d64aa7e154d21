"""Turn a stored image into network input, with the transforms of torchvision."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor

from hatnet.data.image_file import size_of_image
from hatnet.data.image_folder import ImageFolder
from hatnet.data.images import DataError, Images, ImageTensor, Split

# (C_in, H, W) uint8 -> (C_in, size, size) float32. Given a label too, it returns both: a class as it is, a mask (a
# `tv_tensors.Mask`) cropped and flipped with its image.
Transform = Callable[..., Any]
Mixing = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # images, labels -> images, (B, classes) label distributions


class ImagePreparation(Protocol):
    """How images are prepared. A training recipe has these fields and explains them."""

    @property
    def image_size(self) -> int: ...
    @property
    def crop_padding(self) -> int | None: ...
    @property
    def flip(self) -> bool: ...
    @property
    def rand_augment(self) -> int: ...
    @property
    def erasing(self) -> float: ...
    @property
    def mixup(self) -> float: ...
    @property
    def cutmix(self) -> float: ...


class Statistics(Protocol):
    """Mean and standard deviation of pixels in [0, 1], one entry per channel: a data set has them, and weights do."""

    @property
    def mean(self) -> tuple[float, ...]: ...
    @property
    def std(self) -> tuple[float, ...]: ...


def for_training(recipe: ImagePreparation, data: Split) -> Transform:
    """Augment as the recipe says, then normalise pixels to mean 0 and standard deviation 1."""
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
    steps += _normalisation(data)
    if recipe.erasing:
        steps.append(v2.RandomErasing(recipe.erasing, value="random"))  # after normalisation: noise of variance 1
    return v2.Compose(steps)


def for_testing(recipe: ImagePreparation, data: Statistics) -> Transform:
    """Take small images as they are. Resize others and cut out the centre, as the paper does."""
    from torchvision.transforms import InterpolationMode, v2

    size, steps = recipe.image_size, _normalisation(data)
    if recipe.crop_padding is None:
        resize = v2.Resize(int(256 / 224 * size), interpolation=InterpolationMode.BICUBIC, antialias=True)
        steps = [resize, v2.CenterCrop(size), *steps]
    return v2.Compose(steps)


def for_prediction(recipe: ImagePreparation, data: Statistics) -> Transform:
    """`for_testing`, for images of any size: where it takes small images as they are, others are resized first.

    Their shorter side gets `image_size` pixels (bicubic, antialiased), and the square in the middle is cut out. Images
    of the right size stay bit-identical.
    """
    from torchvision.transforms import InterpolationMode, v2

    size, testing = recipe.image_size, for_testing(recipe, data)
    if recipe.crop_padding is None:
        return testing
    resize = v2.Resize(size, interpolation=InterpolationMode.BICUBIC, antialias=True)
    return v2.Compose([resize, v2.CenterCrop(size), testing])


def require_fit(recipe: ImagePreparation, data: Split) -> None:
    """Raise a DataError that names the first image of another size than the recipe's, unless images are resized."""
    if recipe.crop_padding is None:  # any size is resized
        return
    advice = f"give --crop-padding None to resize them (crop_padding={recipe.crop_padding} takes them as they are)"
    for images in data.parts.values():
        require_side(images, data.name, recipe.image_size, advice)


def require_side(images: Images, name: str, side: int, advice: str) -> None:
    """Raise a DataError, ending with `advice`, if an image of the data set `name` is not `side` x `side` pixels."""
    for what, height, width in _sizes(images, name):
        if (height, width) != (side, side):
            raise DataError(f"{what} {height} x {width} pixels, image_size={side}: {advice}")


def mixing(recipe: ImagePreparation, classes: int) -> Mixing | None:
    """Mix an image with its neighbour in the slice by mixup, CutMix, or one of the two per slice; None for neither."""
    from torchvision.transforms import v2

    mixes: list[v2.Transform] = []
    if recipe.mixup:
        mixes.append(v2.MixUp(alpha=recipe.mixup, num_classes=classes))
    if recipe.cutmix:
        mixes.append(v2.CutMix(alpha=recipe.cutmix, num_classes=classes))
    return v2.RandomChoice(mixes) if mixes else None


def _sizes(images: Images, name: str) -> Iterator[tuple[str, int, int]]:
    """The start of a sentence about an image, its height, its width. Only headers of readable files are read."""
    if isinstance(images, ImageTensor):
        yield (f"the images of {name} have", *images.pixels.shape[-2:])
    if isinstance(images, ImageFolder):
        for path in images.paths:
            try:
                size = size_of_image(path)
            except (OSError, ValueError):
                continue
            yield (f"{path} has", *size)


def _normalisation(data: Statistics) -> list[torch.nn.Module]:
    from torchvision.transforms import v2

    return [v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(data.mean), list(data.std))]
