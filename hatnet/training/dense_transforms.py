"""Images and labels of the dense tasks: resized, cropped and flipped together, with the transforms of torchvision.

A label is a mask of classes, or the objects of an image, as `hatnet.data.images.Images` describes. Pixels are scaled to
[0, 1] and not normalised, since dense models do that themselves.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from hatnet.training.recipes import Recipe


class RandomViews:
    """Training images: a random scale and crop, if the recipe has scales, a random flip, and distorted colours.

    Args:
        recipe: its `scales`, `image_size`, `flip` and `distort`.
        first: transforms before.
        outside: value of mask pixels outside an image that is smaller than the crop.
        last: transforms after.
    """

    def __init__(self, recipe: Recipe, *first: nn.Module, outside: int = 0, last: tuple[nn.Module, ...] = ()) -> None:
        steps = [*first]
        if recipe.scales is not None:
            side, (low, high) = recipe.image_size, recipe.scales
            fill = {tv_tensors.Image: 0, tv_tensors.Mask: outside}
            steps += [
                v2.RandomResize(round(low * side), round(high * side) + 1, antialias=True),
                v2.RandomCrop(side, pad_if_needed=True, fill=fill),
            ]
        if recipe.flip:
            steps.append(v2.RandomHorizontalFlip())
        if recipe.distort:
            steps.append(v2.RandomPhotometricDistort())
        self.steps = v2.Compose([*steps, *last, v2.ToDtype(torch.float32, scale=True)])

    def __call__(self, image: Tensor, label: Any) -> tuple[Tensor, Any]:
        """(C_in, H, W) uint8 and a label -> (C_in, size, size) float32 in [0, 1], and the label of the crop."""
        image, label = self.steps(tv_tensors.Image(image), label)
        return plain(image), plain(label)


class WholeImage:
    """Test images: as they are, or with a shorter side of `side` pixels. Labels keep their size."""

    def __init__(self, side: int | None = None) -> None:
        steps: list[nn.Module] = [] if side is None else [v2.Resize(side, antialias=True)]
        self.steps = v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True)])

    def __call__(self, image: Tensor, label: Any) -> tuple[Tensor, Any]:
        """(C_in, H, W) uint8 and a label -> the image as float32 in [0, 1], and the same label."""
        return plain(self.steps(tv_tensors.Image(image))), plain(label)


class ObjectsToLearn(nn.Module):
    """What a detector is trained with: boxes, labels and, if it needs them, masks."""

    def __init__(self, masks: bool) -> None:
        super().__init__()
        self.names = ("boxes", "labels", "masks") if masks else ("boxes", "labels")

    def forward(self, image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """An image and its objects -> the same image, and its objects without further facts."""
        return image, {name: target[name] for name in self.names}


class VisibleObjects(nn.Module):
    """Leave out objects whose box is in the crop, but no pixel of their mask; torchvision looks at boxes only."""

    def forward(self, image: Tensor, target: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """An image and its objects, cut -> the same image, and the objects in it."""
        if "masks" not in target:
            return image, target
        keep = target["masks"].flatten(1).bool().any(1)
        return image, {name: value[keep] for name, value in target.items()}


def plain(label: Any) -> Any:
    """Tensors without the types of torchvision, which the pinned memory of a GPU does not keep."""
    if isinstance(label, dict):
        return {name: plain(value) for name, value in label.items()}
    return label.as_subclass(Tensor)
