"""The maps under test: (B, H, W) over the pixels of each image, high where a pixel counts as important."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Literal

import torch
from torch import Tensor, nn

from hatnet.maps import AttentionMaps, attention_maps
from hatnet.maps.memory import GIB
from hatnet.maps.rollout import through_convolution, through_stem
from hatnet.network import HATNet


@dataclass(frozen=True)
class MapInputs:
    """Everything a method may use to draw maps: a network, images, the classes to explain, and baselines."""

    model: HATNet  # in evaluation mode
    images: Tensor  # (B, C_in, H, W), normalised
    targets: Tensor  # the class to explain for each image, (B,)
    baselines: Tensor  # the baseline of each image, (B, C_in, H, W)
    generator: torch.Generator  # for random maps
    memory_limit: int = 2 * GIB  # bytes that attention weights and their gradients may take

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return (self.images.shape[2], self.images.shape[3])

    @cached_property
    def attention(self) -> AttentionMaps:
        """Attention maps of all images."""
        return attention_maps(self.model, self.images, self.memory_limit)

    @cached_property
    def gradient(self) -> Tensor:
        """Gradient of each image's logit with respect to its pixels, (B, C_in, H, W)."""
        images = self.images.clone().requires_grad_()
        logits = self.model(images).gather(1, self.targets[:, None])
        return torch.autograd.grad(logits.sum(), images)[0]


def class_map(inputs: MapInputs) -> Tensor:
    """Gradient-weighted attention rollout: `AttentionMaps.class_map`."""
    return torch.from_numpy(inputs.attention.class_map(inputs.targets.tolist(), pixels=True))


def rollout(inputs: MapInputs) -> Tensor:
    """Attention rollout, averaged over all tokens, as the classifier's input is. It does not depend on the class."""
    return torch.from_numpy(inputs.attention.rollout(pixels=True))


def last_attention(inputs: MapInputs) -> Tensor:
    """Attention of the last block, averaged over heads and queries and taken back to pixels as in rollout."""
    last = len(inputs.model.config.stages) - 1
    block = inputs.model.config.stages[last].depth - 1
    weights = torch.from_numpy(inputs.attention.weights[f"stages.{last}.blocks.{block}.attention.weights"])
    return to_pixels(inputs, weights.mean(dim=(1, 2)), last)  # (B, heads, HW, HW) -> (B, HW)


def gradient(inputs: MapInputs) -> Tensor:
    """Absolute gradient of the class's logit, averaged over channels."""
    return inputs.gradient.abs().mean(dim=1)


def gradient_input(inputs: MapInputs) -> Tensor:
    """Gradient times the difference to the baseline: the exact contribution of each pixel in a linear network."""
    return (inputs.gradient * (inputs.images - inputs.baselines)).sum(dim=1)


def grad_cam(model: HATNet, images: Tensor, targets: Tensor, stage: int) -> Tensor:
    r"""Grad-CAM (Selvaraju et al., arXiv:1610.02391): relevance of each token of a stage for a class.

    The gradient of the logit, averaged over the tokens, weights the channels of the stage's output A:
    $\text{ReLU}(\sum_k \text{mean}_{ij}(\partial z_c / \partial A_{kij})\, A_k)$. `targets` holds the class to
    explain for each image, (B,). The result is never negative: (B, C_in, H, W) -> (B, H', W'). Raises ValueError if
    Captum is not installed.
    """
    require_captum()
    from captum.attr import LayerGradCam

    with channels_first_output(model.stages[stage]) as output:
        relevance: Tensor = LayerGradCam(model, output).attribute(images, target=targets, relu_attributions=True)
    return relevance[:, 0].detach()


@contextmanager
def channels_first_output(stage: nn.Module) -> Iterator[nn.Module]:
    """Pass a stage's output through a module as (B, C, H, W), the layout that Captum expects, and yield the module."""
    output = nn.Identity()
    hook = stage.register_forward_hook(lambda _, __, y: output(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
    try:
        yield output
    finally:
        hook.remove()


def require_captum() -> None:
    """Raise ValueError if Captum, which computes Grad-CAM, is not installed."""
    if find_spec("captum") is None:
        raise ValueError(
            "Grad-CAM needs Captum: python -m pip install 'hatnet[studies]'; or leave grad-cam and grad-cam-early "
            "out of --methods"
        )


def grad_cam_last(inputs: MapInputs) -> Tensor:
    """Grad-CAM of the last stage, the usual choice, taken back to pixels as in rollout."""
    return _grad_cam_pixels(inputs, len(inputs.model.config.stages) - 1)


def grad_cam_early(inputs: MapInputs) -> Tensor:
    """Grad-CAM of the stage before the last, which has a finer map."""
    return _grad_cam_pixels(inputs, max(len(inputs.model.config.stages) - 2, 0))


def brightness(inputs: MapInputs) -> Tensor:
    """The image itself, a control that does not depend on the network."""
    return inputs.images.mean(dim=1)


def random_map(inputs: MapInputs) -> Tensor:
    """Uniform random numbers, a control that depends on nothing."""
    return torch.rand((len(inputs.images), *inputs.image_size), generator=inputs.generator)


def _grad_cam_pixels(inputs: MapInputs, stage: int) -> Tensor:
    return to_pixels(inputs, grad_cam(inputs.model, inputs.images, inputs.targets, stage).flatten(1), stage)


def to_pixels(inputs: MapInputs, maps: Tensor, stage: int) -> Tensor:
    """Take maps of a stage's tokens back through the convolutions to the pixels: (B, H'W') -> (B, H, W).

    Each token's value is spread over the pixels that the convolutions read. A uniform map stays uniform.
    """
    config, layouts = inputs.model.config, inputs.model.config.layout(*inputs.image_size)
    placed = maps.view(len(maps), *layouts[stage].map, 1)
    for layout in reversed(layouts[:stage]):
        placed = through_convolution(placed, layout.map, stride=2)
    return through_stem(placed, inputs.image_size, config.stem_strides)[..., 0]


@dataclass(frozen=True)
class Method:
    """One kind of map."""

    title: str  # in tables and figures
    kind: Literal["attention", "gradient", "control"]
    draw: Callable[[MapInputs], Tensor]  # -> (B, H, W)
    look: tuple[str, str]  # colour and marker in figures

    @property
    def needs_network(self) -> bool:
        """True if the map depends on the weights."""
        return self.kind != "control"

    @property
    def needs_gradients(self) -> bool:
        """True if the method needs gradients. The forward pass then keeps all activations."""
        return self.kind == "gradient" or self.draw is class_map


# The colours are Okabe and Ito's, which nearly all readers can tell apart; each map also has its own marker.
METHODS = {
    "class-map": Method("class map", "attention", class_map, ("#D55E00", "s")),
    "rollout": Method("rollout", "attention", rollout, ("#E69F00", "D")),
    "last-attention": Method("last block's attention", "attention", last_attention, ("#CC79A7", "v")),
    "grad-cam": Method("Grad-CAM (last stage)", "gradient", grad_cam_last, ("#0072B2", "^")),
    "grad-cam-early": Method("Grad-CAM (stage before)", "gradient", grad_cam_early, ("#56B4E9", "<")),
    "gradient-input": Method("gradient x input", "gradient", gradient_input, ("#009E73", "P")),
    "gradient": Method("absolute gradient", "gradient", gradient, ("#5E8F00", "X")),
    "brightness": Method("the image itself", "control", brightness, ("#8A8A8A", "d")),
    "random": Method("random", "control", random_map, ("#000000", "o")),
}
