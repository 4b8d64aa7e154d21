"""Spearman's rank correlation, by SciPy (extra `studies`)."""

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor


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
