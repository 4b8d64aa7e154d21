r"""The backward passes of `reference.layers`, function by function in the same order.

`dy` is the gradient of the loss $\ell$ with respect to an output y: an array like y, of the numbers
$dY_{hwc} = \partial \ell / \partial Y_{hwc}$. Each function takes `dy` and the inputs of the forward function, and
returns the gradients of these inputs: first `dx`, then those of the parameters, by name. All follow from the chain
rule, which adds up all paths from an input to the loss: $\partial \ell / \partial x = \sum_i dY_i\, \partial Y_i /
\partial x$.
"""

import numpy as np

from reference.checks import checked
from reference.layers import ceil_div, odd
from reference.names import Array, Gradients


@checked(x="... C_in", weight="C_out C_in", bias="C_out", dy="... C_out")
def linear_vjp(dy: Array, x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Gradients]:
    r"""Gradients of $Y = X W + b$, with $Y_{nc} = \sum_k X_{nk} W_{kc} + b_c$.

    $X_{nk}$ is in every $Y_{nc}$ with the factor $W_{kc}$, $W_{kc}$ is in every $Y_{nc}$ with the factor $X_{nk}$, and
    $b_c$ is in every $Y_{nc}$ with the factor 1:

    $$dX_{nk} = \sum_c dY_{nc} W_{kc} \qquad dW_{kc} = \sum_n X_{nk}\, dY_{nc} \qquad db_c = \sum_n dY_{nc}$$

    $$dX = dY\, W^T \qquad dW = X^T dY$$

    Args:
        dy: dY, (..., C_out).
        x, weight, bias: as in `linear`.

    Returns:
        dx, (..., C_in), and the gradients of `weight` (C_out, C_in) and, if there is one, `bias` (C_out,).

    Raises:
        ValueError: if `dy` has not the shape of the output.

    >>> dx, gradients = linear_vjp(np.ones((4, 5, 3)), np.ones((4, 5, 2)), weight=np.ones((3, 2)), bias=np.zeros(3))
    >>> dx.shape, gradients["bias"]
    ((4, 5, 2), array([20., 20., 20.]))
    """
    X = x.reshape(-1, x.shape[-1])  # (N, C_in)
    dY = dy.reshape(-1, len(weight))  # (N, C_out)
    gradients = {"weight": dY.T @ X}  # (C_out, C_in), stored transposed like the weight
    if bias is not None:
        gradients["bias"] = dY.sum(axis=0)  # (C_out,)
    return dy @ weight, gradients  # (..., C_in)


@checked(x="H W C_in", weight="C_out C_in K K", bias="C_out", stride=1, dy="H/stride W/stride C_out")
def conv2d_vjp(dy: Array, x: Array, weight: Array, bias: Array, stride: int = 1) -> tuple[Array, Gradients]:
    r"""Gradients of a convolution over a map padded with zeros.

    In $Y_{hwc} = b_c + \sum_{i,j} \sum_k X_{sh+i-p,\,sw+j-p,\,k}\, W_{ckij}$, each tap (i, j) is a matrix, as in
    `linear`. So each output sends back to the input of each of its taps:

    $$dX_{sh+i-p,\,sw+j-p,\,k} \mathrel{+}= \sum_c dY_{hwc} W_{ckij} \quad \text{for all } h, w, i, j$$

    $$dW_{ckij} = \sum_{h,w} dY_{hwc}\, X_{sh+i-p,\,sw+j-p,\,k} \qquad db_c = \sum_{h,w} dY_{hwc}$$

    What is sent to the padding is dropped: the padding is constant.

    Args:
        dy: (ceil(H / s), ceil(W / s), C_out).
        x, weight, bias, stride: as in `conv2d`.

    Returns:
        dx, (H, W, C_in), and the gradients of `weight` and `bias`.

    Raises:
        ValueError: if `dy` has not the shape of the output.

    >>> x, weight = np.ones((9, 12, 2)), np.ones((3, 2, 3, 3))
    >>> dx, gradients = conv2d_vjp(np.ones((5, 6, 3)), x, weight, bias=np.zeros(3), stride=2)
    >>> dx[:3, :3, 0]  # 3 output channels, times the number of outputs that read the input along each axis
    array([[ 3.,  6.,  3.],
           [ 6., 12.,  6.],
           [ 3.,  6.,  3.]])
    """
    H, W, _ = x.shape
    _, _, _, K = weight.shape
    p = odd(K) // 2
    padded = np.pad(x, ((p, p), (p, p), (0, 0)))  # (H + 2p, W + 2p, C_in)
    dpadded = np.zeros_like(padded)
    dweight = np.zeros_like(weight)
    for i in range(K):
        for j in range(K):
            tap = np.s_[i : i + H : stride, j : j + W : stride]  # where this tap reads
            dpadded[tap] += dy @ weight[:, :, i, j]  # (H / s, W / s, C_in)
            dweight[:, :, i, j] = np.tensordot(dy, padded[tap], axes=((0, 1), (0, 1)))  # (C_out, C_in)
    return dpadded[p : p + H, p : p + W], {"weight": dweight, "bias": dy.sum(axis=(0, 1))}


