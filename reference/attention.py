"""Attention from scratch: Eq. 1-3 of the paper.

Tags such as D1 are explained in docs/paper-vs-code.md.
"""

import numpy as np

from reference.checks import checked
from reference.layers import group_norm, linear
from reference.names import NO_TRACE, Array, Params, Trace, within


@checked(scores="N M")
def softmax(scores: Array) -> Array:
    r"""Turn scores into weights: $\operatorname{Softmax}(S)_{nm} = e^{S_{nm}} / \sum_{m'} e^{S_{nm'}}$.

    Args:
        scores: S, (N, M), one row per query.

    Returns:
        (N, M), rows sum to one.

    >>> softmax(np.log([[1.0, 3.0], [2.0, 2.0]]))
    array([[0.25, 0.75],
           [0.5 , 0.5 ]])
    """
    e = np.exp(scores - scores.max(axis=1, keepdims=True))  # the shift cancels out, and prevents overflow
    return e / e.sum(axis=1, keepdims=True)


@checked(Q="N d", K="M d")
def attention_weights(Q: Array, K: Array) -> Array:
    r"""The weight of each key for each query: $\operatorname{Softmax}(Q K^T / \sqrt{d})$, the left half of Eq. 2.

    Args:
        Q: (N, d).
        K: (M, d).

    Returns:
        (N, M), rows sum to one.

    >>> attention_weights(np.zeros((2, 4)), np.ones((5, 4)))[0]
    array([0.2, 0.2, 0.2, 0.2, 0.2])
    """
    _, d = Q.shape
    return softmax(Q @ K.T / np.sqrt(d))  # Eq. 2


def head_channels(C: int, heads: int) -> int:
    """d, the channels of a head; ValueError if `heads` does not divide C.

    >>> head_channels(6, heads=2)
    3
    """
    if C % heads:
        raise ValueError(f"{heads} heads do not divide {C} channels")
    return C // heads


@checked(Q="N C", K="M C", V="M C", heads=1)
def multi_head_attention(Q: Array, K: Array, V: Array, heads: int) -> tuple[Array, Array]:
    r"""Attention head by head: $A = \operatorname{Softmax}(Q K^T / \sqrt{d})\, V$ (Eq. 2).

    A head is d = C / heads neighbouring channels, independent of the other heads.

    Args:
        Q: (N, C).
        K, V: (M, C).
        heads: number of heads; it divides C.

    Returns:
        A, (N, C), and the weights, (heads, N, M).

    Raises:
        ValueError: if `heads` does not divide C.

    >>> A, weights = multi_head_attention(np.ones((3, 6)), np.ones((5, 6)), np.ones((5, 6)), heads=2)
    >>> A.shape, weights.shape
    ((3, 6), (2, 3, 5))
    """
    N, C = Q.shape
    d = head_channels(C, heads)
    A = np.empty((N, C))
    weights = np.empty((heads, N, len(K)))
    for head in range(heads):
        own = slice(head * d, (head + 1) * d)  # the channels of this head
        weights[head] = attention_weights(Q[:, own], K[:, own])  # (N, M)
        A[:, own] = weights[head] @ V[:, own]  # (N, d)  Eq. 2
    return A, weights


@checked(x="H W C", params="norm qkv projection", heads=1)
def mhsa(x: Array, params: Params, heads: int, trace: Trace = NO_TRACE) -> Array:
    r"""Multi-head self-attention over all tokens of a map: Eq. 1-3, except for the `+ X` of Eq. 3, which `block` adds.

    $$Q, K, V = X W^q, X W^k, X W^v \qquad A = \operatorname{Softmax}(Q K^T / \sqrt{d})\, V \qquad A' = A W^p + X$$

    Args:
        x: X, (H, W, C).
        params: `norm`, `qkv` (the rows of W^q, W^k and W^v stacked), `projection`.
        heads: number of heads.
        trace: records `weights` (heads, HW, HW).

    Returns:
        (H, W, C).

    >>> C = 6
    >>> params = {"norm.weight": np.ones(C), "norm.bias": np.zeros(C),
    ...     "qkv.weight": np.ones((3 * C, C)), "qkv.bias": np.zeros(3 * C),
    ...     "projection.weight": np.eye(C), "projection.bias": np.zeros(C)}
    >>> mhsa(np.ones((4, 5, C)), params, heads=2).shape
    (4, 5, 6)
    """
    H, W, C = x.shape
    X = group_norm(x, **within(params, "norm")).reshape(H * W, C)  # (HW, C)  D1
    Q, K, V = np.split(linear(X, **within(params, "qkv")), 3, axis=1)  # (HW, C) each  Eq. 1
    A, weights = multi_head_attention(Q, K, V, heads)  # (HW, C)  Eq. 2
    trace["weights"] = weights
    A = A.reshape(H, W, C)  # back to a map  Eq. 3
    return linear(A, **within(params, "projection"))  # A W^p  Eq. 3
