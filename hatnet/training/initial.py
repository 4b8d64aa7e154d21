"""The weights that training starts from."""

from __future__ import annotations

from math import sqrt
from pathlib import Path

from torch import nn

from hatnet.checkpoints import is_ours, load, require_match
from hatnet.network import HATNet
from hatnet.official import load_official


def fan_in(model: HATNet) -> None:
    r"""Draw every matrix and kernel anew, truncated normal with standard deviation $1/\sqrt{\text{fan-in}}$.

    The authors' 0.02 is close to that for the widths of the published variants (0.02 is $1/\sqrt{2500}$, they have 48
    to 2560 inputs), but far below it for the few channels of a small network, which then starts slowly. The classifier
    keeps its small weights, so that the first predictions are even.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and module is not model.classifier:
            nn.init.trunc_normal_(module.weight, std=1 / sqrt(module.weight[0].numel()))


def start_from(model: HATNet, path: Path) -> bool:
    """Take over trained weights, ours or the authors'. A classifier of other classes keeps its fresh ones.

    Returns:
        Whether the classifier was taken over too.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is damaged, or of another network; what differs is listed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights to start from at {path}: train them first, or give --weights another file")
    trained = (load(path) if is_ours(path) else load_official(path)).state_dict()
    fresh = model.state_dict()
    same_classes = trained["classifier.bias"].shape == fresh["classifier.bias"].shape
    if not same_classes:
        trained |= {name: fresh[name] for name in ("classifier.weight", "classifier.bias")}
    require_match(trained, {name: tuple(tensor.shape) for name, tensor in fresh.items()}, {}, str(path))
    model.load_state_dict(trained)
    return same_classes
