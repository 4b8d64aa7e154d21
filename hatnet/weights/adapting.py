"""Adapt the first convolution to other channels, and the classifier to another order of classes.

Nothing is trained here: the adapted network computes what the original computed, within the limits that each function
states.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hatnet.weights.checkpoints import CheckpointError

LUMA = (0.299, 0.587, 0.114)  # shares of R, G and B in grey, ITU-R 601, as in Pillow's conversion


@dataclass(frozen=True)
class FirstLayer:
    """The stem's first convolution, and the normalisation of pixels in [0, 1] that it expects."""

    weight: Tensor  # (out, C_in, K, K)
    bias: Tensor  # (out,)
    mean: tuple[float, ...]  # one entry per channel
    std: tuple[float, ...]


def adapt(layer: FirstLayer, channels: int) -> FirstLayer:
    """The same layer for images with another number of channels: grey (1) to colour (3), or colour to grey.

    Raises CheckpointError for other numbers.
    """
    has = layer.weight.shape[1]
    if has == channels:
        return layer
    if (has, channels) == (1, 3):
        return for_colour(layer)
    if (has, channels) == (3, 1):
        return for_grey(layer)
    raise CheckpointError(
        f"the weights take images with {has} channels, the data has {channels}: "
        "only grey (1) and colour (3) can be exchanged"
    )


def for_colour(layer: FirstLayer) -> FirstLayer:
    r"""Adapt a grey layer to colour: split its kernel in shares of 0.299, 0.587 and 0.114; repeat its mean and std.

    The shares sum to one, so $\sum_c s_c w (x_c - m) / d = w (\sum_c s_c x_c - m) / d$. A colour image gives the
    same output as its grey version, exactly where R = G = B, else up to Pillow's rounding of grey to whole numbers.
    """
    shares = torch.tensor(LUMA, dtype=torch.float64).view(1, 3, 1, 1)
    weight = (layer.weight.double() * shares).to(layer.weight.dtype)
    return FirstLayer(weight, layer.bias, 3 * layer.mean, 3 * layer.std)


def for_grey(layer: FirstLayer) -> FirstLayer:
    r"""Adapt a colour layer to grey: sum its kernels, each scaled by $d / d_c$, and correct the bias.

    With the averages $m$ and $d$ of the channels' means $m_c$ and deviations $d_c$,
    $\sum_c w_c (x - m_c) / d_c = \sum_c w_c (d / d_c) (x - m) / d + \sum_c w_c (m - m_c) / d_c$. The last term,
    summed over the kernel, is the correction of the bias. A grey image gives the same output as before with R = G = B.
    In the outermost rows and columns this is only approximate, because the kernel covers padding, which needs no
    correction. It is exact everywhere if all $m_c$ are equal.
    """
    mean, std = torch.tensor(layer.mean, dtype=torch.float64), torch.tensor(layer.std, dtype=torch.float64)
    weight, scale = layer.weight.double(), (1 / std).view(1, 3, 1, 1)
    shift = (weight * scale * (mean.mean() - mean).view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    kernel = (weight * scale * std.mean()).sum(dim=1, keepdim=True)
    dtype = layer.weight.dtype
    means = (float(mean.mean()),), (float(std.mean()),)
    return FirstLayer(kernel.to(dtype), (layer.bias.double() + shift).to(dtype), *means)


def rows_of_classes(theirs: Sequence[str], ours: Sequence[str]) -> list[int] | None:
    """The row of each of our classes in their classifier; None unless both have the same classes.

    >>> rows_of_classes(("cat", "dog"), ("dog", "cat"))
    [1, 0]
    """
    if sorted(theirs) != sorted(ours) or len(set(ours)) < len(ours):
        return None
    return [list(theirs).index(name) for name in ours]
