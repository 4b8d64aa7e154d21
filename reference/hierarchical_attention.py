"""Hierarchical multi-head self-attention (H-MHSA): Eq. 6-14 of the paper.

Tokens attend to the others in their window of G1 x G1 tokens; then every token attends to the whole map, merged into
cells of G2 x G2 tokens.

Tags such as D1 are explained in docs/paper-vs-code.md.
"""

from collections.abc import Iterator

import numpy as np

from reference.attention import head_channels, multi_head_attention
from reference.checks import checked
from reference.layers import average_pool, ceil_div, group_norm, linear
from reference.names import NO_TRACE, Array, Params, Trace, within


@checked(H=1, W=1, G1=1)
def windows(H: int, W: int, G1: int) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
    """The windows of Eq. 6 from the top left: the row and column of each, and its slices of the map.

    Slicing makes windows smaller where the border cuts them.

    >>> [(row, column, X1[0].start, X1[1].start) for row, column, X1 in windows(3, 5, G1=3)]
    [(0, 0, 0, 0), (0, 1, 0, 3)]
    """
    for row, top in enumerate(range(0, H, G1)):
        for column, left in enumerate(range(0, W, G1)):
            yield row, column, np.s_[top : top + G1, left : left + G1]  # D6


@checked(x="H W C", heads=1, G1=1)
def local_attention(x: Array, params: Params, heads: int, G1: int, trace: Trace = NO_TRACE) -> Array:
    r"""Attention inside each window, $A_1$ of Eq. 6-8.

    $$Q_1, K_1, V_1 = X_1 W_1^q, X_1 W_1^k, X_1 W_1^v \qquad A_1 = \operatorname{Softmax}(Q_1 K_1^T / \sqrt{d})\, V_1$$

    Args:
        x: X, (H, W, C), already normalised.
        params: `local_attention.qkv`, the rows of W_1^q, W_1^k and W_1^v stacked.
        heads: number of heads.
        G1: side of a window, in tokens.
        trace: records `local_weights`, (rows, columns, heads, g h, g h) for windows of g x h tokens, with one row per
            query and one column per key; both are zero for tokens beyond the border.

    Returns:
        (H, W, C).

    >>> C, params = 6, {"local_attention.qkv.weight": np.ones((18, 6)), "local_attention.qkv.bias": np.zeros(18)}
    >>> local_attention(np.ones((4, 5, C)), params, heads=2, G1=3).shape
    (4, 5, 6)
    """
    H, W, C = x.shape
    head_channels(C, heads)  # raises before memory for the weights is taken
    A1 = np.empty_like(x)
    g, h = min(G1, H), min(G1, W)  # a full window
    rows, columns = ceil_div(H, G1), ceil_div(W, G1)
    all_weights = None if trace is NO_TRACE else np.zeros((rows, columns, heads, g, h, g, h))
    for row, column, window in windows(H, W, G1):
        tokens = x[window]  # (<= G1, <= G1, C)  Eq. 6
        m, n, _ = tokens.shape
        X1 = tokens.reshape(m * n, C)
        Q1, K1, V1 = np.split(linear(X1, **within(params, "local_attention.qkv")), 3, axis=1)  # (mn, C) each  Eq. 7
        attended, weights = multi_head_attention(Q1, K1, V1, heads)  # (mn, C)  Eq. 2
        A1[window] = attended.reshape(m, n, C)  # Eq. 8
        if all_weights is not None:
            all_weights[row, column, :, :m, :n, :m, :n] = weights.reshape(heads, m, n, m, n)
    if all_weights is not None:
        trace["local_weights"] = all_weights.reshape(rows, columns, heads, g * h, g * h)
    return A1


@checked(A1="H W C", G2=1)
def merge(A1: Array, params: Params, G2: int) -> Array:
    r"""The merged tokens $\hat A_1 = \operatorname{AvePool}_{G_2}(A_1)$ of Eq. 10.

    Args:
        A1: (H, W, C).
        params: `merge.norm`; the authors' code normalises the merged tokens.
        G2: side of a pooling cell, in tokens.

    Returns:
        (ceil(H / G2), ceil(W / G2), C).

    >>> merge(np.ones((4, 5, 6)), {"merge.norm.weight": np.ones(6), "merge.norm.bias": np.zeros(6)}, G2=2).shape
    (2, 3, 6)
    """
    merged = average_pool(A1, G2)  # (H / G2, W / G2, C)  Eq. 10
    return group_norm(merged, **within(params, "merge.norm"))  # D3


