"""The weights that training starts from."""

from __future__ import annotations

from math import sqrt

from torch import nn

from hatnet.network import HATNet


def fan_in(model: HATNet) -> None:
    r"""Draw every matrix and kernel anew, truncated normal with standard deviation $1/\sqrt{\text{fan-in}}$.

    The authors' 0.02 is close to that for the widths of the published variants (0.02 is $1/\sqrt{2500}$, they have 48
    to 2560 inputs), but far below it for the few channels of a small network, which then starts slowly. The classifier
    keeps its small weights, so that the first predictions are even.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and module is not model.classifier:
            nn.init.trunc_normal_(module.weight, std=1 / sqrt(module.weight[0].numel()))
