r"""Spearman's rank correlation: Pearson's, of ranks, where equal values share the mean of their ranks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def ranks(values: ArrayLike) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs.

    >>> ranks([10, 30, 20, 20]).tolist()
    [1.0, 4.0, 2.5, 2.5]
    """
    _, group, sizes = np.unique(np.asarray(values, dtype=float), return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    found: NDArray[np.float64] = (last - (sizes - 1) / 2)[group]
    return found


def spearman(one: ArrayLike, other: ArrayLike) -> float:
    """From -1 to 1; 0 where all values of one are equal, since such a map ranks nothing.

    >>> spearman([1, 2, 3], [10, 100, 1000]), spearman([1, 2, 3], [5, 5, 5])
    (1.0, 0.0)
    """
    a, b = (values - values.mean() for values in (ranks(one), ranks(other)))
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / length, -1, 1)) if length > 0 else 0.0