@checked(A1="H W C", merged="rows columns C", heads=1)
def global_attention(A1: Array, merged: Array, params: Params, heads: int, trace: Trace = NO_TRACE) -> Array:
    r"""Every token attends to all merged tokens, $A_2$ of Eq. 11-13.

    $$Q_2 = A_1 W_2^q \qquad K_2, V_2 = \hat A_1 W_2^k, \hat A_1 W_2^v \qquad
    A_2 = \operatorname{Softmax}(Q_2 K_2^T / \sqrt{d})\, V_2$$

    Args:
        A1: (H, W, C).
        merged: (H', W', C), from `merge`.
        params: `global_attention.q`, and `global_attention.kv`, the rows of W_2^k and W_2^v stacked.
        heads: number of heads.
        trace: records `global_weights` (heads, HW, H'W').

    Returns:
        (H, W, C).

    >>> params = {"global_attention.q.weight": np.ones((6, 6)), "global_attention.q.bias": np.zeros(6),
    ...     "global_attention.kv.weight": np.ones((12, 6)), "global_attention.kv.bias": np.zeros(12)}
    >>> global_attention(np.ones((4, 5, 6)), np.ones((2, 3, 6)), params, heads=2).shape
    (4, 5, 6)
    """
    H, W, C = A1.shape
    tokens = A1.reshape(H * W, C)  # Eq. 11
    merged_tokens = merged.reshape(-1, C)  # (H'W', C)  Eq. 11
    Q2 = linear(tokens, **within(params, "global_attention.q"))  # (HW, C)  Eq. 12
    K2, V2 = np.split(linear(merged_tokens, **within(params, "global_attention.kv")), 2, axis=1)  # (H'W', C)  Eq. 12
    A2, weights = multi_head_attention(Q2, K2, V2, heads)  # (HW, C)  Eq. 2
    trace["global_weights"] = weights
    return A2.reshape(H, W, C)  # Eq. 13


@checked(A1="H W C", A2="H W C")
def aggregate(A1: Array, A2: Array, params: Params) -> Array:
    r"""Near and far together: $(A_1 + A_2) W^p$ of Eq. 14; `block` adds its $+ X$.

    Args:
        A1, A2: (H, W, C).
        params: `projection`.

    Returns:
        (H, W, C).

    >>> aggregate(np.ones((4, 5, 2)), np.ones((4, 5, 2)), {"projection.weight": np.eye(2)})[0, 0]
    array([2., 2.])
    """
    return linear(A1 + A2, **within(params, "projection"))  # Eq. 14


@checked(x="H W C", params="norm local_attention local_norm merge global_attention projection", heads=1, G1=1, G2=1)
def h_mhsa(x: Array, params: Params, heads: int, G1: int, G2: int, trace: Trace = NO_TRACE) -> Array:
    r"""Hierarchical multi-head self-attention: Eq. 6-14, except for the last `+ X`, which `block` adds.

    Args:
        x: X, (H, W, C).
        params: `norm`, `local_attention`, `local_norm`, `merge`, `global_attention`, `projection`.
        heads: number of heads.
        G1: side of a window, in tokens.
        G2: side of a pooling cell, in tokens.
        trace: records `local_weights`, `local`, `merged`, `global_weights`, `global`.

    Returns:
        (H, W, C).

    >>> rng = np.random.default_rng(0)
    >>> C = 6
    >>> params = {f"{norm}.{name}": rng.normal(size=C)
    ...     for norm in ("norm", "local_norm", "merge.norm") for name in ("weight", "bias")}
    >>> rows = {"local_attention.qkv": 3 * C, "global_attention.q": C, "global_attention.kv": 2 * C, "projection": C}
    >>> for name, count in rows.items():
    ...     params |= {f"{name}.weight": rng.normal(size=(count, C)), f"{name}.bias": rng.normal(size=count)}
    >>> trace = {}
    >>> h_mhsa(rng.normal(size=(4, 5, C)), params, heads=2, G1=3, G2=2, trace=trace).shape
    (4, 5, 6)
    >>> {name: value.shape for name, value in trace.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'local_weights': (2, 2, 2, 9, 9), 'global_weights': (2, 20, 6),
     'local': (4, 5, 6), 'merged': (2, 3, 6), 'global': (4, 5, 6)}
    """
    normed = group_norm(x, **within(params, "norm"))  # (H, W, C)  D1
    A1 = local_attention(normed, params, heads, G1, trace)  # (H, W, C)  Eq. 6-8
    A1 = group_norm(A1 + x, **within(params, "local_norm"))  # + X, not + its norm  Eq. 9, D2
    merged = merge(A1, params, G2)  # (H / G2, W / G2, C)  Eq. 10
    A2 = global_attention(A1, merged, params, heads, trace)  # (H, W, C)  Eq. 11-13
    trace["local"], trace["merged"], trace["global"] = A1, merged, A2
    return aggregate(A1, A2, params)  # Eq. 14
