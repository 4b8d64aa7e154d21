"""Coordinates and scores in float32, whatever the network computes in.

torchvision computes anchors, boxes and scores in the type of the maps. bfloat16, the default for training on a GPU,
rounds a coordinate near 1000 to a multiple of 4 pixels, and has only 129 values from 0.5 to 1 for scores. So a detector
computes its layers and maps in the requested type, but anchors, boxes and scores in at least float32.
"""

from typing import Any

import torch
from torch import Tensor, nn

NARROW = (torch.float16, torch.bfloat16)


def keep_coordinates(*heads: nn.Module, anchors: nn.Module) -> None:
    """Convert the outputs of `heads` to float32, and make the generator of `anchors` see float32 maps."""
    for head in heads:
        head.register_forward_hook(_widen_outputs)
    anchors.register_forward_pre_hook(_take_for_wide)


def widened(values: Any) -> Any:
    """float16 and bfloat16 tensors as float32, also inside lists, tuples and dicts; other tensors unchanged."""
    if isinstance(values, Tensor):
        return values.float() if values.dtype in NARROW else values
    if isinstance(values, dict):
        return {name: widened(value) for name, value in values.items()}
    return type(values)(widened(value) for value in values)


def _widen_outputs(_: nn.Module, __: Any, outputs: Any) -> Any:
    return widened(outputs)


def _take_for_wide(_: nn.Module, given: tuple[Any, list[Tensor]]) -> tuple[Any, list[Tensor]]:
    """float32 stand-ins for the maps that take no memory: anchors depend only on shape, dtype and device."""
    images, maps = given
    return images, [widened(map.new_zeros(())).expand(map.shape) for map in maps]
