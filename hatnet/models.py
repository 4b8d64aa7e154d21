"""Build a network by name, with fresh weights or with trained ones that ship with the package."""

from typing import Unpack

from hatnet.config import Overrides, get_config
from hatnet.network import HATNet
from hatnet.weights.pretrained import load_pretrained


def create_model(name: str, pretrained: str | None = None, **overrides: Unpack[Overrides]) -> HATNet:
    """A HAT-Net with fresh weights in training mode, or with trained weights in evaluation mode.

    Args:
        name: `tiny`, `small`, `medium`, `large` (Table 1 of the paper) or `micro` (ours, for images of 28 to 64
            pixels).
        pretrained: the name of trained weights that ship with the package: `fashion-mnist`, for `micro`. They fix the
            configuration, except for what `change_windows` accepts (`grid_sizes`, `pool_sizes`, `stem_strides`, the
            drop rates). None draws fresh weights, the same after the same `torch.manual_seed`.
        overrides: fields of `HATNetConfig`, such as `num_classes`, `in_channels`, `grid_sizes` (G1), `pool_sizes` (G2)
            or `drop_path_rate`.

    Raises ValueError for unknown or impossible values, TypeError if an override is not a field of `HATNetConfig`.

    >>> import torch
    >>> model = create_model("micro", in_channels=1)
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    config = get_config(name, **overrides)
    if pretrained is None:
        return HATNet(config)
    return load_pretrained(name, pretrained, overrides)
