r"""Occlusion: the drop of the class's logit when one patch is covered, $s_p = z_c(x) - z_c(x \text{ without } p)$.

Maps are compared with it by Spearman's rank correlation (SciPy, extra `studies`).
"""

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hatnet.studies.faithfulness.curves import Output
from hatnet.studies.faithfulness.patches import patch_means, replace_patches


def occlusion(logit: Output, images: Tensor, baselines: Tensor, patch: int) -> Tensor:
    """Drop of the logit when a patch of `patch` pixels a side is covered by the baseline: (B, C_in, H, W) -> (B, P).

    It is negative if covering the patch raises the logit.
    """
    patches = patch_means(images[:, 0], patch).shape[1]
    whole = logit(images)
    one = torch.eye(patches, dtype=torch.bool)
    drops = [
        whole - logit(replace_patches(images, baselines, one[p].expand(len(images), -1), patch)) for p in range(patches)
    ]
    return torch.stack(drops, dim=1)


def rank_correlation(one: ArrayLike, other: ArrayLike) -> float:
    """Correlate the ranks of two lists of values; the result lies between -1 and 1.

    A constant list has no order. Its correlation counts as 0 here, where SciPy warns and returns NaN.

    >>> round(rank_correlation([1, 2, 3], [10, 100, 1000]), 6), rank_correlation([1, 2, 3], [5, 5, 5])
    (1.0, 0.0)
    """
    from scipy import stats  # imported here so that the other commands work without it

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(stats.spearmanr(one, other).statistic)


def rank_correlations(maps: Tensor, others: Tensor) -> list[float]:
    """Correlate each map with the other map of the same image: (B, P) and (B, P) -> B values."""
    return [rank_correlation(a, b) for a, b in zip(maps.numpy(), others.numpy(), strict=True)]