@checked(x="H W C", weight="C 1 K K", dy="H W C")
def depthwise_conv2d_vjp(dy: Array, x: Array, weight: Array) -> tuple[Array, Gradients]:
    r"""Gradients of a convolution of each channel with its own kernel, as in `conv2d_vjp` with one channel.

    $$dX_{h+i-p,\,w+j-p,\,c} \mathrel{+}= dY_{hwc} W_{cij} \quad \text{for all } h, w, i, j \qquad
    dW_{cij} = \sum_{h,w} dY_{hwc}\, X_{h+i-p,\,w+j-p,\,c}$$

    Args:
        dy: (H, W, C).
        x, weight: as in `depthwise_conv2d`.

    Returns:
        dx, (H, W, C), and the gradient of `weight` (C, 1, K, K).

    Raises:
        ValueError: if `dy` has not the shape of the output.

    >>> x, weight = np.ones((4, 5, 2)), np.ones((2, 1, 3, 3))
    >>> depthwise_conv2d_vjp(np.ones((4, 5, 2)), x, weight)[1]["weight"][0, 0]  # 20 outputs, fewer beside the padding
    array([[12., 15., 12.],
           [16., 20., 16.],
           [12., 15., 12.]])
    """
    H, W, _ = x.shape
    _, _, _, K = weight.shape
    p = odd(K) // 2
    padded = np.pad(x, ((p, p), (p, p), (0, 0)))  # (H + 2p, W + 2p, C)
    dpadded = np.zeros_like(padded)
    dweight = np.zeros_like(weight)
    for i in range(K):
        for j in range(K):
            tap = np.s_[i : i + H, j : j + W]
            dpadded[tap] += dy * weight[:, 0, i, j]  # (H, W, C)
            dweight[:, 0, i, j] = (dy * padded[tap]).sum(axis=(0, 1))  # (C,)
    return dpadded[p : p + H, p : p + W], {"weight": dweight}


