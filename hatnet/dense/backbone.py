"""The pyramid below every dense model, and the weights of a classification network for it."""

import os
from collections.abc import Mapping, Sequence
from math import log2
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock

from hatnet.checks import require_type, require_whole, shown
from hatnet.config import MOST, HATNetConfig, require_config
from hatnet.network import Backbone
from hatnet.torchvision import FPNBackbone
from hatnet.weights.checkpoints import require_match, require_numbers
from hatnet.weights.source import Source, find_source
from hatnet.weights.tensor_file import CheckpointError

CHANNELS = 256  # the width: channels of every map of the pyramid, in all three models of the paper
MOST_CLASSES = 20_000  # a head has up to 20,736 parameters per class; the largest detection data has 13,204 classes


def pyramid(
    config: HATNetConfig, stages: Sequence[int], width: int, extra_blocks: ExtraFPNBlock | None = None
) -> FPNBackbone:
    """A HAT-Net with fresh weights, without its classifier, and a pyramid of `width` channels on maps of `stages`."""
    body = Backbone(config)
    body.reset_parameters()
    return FPNBackbone(body, stages, width, extra_blocks)


def require_width(width: object) -> None:
    """Raise a ValueError unless a pyramid can have this number of channels; the head of Semantic FPN has half of it."""
    if require_whole("width", width, 2, MOST["channels"]) % 2:
        raise ValueError(f"width={width} must be even, since the head of Semantic FPN has half as many channels")


def require_dense(config: HATNetConfig, fewest_stages: int = 1) -> None:
    """Raise a ValueError unless a dense model can be built on this network."""
    require_config(config)
    if config.num_classes > MOST_CLASSES:
        raise ValueError(f"num_classes={config.num_classes} must be at most {MOST_CLASSES:,} for dense prediction")
    if len(config.stages) < fewest_stages:
        raise ValueError(f"{config.name!r} has {len(config.stages)} stages; this model needs {fewest_stages} or more")
    if fewest_stages > 1 and not log2(config.stages[0].stride).is_integer():
        raise ValueError(
            f"stem_strides={config.stem_strides} must be powers of two: torchvision crops regions by such strides"
        )


def load_backbone(model: nn.Module, weights: str | os.PathLike[str] | Mapping[str, Tensor]) -> tuple[str, ...]:
    """Copy the weights of a classification network into the backbone of a dense model.

    Args:
        model: a `SemanticFPN`, a `RetinaNet` or a `MaskRCNN`. Its heads and pyramid keep their weights.
        weights: a state dict of a `HATNet`, or what `weights_file` accepts: the name of weights in the package, a file
            (ours or the authors'), the folder of a training. Files also set the mean and std of `model.transform`.

    Returns the names of the parameters that are left out, those of the classifier. All others must match: raises
    CheckpointError (a ValueError) that lists what is missing, unexpected or of another shape, FileNotFoundError.

    >>> from hatnet import create_model
    >>> load_backbone(create_model("micro", task="segmentation", in_channels=1), "fashion-mnist")
    ('classifier.weight', 'classifier.bias')
    """
    body = _body(model)
    if isinstance(weights, Mapping):
        return _copy(weights, body, "the state dict")
    require_type("weights", weights, (str, os.PathLike), "a state dict, a text or a path")
    return load_source(model, find_source(weights if isinstance(weights, str) else Path(weights)))


def load_source(model: nn.Module, source: Source) -> tuple[str, ...]:
    """`load_backbone` of a network that was read already."""
    left_out = _copy(source.model.state_dict(), _body(model), source.name)
    transform: Any = model.transform
    transform.image_mean, transform.image_std = list(source.mean), list(source.std)
    return left_out


def _body(model: nn.Module) -> Backbone:
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, FPNBackbone):
        raise TypeError(f"model={shown(type(model).__name__)} must be a SemanticFPN, a RetinaNet or a MaskRCNN")
    return backbone.body


@torch.no_grad()
def _copy(tensors: Mapping[str, Tensor], body: Backbone, source: str) -> tuple[str, ...]:
    wrong = [name for name, tensor in tensors.items() if not isinstance(tensor, Tensor)]
    if wrong:
        raise CheckpointError(f"{source} must hold tensors only; {shown(wrong[0])} is none")
    left_out = tuple(name for name in tensors if str(name).startswith("classifier."))
    used = {str(name): tensor for name, tensor in tensors.items() if name not in left_out}
    require_match(used, {name: tuple(own.shape) for name, own in body.state_dict().items()}, {}, source)
    require_numbers(used, source)
    body.load_state_dict(used)
    return left_out
