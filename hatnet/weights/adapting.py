"""Fit trained weights to data with other channels or another order of classes: the first convolution, the classifier.

Nothing is trained here: the adapted network computes what the original one computed, as far as each function states.
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
    r"""A grey layer for colour images: its kernel in shares of 0.299, 0.587 and 0.114, its mean and std three times.

    The shares sum to one, so $\sum_c s_c w (x_c - m) / d = w (\sum_c s_c x_c - m) / d$. A colour image gives what its
    grey version gave, exactly where R = G = B, and otherwise up to Pillow's rounding of grey to whole numbers.
    """
    shares = torch.tensor(LUMA, dtype=torch.float64).view(1, 3, 1, 1)
    weight = (layer.weight.double() * shares).to(layer.weight.dtype)
    return FirstLayer(weight, layer.bias, 3 * layer.mean, 3 * layer.std)


def for_grey(layer: FirstLayer) -> FirstLayer:
    r"""A colour layer for grey images: the sum of its kernels, each scaled by $d / d_c$, with a corrected bias.

    With the averages $m$ and $d$ of the channels' means $m_c$ and deviations $d_c$,
    $\sum_c w_c (x - m_c) / d_c = \sum_c w_c (d / d_c) (x - m) / d + \sum_c w_c (m - m_c) / d_c$. The last term is the
    correction of the bias, summed over the kernel. A grey image gives what it gave as R = G = B, exactly except in the
    outermost rows and columns: there the kernel covers padding, for which the correction is not due. It is exact
    everywhere if all $m_c$ are equal.
    """
    mean, std = torch.tensor(layer.mean, dtype=torch.float64), torch.tensor(layer.std, dtype=torch.float64)
    weight, scale = layer.weight.double(), (1 / std).view(1, 3, 1, 1)
    shift = (weight * scale * (mean.mean() - mean).view(1, 3, 1, 1)).sum(dim=(1, 2, 3))
    kernel = (weight * scale * std.mean()).sum(dim=1, keepdim=True)
    dtype = layer.weight.dtype
    means = (float(mean.mean()),), (float(std.mean()),)
    return FirstLayer(kernel.to(dtype), (layer.bias.double() + shift).to(dtype), *means)


def rows_of_classes(theirs: Sequence[str], ours: Sequence[str]) -> list[int] | None:
    """For each of our classes its row in their classifier; None unless both name the same classes.

    >>> rows_of_classes(("cat", "dog"), ("dog", "cat"))
    [1, 0]
    """
    if sorted(theirs) != sorted(ours) or len(set(ours)) < len(ours):
        return None
    return [list(theirs).index(name) for name in ours]
