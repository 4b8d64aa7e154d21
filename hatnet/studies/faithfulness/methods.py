"""The maps that are compared: (B, H, W) over the pixels of each image, high where the image is said to matter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from hatnet.config import nearest
from hatnet.maps import AttentionMaps, attention_maps
from hatnet.maps.memory import GIB
from hatnet.maps.rollout import through_convolution, through_stem
from hatnet.network import HATNet
from hatnet.studies.faithfulness.grad_cam import grad_cam


@dataclass(frozen=True)
class Asked:
    """What a map is asked for: which classes of which images, and against what."""

    model: HATNet  # in evaluation mode
    images: Tensor  # (B, C_in, H, W), normalised
    labels: Tensor  # the class of each that is to be explained, (B,)
    covered: Tensor  # the baseline of each image
    generator: torch.Generator  # of random maps
    limit: int = 2 * GIB  # bytes that attention weights, and gradients with them, may take

    @property
    def size(self) -> tuple[int, int]:
        """Of the images, in pixels."""
        return (self.images.shape[2], self.images.shape[3])

    @cached_property
    def attention(self) -> AttentionMaps:
        """Of all images."""
        return attention_maps(self.model, self.images, self.limit)

    @cached_property
    def gradient(self) -> Tensor:
        """Of each image's logit with respect to its pixels, (B, C_in, H, W)."""
        images = self.images.clone().requires_grad_()
        chosen = self.model(images).gather(1, self.labels[:, None])
        return torch.autograd.grad(chosen.sum(), images)[0]


def class_map(asked: Asked) -> Tensor:
    """Gradient-weighted attention, rolled out: `AttentionMaps.class_map`."""
    return torch.from_numpy(asked.attention.class_map(asked.labels.tolist(), pixels=True))


def rollout(asked: Asked) -> Tensor:
    """Attention rollout from the mean of all tokens, which is what the classifier is given; it knows no class."""
    return torch.from_numpy(asked.attention.rollout(pixels=True))


def last_attention(asked: Asked) -> Tensor:
    """Attention of the last block alone: the mean over heads and queries, taken back to pixels as rollout does it."""
    last = len(asked.model.config.stages) - 1
    block = asked.model.config.stages[last].depth - 1
    weights = torch.from_numpy(asked.attention.weights[f"stages.{last}.blocks.{block}.attention.weights"])
    return to_pixels(asked, weights.mean(dim=(1, 2)), last)  # (B, heads, HW, HW) -> (B, HW)


def gradient(asked: Asked) -> Tensor:
    """The gradient of the class's logit, absolute, the mean over channels."""
    return asked.gradient.abs().mean(dim=1)


def gradient_input(asked: Asked) -> Tensor:
    """Gradient times what a pixel has over the baseline: what each would contribute to a linear network."""
    return (asked.gradient * (asked.images - asked.covered)).sum(dim=1)


def cam(asked: Asked) -> Tensor:
    """Grad-CAM of the last stage, as is usual, taken back to pixels as rollout does it."""
    return _cam(asked, len(asked.model.config.stages) - 1)


def early_cam(asked: Asked) -> Tensor:
    """Grad-CAM of the stage before the last, whose map is finer."""
    return _cam(asked, max(len(asked.model.config.stages) - 2, 0))


def brightness(asked: Asked) -> Tensor:
    """The image itself; it knows no network."""
    return asked.images.mean(dim=1)


def chance(asked: Asked) -> Tensor:
    """A random map."""
    return torch.rand((len(asked.images), *asked.size), generator=asked.generator)


def _cam(asked: Asked, stage: int) -> Tensor:
    return to_pixels(asked, grad_cam(asked.model, asked.images, asked.labels, stage).flatten(1), stage)


def to_pixels(asked: Asked, maps: Tensor, stage: int) -> Tensor:
    """Maps of a stage's tokens (B, HW), taken back through the convolutions by where they look; even ones stay even."""
    config, layouts = asked.model.config, asked.model.config.layout(*asked.size)
    placed = maps.view(len(maps), *layouts[stage].map, 1)
    for layout in reversed(layouts[:stage]):
        placed = through_convolution(placed, layout.map, stride=2)
    return through_stem(placed, asked.size, config.stem_strides)[..., 0]


@dataclass(frozen=True)
class Method:
    """One kind of map."""

    title: str
    kind: Literal["attention", "gradient", "control"]
    draw: Callable[[Asked], Tensor]

    @property
    def needs_network(self) -> bool:
        """Whether it changes with the weights."""
        return self.kind != "control"

    @property
    def needs_gradients(self) -> bool:
        """Whether the network runs backward for it, for which all maps between its layers are kept."""
        return self.kind == "gradient" or self.draw is class_map


METHODS = {
    "class-map": Method("class map", "attention", class_map),
    "rollout": Method("rollout", "attention", rollout),
    "last-attention": Method("last block's attention", "attention", last_attention),
    "grad-cam": Method("Grad-CAM (last stage)", "gradient", cam),
    "grad-cam-early": Method("Grad-CAM (stage before)", "gradient", early_cam),
    "gradient-input": Method("gradient x input", "gradient", gradient_input),
    "gradient": Method("absolute gradient", "gradient", gradient),
    "brightness": Method("the image itself", "control", brightness),
    "random": Method("random", "control", chance),
}


def check_methods(names: Sequence[str]) -> None:
    """Raise a ValueError for an unknown name, or one that comes twice."""
    for name in names:
        if name not in METHODS:
            raise ValueError(f"unknown method {name!r}{nearest(name, METHODS)}; known: {', '.join(METHODS)}")
    if not names or len(set(names)) < len(names):
        raise ValueError(f"methods={tuple(names)} must hold at least one, and none twice")
