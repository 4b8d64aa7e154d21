"""Coordinates and scores in float32, whatever the network computes in.

torchvision computes anchors, boxes and scores in the type of the maps. bfloat16, in which a GPU trains by default,
rounds a coordinate near 1000 to 4 pixels, and has 129 numbers for all scores from 0.5 to 1. So a detector computes its
maps and layers in the type that was asked for, and everything after them in float32 at least.
"""

from typing import Any

import torch
from torch import Tensor, nn

NARROW = (torch.float16, torch.bfloat16)


def keep_coordinates(*heads: nn.Module, anchors: nn.Module) -> None:
    """Widen what `heads` return, and let the generator of `anchors` take the maps for wide ones."""
    for head in heads:
        head.register_forward_hook(_widen_outputs)
    anchors.register_forward_pre_hook(_take_for_wide)


def widened(values: Any) -> Any:
    """Tensors of 16 bits as float32, also in lists, tuples and tables; other tensors as they are."""
    if isinstance(values, Tensor):
        return values.float() if values.dtype in NARROW else values
    if isinstance(values, dict):
        return {name: widened(value) for name, value in values.items()}
    return type(values)(widened(value) for value in values)


def _widen_outputs(_: nn.Module, __: Any, outputs: Any) -> Any:
    return widened(outputs)


def _take_for_wide(_: nn.Module, given: tuple[Any, list[Tensor]]) -> tuple[Any, list[Tensor]]:
    """Maps of the same shapes without memory: only shape, type and device decide where anchors are."""
    images, maps = given
    return images, [widened(map.new_zeros(())).expand(map.shape) for map in maps]
