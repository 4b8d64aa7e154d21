"""Models by name: with fresh weights, or with those that ship with the package."""

from __future__ import annotations

from hatnet.config import get_config
from hatnet.network import HATNet
from hatnet.weights.pretrained import load_pretrained


def create_model(name: str, pretrained: str | None = None, **overrides: object) -> HATNet:
    """A HAT-Net with fresh weights (`torch.manual_seed` makes them repeatable), in training mode.

    Args:
        name: `tiny`, `small`, `medium`, `large` (Table 1 of the paper) or `micro` (ours, for images of 28 to 64 pixels)
        pretrained: weights that come with this package, and then in evaluation mode: `fashion-mnist` for `micro`. They
            fix the configuration, with strides of the stem that keep every pixel; only what holds no parameters can be
            changed (`grid_sizes`, `pool_sizes`, the drop rates).
        overrides: fields of `HATNetConfig`, such as `num_classes`, `in_channels`, `grid_sizes` (G1), `pool_sizes` (G2)
            or `drop_path_rate`.

    Raises:
        ValueError: for an unknown variant, weights that don't exist, or values that describe no network.
        TypeError: for an unknown override.

    >>> import torch
    >>> model = create_model("micro", in_channels=1)
    >>> model(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """
    config = get_config(name, **overrides)
    if pretrained is None:
        return HATNet(config)
    return load_pretrained(name, pretrained, overrides)
