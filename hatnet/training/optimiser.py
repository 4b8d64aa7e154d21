"""AdamW with parameter groups: weight decay for matrices only, one learning rate per layer, or the classifier alone."""

import re

import torch
from torch import nn

from hatnet.training.networks import BODY, Network, body_of
from hatnet.training.recipes import Recipe

BACKBONE = ("stem", "stages")  # the modules that are not the head


def freeze_backbone(model: Network) -> None:
    """Exclude the HAT-Net but its classifier from training; the pyramid and the heads of a dense model are trained.

    Call `backbone_in_evaluation_mode` after each `model.train()`.
    """
    for name in BACKBONE:
        getattr(body_of(model), name).requires_grad_(False)


def backbone_in_evaluation_mode(model: Network) -> None:
    """Turn off drop path and dropout in frozen layers."""
    for name in BACKBONE:
        getattr(body_of(model), name).eval()


def adamw(model: Network, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW for all parameters that are trained: weight decay for matrices and kernels, not for norms and biases.

    Each group has a `rate`, a factor of the schedule's learning rate: `layer_decay` to the power of the number of
    layers above the group, so 1 for the head.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    depth = sum(model.config.depths)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            rate = recipe.layer_decay ** (depth + 1 - layer_of(name, model.config.depths))
            groups.setdefault((rate, parameter.ndim <= 1), []).append(parameter)
    ordered = sorted(groups.items(), key=lambda item: item[0])  # with one rate: matrices, then vectors
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": 0.0 if is_vector else recipe.weight_decay, "rate": rate}
            for (rate, is_vector), parameters in ordered
        ],
        lr=recipe.lr,
        fused=True,
    )


def layer_of(name: str, depths: tuple[int, ...]) -> int:
    """The layer of a parameter: 0 for the stem, then block by block, and the head last.

    Downsampling belongs to the block after it, and the pyramid of a dense model to the head.

    >>> [layer_of(name, (2, 3)) for name in ("stem.norm.bias", "stages.1.blocks.0.mlp", "stages.1.downsample", "head")]
    [0, 3, 3, 6]
    """
    name = name.removeprefix(BODY)
    if name.startswith("stem."):
        return 0
    found = re.match(r"stages\.(\d+)\.(?:blocks\.(\d+)|downsample)", name)
    if found is None:
        return sum(depths) + 1
    return sum(depths[: int(found[1])]) + int(found[2] or 0) + 1
