"""A picture of scenes: each as it is, and below with its masks, boxes and classes."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from hatnet.data.images import Images

if TYPE_CHECKING:
    from PIL import Image

COLUMNS, ROWS = 6, 2  # of scenes
SIDE = 224  # pixels of a scene
MARGIN = 4


def contact_sheet(images: Images, classes: tuple[str, ...]) -> Image.Image:
    """The first scenes of a data set of objects with masks, each twice."""
    from PIL import Image

    count = min(COLUMNS * ROWS, len(images))
    columns, rows = min(COLUMNS, count), -(-count // COLUMNS)
    sheet = Image.new("RGB", (columns * (SIDE + MARGIN) + MARGIN, rows * 2 * (SIDE + MARGIN) + MARGIN), "white")
    for index in range(count):
        left, top = index % COLUMNS * (SIDE + MARGIN) + MARGIN, index // COLUMNS * 2 * (SIDE + MARGIN) + MARGIN
        scene, target = images.image(index), images.label(index)
        sheet.paste(_picture(_enlarged(scene)), (left, top))
        sheet.paste(_picture(_annotated(scene, target, classes)), (left, top + SIDE + MARGIN))
    return sheet


def _annotated(scene: Tensor, target: dict[str, Tensor], classes: tuple[str, ...]) -> Tensor:
    """Masks in the colours of their classes, with boxes and names."""
    from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

    picture, labels = _enlarged(scene), target["labels"].tolist()
    if not labels:
        return picture
    colours = [_colour(label - 1, len(classes)) for label in labels]
    masks = _enlarged(target["masks"].as_subclass(Tensor)).bool()
    picture = draw_segmentation_masks(picture, masks, alpha=0.45, colors=colours)
    boxes = target["boxes"].as_subclass(Tensor) * (SIDE / scene.shape[-1])
    names = [classes[label - 1] for label in labels]
    return draw_bounding_boxes(
        picture, boxes, names, colours, width=2, label_colors="black", label_background_colors=colours
    )


def _enlarged(channels: Tensor) -> Tensor:
    """(C, H, W) -> (C, SIDE, SIDE), without smoothing."""
    return torch.nn.functional.interpolate(channels[None], (SIDE, SIDE))[0]


def _colour(label: int, classes: int) -> tuple[int, ...]:
    return tuple(round(255 * value) for value in hsv_to_rgb(label / classes, 0.8, 1.0))


def _picture(pixels: Tensor) -> Image.Image:
    from PIL import Image

    return Image.fromarray(pixels.permute(1, 2, 0).numpy())
