"""Coordinates and scores in float32, whatever the network computes in.

torchvision computes anchors, boxes and scores in the type of the maps. bfloat16, the default for training on a GPU,
rounds a coordinate near 1000 to a multiple of 4 pixels, and has only 129 values from 0.5 to 1 for scores. So a detector
computes its layers, maps and masks in the requested type, but anchors, boxes and scores in at least float32.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

NARROW = (torch.float16, torch.bfloat16)


@contextmanager
def exact_coordinates(
    anchors: nn.Module, heads: Sequence[nn.Module], poolings: Sequence[nn.Module] = ()
) -> Iterator[None]:
    """Let the parts of a detector exchange float32 during one pass.

    The generator of `anchors` sees float32 maps, `heads` return float32 logits and offsets, and `poolings` crop float32
    maps at float32 boxes, and return crops in the type of the maps. Afterwards the parts are as before: a user may have
    exchanged them since the last pass, or use them in another model.
    """
    with ExitStack() as hooks:
        hooks.enter_context(anchors.register_forward_pre_hook(_take_stand_ins))
        for head in heads:
            hooks.enter_context(head.register_forward_hook(_widen_outputs))
        for pooling in poolings:
            hooks.enter_context(_exact_crops(pooling))
        yield


def widened(values: Any) -> Any:
    """float16 and bfloat16 tensors as float32, also inside lists, tuples and dicts; everything else unchanged."""
    if isinstance(values, Tensor):
        return values.float() if values.dtype in NARROW else values
    if isinstance(values, Mapping):
        return {name: widened(value) for name, value in values.items()}
    if isinstance(values, tuple) and hasattr(values, "_fields"):
        return type(values)(*map(widened, values))
    return type(values)(map(widened, values)) if type(values) in (list, tuple) else values


def _widen_outputs(_: nn.Module, __: Any, outputs: Any) -> Any:
    return widened(outputs)


def _take_stand_ins(_: nn.Module, given: tuple[Any, list[Tensor]]) -> tuple[Any, list[Tensor]]:
    """float32 stand-ins for the maps that take no memory: anchors depend only on shape, dtype and device."""
    images, maps = given
    return images, [widened(map.new_zeros(())).expand(map.shape) for map in maps]


@contextmanager
def _exact_crops(pooling: nn.Module) -> Iterator[None]:
    types = []

    def widen(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        maps, *places = given
        types.append(next(iter(maps.values())).dtype)
        return widened(maps), *places

    def restore(_: nn.Module, __: Any, crops: Tensor) -> Tensor:
        return crops.to(types.pop())

    with pooling.register_forward_pre_hook(widen), pooling.register_forward_hook(restore):
        yield
