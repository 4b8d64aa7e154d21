"""Build a network by name and task, with fresh weights or with trained ones, or load one from a file."""

import os
from typing import TYPE_CHECKING, Any, Literal, Unpack, overload

from hatnet.checks import require_choice, shown
from hatnet.config import TASKS, Overrides, get_config
from hatnet.network import HATNet
from hatnet.weights import checkpoints
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
    name: str,
    pretrained: _Weights = None,
    *,
    task: Literal["segmentation"],
    width: int = 256,
    **overrides: Unpack[Overrides],
) -> "SemanticFPN": ...


@overload
def create_model(
    name: str,
    pretrained: _Weights = None,
    *,
    task: Literal["detection"],
    width: int = 256,
    **overrides: Unpack[Overrides],
) -> "RetinaNet": ...


@overload
def create_model(
    name: str,
    pretrained: _Weights = None,
    *,
    task: Literal["instances"],
    width: int = 256,
    **overrides: Unpack[Overrides],
) -> "MaskRCNN": ...


def create_model(
    name: str,
    pretrained: Any = None,
    task: str = "classification",
    width: int | None = None,
    **overrides: Unpack[Overrides],
) -> "HATNet | SemanticFPN | RetinaNet | MaskRCNN":
    """A HAT-Net with fresh weights in training mode, or with trained weights in evaluation mode.

    Args:
        name: `tiny`, `small`, `medium`, `large` (Table 1 of the paper) or `micro` (ours, for images of 28 to 64
            pixels).
        pretrained: the name of trained weights that ship with the package: `fashion-mnist`, for `micro`; for dense
            tasks also `scenes-segmentation` and `scenes-instances`. They fix the configuration, except for what
            `change_windows` accepts (`grid_sizes`, `pool_sizes`, `stem_strides`, the drop rates). None draws fresh
            weights, the same after the same `torch.manual_seed`.
        task: `classification`, or a model of `hatnet.dense` (extra `train`): `segmentation` for a class per pixel
            (Semantic FPN), `detection` for boxes (RetinaNet), `instances` for boxes and masks (Mask R-CNN).
        width: of a dense model: channels of the pyramid, 256 in the paper; the heads scale along.
        overrides: fields of `HATNetConfig`, such as `num_classes`, `in_channels`, `grid_sizes` (G1), `pool_sizes` (G2)
            or `drop_path_rate`.

    In dense tasks G1 and G2 are those of `with_dense_windows` unless given, and `num_classes` are those of ADE20K (150)
    or COCO (80), without the background. `pretrained` are the name of weights, a file or the folder of a training. A
    model of the same task is loaded whole, in evaluation mode, as `load` does; then only windows, strides and drop
    rates can change. Classification weights (ours or the authors') are for the backbone: the heads are new, so the
    model is in training mode.

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

        return build(name, task, pretrained, width, dict(overrides))
    if width is not None:
        raise TypeError(f"width={shown(width)} is for dense tasks; a network for classification has no pyramid")
    config = get_config(name, **overrides)
    if pretrained is None:
        return HATNet(config)
    return load_pretrained(name, pretrained, overrides)


@overload
def load(path: str | os.PathLike[str], task: Literal["classification"] = "classification") -> HATNet: ...


@overload
def load(path: str | os.PathLike[str], task: Literal["segmentation"]) -> "SemanticFPN": ...


@overload
def load(path: str | os.PathLike[str], task: Literal["detection"]) -> "RetinaNet": ...


@overload
def load(path: str | os.PathLike[str], task: Literal["instances"]) -> "MaskRCNN": ...


def load(path: str | os.PathLike[str], task: str = "classification") -> "HATNet | SemanticFPN | RetinaNet | MaskRCNN":
    """Load a file that `save` wrote: the model in evaluation mode, in the file's dtype, on the CPU.

    `task` is that of the model, as in `create_model`; it also tells a type checker the class. Models that were saved in
    half precision, to be small, compute in it: `load(path).float()` computes in float32.

    Raises FileNotFoundError, or CheckpointError (a ValueError) if the file is damaged, of another kind or of a newer
    version, if it holds a model of another task, if parameters are missing or unexpected, of several dtypes or not
    finite; the message lists them. Sizes are compared before anything is built. ImportError if a dense task lacks
    torchvision.
    """
    require_choice("task", task, TASKS)
    if task == "classification":
        return checkpoints.load(path)
    from hatnet.dense.files import load_dense

    return load_dense(path, task)[0]
