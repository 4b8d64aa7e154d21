"""The layers around attention: matrices, convolutions, normalisation, activation, pooling.

Every function takes one map x of shape (H, W, C), and its parameters as plain arrays.

Tags such as D1 are explained in docs/paper-vs-code.md.
"""

import numpy as np

from reference.checks import checked, require_finite
from reference.names import Array


def ceil_div(length: int, step: int) -> int:
    """`length` / `step`, rounded up: the number of steps that cover a length.

    >>> ceil_div(7, 2)
    4
    """
    return -(-length // step)


def odd(K: int) -> int:
    """K, or a ValueError if it is even: only odd kernels keep the size of a map."""
    if K % 2 == 0:
        raise ValueError(f"weight has kernels of {K} x {K}; K must be odd, so that a map keeps its size")
    return K


@checked(x="... C_in", weight="C_out C_in", bias="C_out")
def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    r"""Multiply each token by a matrix: $Y = X W + b$. A 1x1 convolution is the same.

    Args:
        x: (..., C_in).
        weight: (C_out, C_in), the transpose of W, as in PyTorch.
        bias: b, (C_out,), or None.

    Returns:
        (..., C_out).

    >>> linear(np.ones((4, 5, 2)), weight=np.ones((3, 2)), bias=np.zeros(3)).shape
    (4, 5, 3)
    """
    y = x @ weight.T
    return y if bias is None else y + bias  # D4


@checked(x="H W C_in", weight="C_out C_in K K", bias="C_out", stride=1)
def conv2d(x: Array, weight: Array, bias: Array, stride: int = 1) -> Array:
    r"""A convolution over a map padded with zeros, which keeps its size at stride 1.

    $$Y_{hwc} = b_c + \sum_{i,j} \sum_k X_{sh+i-p,\,sw+j-p,\,k}\, W_{ckij}, \qquad p = (K - 1) / 2$$

    Args:
        x: (H, W, C_in).
        weight: (C_out, C_in, K, K), K odd.
        bias: (C_out,).
        stride: s, in tokens.

    Returns:
        (ceil(H / s), ceil(W / s), C_out).

    >>> conv2d(np.ones((9, 12, 2)), weight=np.ones((3, 2, 3, 3)), bias=np.zeros(3), stride=2).shape
    (5, 6, 3)
    """
    H, W, _ = x.shape
    _, _, _, K = weight.shape
    p = odd(K) // 2
    padded = np.pad(x, ((p, p), (p, p), (0, 0)))  # (H + 2p, W + 2p, C_in)
    y = np.zeros((ceil_div(H, stride), ceil_div(W, stride), len(weight)))
    for i in range(K):
        for j in range(K):
            tap = padded[i : i + H : stride, j : j + W : stride]  # (H / s, W / s, C_in), the inputs of this tap
            y += tap @ weight[:, :, i, j].T
    return y + bias


@checked(x="H W C", weight="C 1 K K")
def depthwise_conv2d(x: Array, weight: Array) -> Array:
    r"""Convolve each channel with its own kernel: $Y_{hwc} = \sum_{i,j} X_{h+i-p,\,w+j-p,\,c}\, W_{cij}$.

    Args:
        x: (H, W, C).
        weight: (C, 1, K, K), K odd.

    Returns:
        (H, W, C).

    >>> depthwise_conv2d(np.ones((4, 5, 2)), weight=np.ones((2, 1, 3, 3)))[:, :, 0]
    array([[4., 6., 6., 6., 4.],
           [6., 9., 9., 9., 6.],
           [6., 9., 9., 9., 6.],
           [4., 6., 6., 6., 4.]])
    """
    H, W, _ = x.shape
    _, _, _, K = weight.shape
    p = odd(K) // 2
    padded = np.pad(x, ((p, p), (p, p), (0, 0)))  # (H + 2p, W + 2p, C)
    y = np.zeros_like(x)
    for i in range(K):
        for j in range(K):
            y += padded[i : i + H, j : j + W] * weight[:, 0, i, j]
    return y


@checked(x="H W C", weight="C", bias="C")
def group_norm(x: Array, weight: Array, bias: Array) -> Array:
    r"""Group normalisation with one group: one mean and one variance for the whole map, not per token.

    $$Y_{hwc} = \gamma_c\, \frac{X_{hwc} - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta_c, \qquad
    \mu, \sigma^2 \text{ over all } h, w, c$$

    The paper does not mention normalisation; the authors' code uses this one everywhere.

    Args:
        x: (H, W, C).
        weight: gamma, (C,).
        bias: beta, (C,).

    Returns:
        (H, W, C).

    >>> y = group_norm(np.random.default_rng(0).normal(5, 3, size=(4, 5, 2)), weight=np.ones(2), bias=np.zeros(2))
    >>> abs(y.mean()) < 1e-12, abs(y.std() - 1) < 1e-6
    (np.True_, np.True_)
    """
    eps = 1e-6  # the authors' value, not PyTorch's 1e-5
    centred = x - x.mean()
    variance = require_finite("the variance", np.mean(centred**2))
    return centred / np.sqrt(variance + eps) * weight + bias  # D1


@checked(x="...")
def silu(x: Array) -> Array:
    r"""The activation $\operatorname{SiLU}(x) = x / (1 + e^{-x})$, written so that no exponential overflows.

    >>> silu(np.array([-1000.0, -1.0, 0.0, 1.0])).round(4)
    array([-0.    , -0.2689,  0.    ,  0.7311])
    """
    small = np.exp(-np.abs(x))  # in (0, 1]
    return x * np.where(x >= 0, 1, small) / (1 + small)


@checked(x="H W C", G2=1)
def average_pool(x: Array, G2: int) -> Array:
    """Average each cell of G2 x G2 tokens, from the top left; a cell cut by the border averages the tokens it has.

    Args:
        x: (H, W, C).
        G2: side of a cell, in tokens.

    Returns:
        (ceil(H / G2), ceil(W / G2), C).

    >>> average_pool(np.arange(15.0).reshape(3, 5, 1), G2=2)[:, :, 0]  # the last cell holds one token
    array([[ 3. ,  5. ,  6.5],
           [10.5, 12.5, 14. ]])
    """
    H, W, C = x.shape
    rows, columns = ceil_div(H, G2), ceil_div(W, G2)  # rounded up  D6
    merged = np.empty((rows, columns, C))
    for row in range(rows):
        for column in range(columns):
            cell = x[row * G2 : (row + 1) * G2, column * G2 : (column + 1) * G2]  # (<= G2, <= G2, C)
            merged[row, column] = cell.mean(axis=(0, 1))
    return merged
