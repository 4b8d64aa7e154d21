r"""The backward passes of `reference.attention`, function by function in the same order.

`dA` is the gradient of the loss with respect to A, and so on; see `reference.backward.layers`.
"""

import numpy as np

from reference.attention import attention_weights, head_channels, multi_head_attention, softmax
from reference.backward.layers import group_norm_vjp, linear_vjp
from reference.checks import checked
from reference.layers import group_norm, linear
from reference.names import Array, Gradients, Params, named, within


@checked(scores="N M", dP="N M")
def softmax_vjp(dP: Array, scores: Array) -> Array:
    r"""Gradient of $P_{nm} = e^{S_{nm}} / \sum_{m'} e^{S_{nm'}}$.

    A score raises its own weight and lowers the others of its row; rows do not affect each other:

    $$\frac{\partial P_{nm'}}{\partial S_{nm}} = P_{nm'} (\delta_{mm'} - P_{nm}) \qquad
    dS_{nm} = P_{nm} \Big( dP_{nm} - \sum_{m'} P_{nm'}\, dP_{nm'} \Big)$$

    So each row of dS sums to zero: adding the same number to all scores of a row changes no weight.

    Args:
        dP: (N, M).
        scores: S, (N, M).

    Returns:
        dS, (N, M).

    Raises:
        ValueError: if `dP` has not the shape of the scores.

    >>> softmax_vjp(np.array([[1.0, 0.0]]), np.log([[1.0, 3.0]]))
    array([[ 0.1875, -0.1875]])
    """
    P = softmax(scores)  # (N, M)
    return P * (dP - (P * dP).sum(axis=1, keepdims=True))


@checked(Q="N d", K="M d", dP="N M")
def attention_weights_vjp(dP: Array, Q: Array, K: Array) -> tuple[Array, Array]:
    r"""Gradients of $P = \operatorname{Softmax}(S)$ with $S = Q K^T / \sqrt{d}$, the left half of Eq. 2.

    $S_{nm} = \sum_k Q_{nk} K_{mk} / \sqrt d$ is a matrix product, so as in `linear_vjp`:

    $$dQ = dS\, K / \sqrt d \qquad dK = dS^T Q / \sqrt d$$

    Args:
        dP: (N, M).
        Q: (N, d).
        K: (M, d).

    Returns:
        dQ, (N, d), and dK, (M, d). The rows of dK sum to zero; see `mhsa_vjp`.

    Raises:
        ValueError: if `dP` has not the shape (N, M).

    >>> dQ, dK = attention_weights_vjp(np.eye(2, 5), np.ones((2, 4)), np.ones((5, 4)))
    >>> dQ.shape, dK.shape
    ((2, 4), (5, 4))
    """
    _, d = Q.shape
    dS = softmax_vjp(dP, Q @ K.T / np.sqrt(d))  # (N, M)
    return dS @ K / np.sqrt(d), dS.T @ Q / np.sqrt(d)


@checked(Q="N C", K="M C", V="M C", heads=1, dA="N C")
def multi_head_attention_vjp(dA: Array, Q: Array, K: Array, V: Array, heads: int) -> tuple[Array, Array, Array]:
    r"""Gradients of $A = P V$, head by head: each head sends back to its own channels only.

    $A_{nk} = \sum_m P_{nm} V_{mk}$ is a matrix product of weights and values, and both depend on the input:

    $$dP = dA\, V^T \qquad dV = P^T dA$$

    Args:
        dA: (N, C).
        Q: (N, C).
        K, V: (M, C).
        heads: number of heads.

    Returns:
        dQ, (N, C), dK and dV, (M, C).

    Raises:
        ValueError: if `dA` has not the shape of Q, or `heads` does not divide C.

    >>> Q, K, V = np.ones((3, 6)), np.ones((5, 6)), np.ones((5, 6))
    >>> dQ, dK, dV = multi_head_attention_vjp(np.ones((3, 6)), Q, K, V, heads=2)
    >>> dV[:, 0]  # each value has the weight 1/5 for each of the 3 queries
    array([0.6, 0.6, 0.6, 0.6, 0.6])
    """
    _, C = Q.shape
    d = head_channels(C, heads)
    dQ, dK, dV = np.empty_like(Q), np.empty_like(K), np.empty_like(V)
    for head in range(heads):
        own = slice(head * d, (head + 1) * d)  # the channels of this head
        P = attention_weights(Q[:, own], K[:, own])  # (N, M)
        dV[:, own] = P.T @ dA[:, own]  # (M, d)
        dP = dA[:, own] @ V[:, own].T  # (N, M)
        dQ[:, own], dK[:, own] = attention_weights_vjp(dP, Q[:, own], K[:, own])  # (N, d), (M, d)
    return dQ, dK, dV


@checked(x="H W C", params="norm qkv projection", heads=1, dy="H W C")
def mhsa_vjp(dy: Array, x: Array, params: Params, heads: int) -> tuple[Array, Gradients]:
    r"""Gradients of multi-head self-attention: Eq. 1-3, read from the last line to the first.

    The bias of the keys has the gradient zero. It adds the same number $Q_n \cdot b / \sqrt d$ to all scores of query
    n, and softmax ignores that. In the formulas, $db = \sum_m dK_m = \sum_n Q_n \sum_m dS_{nm} / \sqrt d$, and each row
    of dS sums to zero. Rounding leaves about 1e-17 instead.

    Args:
        dy: (H, W, C).
        x, params, heads: as in `mhsa`.

    Returns:
        dx, (H, W, C), and the gradients of all `params`.

    Raises:
        ValueError: if `dy` has not the shape of x.

    >>> C = 6
    >>> params = {"norm.weight": np.ones(C), "norm.bias": np.zeros(C),
    ...     "qkv.weight": np.ones((3 * C, C)), "qkv.bias": np.zeros(3 * C),
    ...     "projection.weight": np.eye(C), "projection.bias": np.zeros(C)}
    >>> dx, gradients = mhsa_vjp(np.ones((4, 5, C)), np.ones((4, 5, C)), params, heads=2)
    >>> {name: gradient.shape for name, gradient in gradients.items()} == {n: p.shape for n, p in params.items()}
    True
    """
    H, W, C = x.shape
    X = group_norm(x, **within(params, "norm")).reshape(H * W, C)  # (HW, C)
    Q, K, V = np.split(linear(X, **within(params, "qkv")), 3, axis=1)  # (HW, C) each
    A, _ = multi_head_attention(Q, K, V, heads)  # (HW, C)

    dA, projection = linear_vjp(dy, A.reshape(H, W, C), **within(params, "projection"))  # (H, W, C)
    dQKV = multi_head_attention_vjp(dA.reshape(H * W, C), Q, K, V, heads)  # (HW, C) each
    dX, qkv = linear_vjp(np.concatenate(dQKV, axis=1), X, **within(params, "qkv"))  # (HW, C)
    dx, norm = group_norm_vjp(dX.reshape(H, W, C), x, **within(params, "norm"))  # (H, W, C)
    return dx, named({"norm": norm, "qkv": qkv, "projection": projection})