@checked(x="H W C", weight="C", bias="C", dy="H W C")
def group_norm_vjp(dy: Array, x: Array, weight: Array, bias: Array) -> tuple[Array, Gradients]:
    r"""Gradients of $Y_{hwc} = \gamma_c \hat X_{hwc} + \beta_c$ with $\hat X = (X - \mu) / s$ and $s = \sqrt{\sigma^2 + \epsilon}$.

    Let g be what reaches $\hat X$, and M = HWC the number of entries. An entry $X_a$ affects each $\hat X_b$ directly
    (if a = b), through $\mu$ and through s:

    $$g_{hwc} = dY_{hwc} \gamma_c \qquad \frac{\partial \mu}{\partial X_a} = \frac{1}{M} \qquad
    \frac{\partial s}{\partial X_a} = \frac{X_a - \mu}{M s} = \frac{\hat X_a}{M} \qquad
    \frac{\partial \hat X_b}{\partial X_a} = \frac{1}{s} \Big( \delta_{ab} - \frac{1}{M} - \frac{\hat X_b \hat X_a}{M} \Big)$$

    Summing $g_b\, \partial \hat X_b / \partial X_a$ over b gives two means over the whole map:

    $$dX = \frac{1}{s} \left( g - \operatorname{mean}(g) - \hat X \operatorname{mean}(g \hat X) \right) \qquad
    d\gamma_c = \sum_{h,w} dY_{hwc} \hat X_{hwc} \qquad d\beta_c = \sum_{h,w} dY_{hwc}$$

    Args:
        dy: (H, W, C).
        x, weight, bias: as in `group_norm`.

    Returns:
        dx, (H, W, C), and the gradients of `weight` and `bias` (C,).

    Raises:
        ValueError: if `dy` has not the shape of the output.

    >>> rng = np.random.default_rng(0)
    >>> x, dy = rng.normal(5, 3, size=(4, 5, 2)), rng.normal(size=(4, 5, 2))
    >>> dx, _ = group_norm_vjp(dy, x, weight=np.ones(2), bias=np.zeros(2))
    >>> abs(dx.sum()) < 1e-12  # adding the same number to all of X does not change Y
    np.True_
    """  # noqa: E501 one formula
    eps = 1e-6
    centred = x - x.mean()
    s = np.sqrt(np.mean(centred**2) + eps)
    normed = centred / s  # (H, W, C)
    g = dy * weight  # (H, W, C)
    dx = (g - g.mean() - normed * (g * normed).mean()) / s  # (H, W, C)
    return dx, {"weight": (dy * normed).sum(axis=(0, 1)), "bias": dy.sum(axis=(0, 1))}


@checked(x="...", dy="...")
def silu_vjp(dy: Array, x: Array) -> Array:
    r"""Gradient of $Y = X \sigma(X)$ with the logistic function $\sigma(x) = 1 / (1 + e^{-x})$.

    From $\sigma' = \sigma (1 - \sigma)$ and the product rule: $dX = dY\, \sigma(X)\, (1 + X (1 - \sigma(X)))$.

    >>> silu_vjp(np.ones(4), np.array([-1000.0, -1.0, 0.0, 1.0])).round(4)
    array([-0.    ,  0.0723,  0.5   ,  0.9277])
    """
    small = np.exp(-np.abs(x))  # in (0, 1], so that no exponential overflows
    sigmoid = np.where(x >= 0, 1, small) / (1 + small)
    complement = np.where(x >= 0, small, 1) / (1 + small)  # 1 - sigmoid, without cancellation
    return dy * sigmoid * (1 + x * complement)


@checked(x="H W C", G2=1, dy="H/G2 W/G2 C")
def average_pool_vjp(dy: Array, x: Array, G2: int) -> Array:
    r"""Gradient of the means of cells. A token is in one cell, with weight 1 / (number of tokens in that cell).

    $$dX_{hwc} = dY_{uvc} / |\text{cell } uv| \quad \text{for each token } hw \text{ in cell } uv$$

    The number is $G_2^2$, and less in a cell cut by the border.

    Args:
        dy: (ceil(H / G2), ceil(W / G2), C).
        x, G2: as in `average_pool`.

    Returns:
        dx, (H, W, C).

    Raises:
        ValueError: if `dy` has not the shape of the output.

    >>> average_pool_vjp(np.ones((2, 3, 1)), np.ones((3, 5, 1)), G2=2)[:, :, 0]
    array([[0.25, 0.25, 0.25, 0.25, 0.5 ],
           [0.25, 0.25, 0.25, 0.25, 0.5 ],
           [0.5 , 0.5 , 0.5 , 0.5 , 1.  ]])
    """
    H, W, _ = x.shape
    rows, columns = ceil_div(H, G2), ceil_div(W, G2)
    dx = np.empty_like(x)
    for row in range(rows):
        for column in range(columns):
            cell = dx[row * G2 : (row + 1) * G2, column * G2 : (column + 1) * G2]  # (<= G2, <= G2, C), a view
            cell[:] = dy[row, column] / (cell.shape[0] * cell.shape[1])
    return dx
