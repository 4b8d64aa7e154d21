"""Build a network by name and task, with fresh weights or with trained ones."""

import os
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from hatnet.checks import require_choice
from hatnet.config import TASKS, Overrides, get_config
from hatnet.network import HATNet
from hatnet.weights.pretrained import load_pretrained

if TYPE_CHECKING:
    from hatnet.dense import MaskRCNN, RetinaNet, SemanticFPN

_Weights = str | os.PathLike[str] | None


@overload
def create_model(
    name: str,
    pretrained: str | None = None,
    task: Literal["classification"] = "classification",
    **overrides: Unpack[Overrides],
) -> HATNet: ...


@overload
def create_model(
    name: str, pretrained: _Weights = None, *, task: Literal["segmentation"], **overrides: Unpack[Overrides]
) -> "SemanticFPN": ...


@overload
def create_model(
    name: str, pretrained: _Weights = None, *, task: Literal["detection"], **overrides: Unpack[Overrides]
) -> "RetinaNet": ...


@overload
def create_model(
    name: str, pretrained: _Weights = None, *, task: Literal["instances"], **overrides: Unpack[Overrides]
) -> "MaskRCNN": ...


def create_model(
    name: str, pretrained: Any = None, task: str = "classification", **overrides: Unpack[Overrides]
) -> "HATNet | SemanticFPN | RetinaNet | MaskRCNN":
    """A HAT-Net with fresh weights in training mode, or with trained weights in evaluation mode.

    Args:
        name: `tiny`, `small`, `medium`, `large` (Table 1 of the paper) or `micro` (ours, for images of 28 to 64
            pixels).
        pretrained: the name of trained weights that ship with the package: `fashion-mnist`, for `micro`. They fix the
            configuration, except for what `change_windows` accepts (`grid_sizes`, `pool_sizes`, `stem_strides`, the
            drop rates). None draws fresh weights, the same after the same `torch.manual_seed`.
        task: `classification`, or a model of `hatnet.dense` (extra `train`): `segmentation` for a class per pixel
            (Semantic FPN), `detection` for boxes (RetinaNet), `instances` for boxes and masks (Mask R-CNN).
        overrides: fields of `HATNetConfig`, such as `num_classes`, `in_channels`, `grid_sizes` (G1), `pool_sizes` (G2)
            or `drop_path_rate`.

    In dense tasks G1 and G2 are those of `with_dense_windows` unless given, and `num_classes` are those of ADE20K (150)
    or COCO (80), without the background. `pretrained` are classification weights for the backbone, by name or as a file
    (ours or the authors') or the folder of a training; the heads are new, so the model is in training mode.

    Raises ValueError for unknown or impossible values, TypeError if an override is not a field of `HATNetConfig`,
    ImportError if a dense task lacks torchvision; for `pretrained` the errors of `load` and `load_official`.

    >>> import torch
    >>> model = create_model("micro", in_channels=1)
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    >>> create_model("micro", task="segmentation", num_classes=5)(torch.zeros(2, 3, 40, 60)).shape
    torch.Size([2, 5, 40, 60])
    """
    require_choice("task", task, TASKS)
    if task != "classification":
        from hatnet.dense.build import build

        return build(name, task, pretrained, dict(overrides))
    config = get_config(name, **overrides)
    if pretrained is None:
        return HATNet(config)
    return load_pretrained(name, pretrained, overrides)
