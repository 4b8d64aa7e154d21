r"""The backward passes of `reference.hierarchical_attention`, function by function in the same order.

`dA1` is the gradient of the loss with respect to A1, and so on; see `reference.backward.layers`. Where a tensor is used
several times, the gradients of all its uses are added.
"""

import numpy as np

from reference.backward.attention import multi_head_attention_vjp
from reference.backward.layers import average_pool_vjp, group_norm_vjp, linear_vjp
from reference.checks import checked
from reference.hierarchical_attention import global_attention, local_attention, merge, windows
from reference.layers import average_pool, group_norm, linear
from reference.names import Array, Gradients, Params, named, within


@checked(x="H W C", heads=1, G1=1, dA1="H W C")
def local_attention_vjp(dA1: Array, x: Array, params: Params, heads: int, G1: int) -> tuple[Array, Gradients]:
    r"""Gradients of attention inside each window, Eq. 6-8.

    Each token is in one window, so dx is cut and joined like x. All windows share $W_1^q, W_1^k, W_1^v$ and their
    biases, so these receive the sum over all windows.

    Args:
        dA1: (H, W, C).
        x, params, heads, G1: as in `local_attention`.

    Returns:
        dx, (H, W, C), and the gradients of `local_attention.qkv`. The bias of the keys has the gradient zero; see
        `reference.backward.attention.mhsa_vjp`.

    Raises:
        ValueError: if `dA1` has not the shape of x.

    >>> C, params = 6, {"local_attention.qkv.weight": np.ones((18, 6)), "local_attention.qkv.bias": np.zeros(18)}
    >>> dx, gradients = local_attention_vjp(np.ones((4, 5, C)), np.ones((4, 5, C)), params, heads=2, G1=3)
    >>> gradients["local_attention.qkv.bias"][2 * C :]  # of V: each of 20 tokens passes on all that it receives
    array([20., 20., 20., 20., 20., 20.])
    """
    H, W, C = x.shape
    own = within(params, "local_attention.qkv")
    dx = np.empty_like(x)
    gradients = {name: np.zeros_like(parameter) for name, parameter in own.items()}
    for _, _, window in windows(H, W, G1):
        tokens = x[window]  # (<= G1, <= G1, C)
        X1 = tokens.reshape(-1, C)  # (mn, C)
        Q1, K1, V1 = np.split(linear(X1, **own), 3, axis=1)  # (mn, C) each

        dQKV = multi_head_attention_vjp(dA1[window].reshape(-1, C), Q1, K1, V1, heads)  # (mn, C) each
        dX1, of_window = linear_vjp(np.concatenate(dQKV, axis=1), X1, **own)  # (mn, C)
        dx[window] = dX1.reshape(tokens.shape)  # (<= G1, <= G1, C)
        for name in own:
            gradients[name] += of_window[name]
    return dx, named({"local_attention.qkv": gradients})


@checked(A1="H W C", G2=1, dmerged="H/G2 W/G2 C")
def merge_vjp(dmerged: Array, A1: Array, params: Params, G2: int) -> tuple[Array, Gradients]:
    r"""Gradients of the merged tokens, Eq. 10 and the norm after it.

    Args:
        dmerged: (ceil(H / G2), ceil(W / G2), C).
        A1, params, G2: as in `merge`.

    Returns:
        dA1, (H, W, C), and the gradients of `merge.norm`.

    Raises:
        ValueError: if `dmerged` has not the shape of the merged tokens.

    >>> params = {"merge.norm.weight": np.ones(6), "merge.norm.bias": np.zeros(6)}
    >>> merge_vjp(np.ones((2, 3, 6)), np.ones((4, 5, 6)), params, G2=2)[0].shape
    (4, 5, 6)
    """
    merged = average_pool(A1, G2)  # (H / G2, W / G2, C)

    dpooled, norm = group_norm_vjp(dmerged, merged, **within(params, "merge.norm"))  # (H / G2, W / G2, C)
    return average_pool_vjp(dpooled, A1, G2), named({"merge.norm": norm})  # (H, W, C)


@checked(A1="H W C", merged="rows columns C", heads=1, dA2="H W C")
def global_attention_vjp(
    dA2: Array, A1: Array, merged: Array, params: Params, heads: int
) -> tuple[Array, Array, Gradients]:
    r"""Gradients of global attention, Eq. 11-13: queries send back to $A_1$, keys and values to $\hat A_1$.

    Args:
        dA2: (H, W, C).
        A1, merged, params, heads: as in `global_attention`.

    Returns:
        dA1, (H, W, C), dmerged, (H', W', C), and the gradients of `global_attention.q` and `global_attention.kv`. The
        bias of the keys has the gradient zero; see `reference.backward.attention.mhsa_vjp`.

    Raises:
        ValueError: if `dA2` has not the shape of A1.

    >>> params = {"global_attention.q.weight": np.ones((6, 6)), "global_attention.q.bias": np.zeros(6),
    ...     "global_attention.kv.weight": np.ones((12, 6)), "global_attention.kv.bias": np.zeros(12)}
    >>> A1, merged = np.ones((4, 5, 6)), np.ones((2, 3, 6))
    >>> dA1, dmerged, _ = global_attention_vjp(np.ones((4, 5, 6)), A1, merged, params, heads=2)
    >>> dA1.shape, dmerged.shape
    ((4, 5, 6), (2, 3, 6))
    """
    H, W, C = A1.shape
    tokens = A1.reshape(H * W, C)
    merged_tokens = merged.reshape(-1, C)  # (H'W', C)
    Q2 = linear(tokens, **within(params, "global_attention.q"))  # (HW, C)
    K2, V2 = np.split(linear(merged_tokens, **within(params, "global_attention.kv")), 2, axis=1)  # (H'W', C)

    dQ2, dK2, dV2 = multi_head_attention_vjp(dA2.reshape(H * W, C), Q2, K2, V2, heads)  # (HW, C), twice (H'W', C)
    dKV = np.concatenate([dK2, dV2], axis=1)  # (H'W', 2C)
    dtokens, q = linear_vjp(dQ2, tokens, **within(params, "global_attention.q"))  # (HW, C)
    dmerged, kv = linear_vjp(dKV, merged_tokens, **within(params, "global_attention.kv"))  # (H'W', C)
    gradients = named({"global_attention.q": q, "global_attention.kv": kv})
    return dtokens.reshape(A1.shape), dmerged.reshape(merged.shape), gradients


@checked(A1="H W C", A2="H W C", dy="H W C")
def aggregate_vjp(dy: Array, A1: Array, A2: Array, params: Params) -> tuple[Array, Gradients]:
    r"""Gradients of $(A_1 + A_2) W^p$ of Eq. 14. A sum passes the same gradient to both of its terms.

    Args:
        dy: (H, W, C).
        A1, A2, params: as in `aggregate`.

    Returns:
        dA1, which is also dA2, (H, W, C), and the gradients of `projection`.

    Raises:
        ValueError: if `dy` has not the shape of the output.

    >>> A1, A2, params = np.ones((4, 5, 2)), np.ones((4, 5, 2)), {"projection.weight": np.eye(2)}
    >>> dA, _ = aggregate_vjp(np.ones((4, 5, 2)), A1, A2, params)
    >>> dA[0, 0]
    array([1., 1.])
    """
    dA, projection = linear_vjp(dy, A1 + A2, **within(params, "projection"))  # (H, W, C)
    return dA, named({"projection": projection})


@checked(
    x="H W C", params="norm local_attention local_norm merge global_attention projection", heads=1, G1=1, G2=1,
    dy="H W C",
)  # fmt: skip
def h_mhsa_vjp(dy: Array, x: Array, params: Params, heads: int, G1: int, G2: int) -> tuple[Array, Gradients]:
    r"""Gradients of H-MHSA: Eq. 6-14, read from the last line to the first.

    $A_1$ is used three times: in the sum of Eq. 14, for the queries of Eq. 12 and for the merged tokens of Eq. 10. X is
    used twice here: in the residual of Eq. 9 and, normalised, in the windows. The third use, the `+ X` of Eq. 14, is in
    `block_vjp`.

    Args:
        dy: (H, W, C).
        x, params, heads, G1, G2: as in `h_mhsa`.

    Returns:
        dx, (H, W, C), and the gradients of all `params`.

    Raises:
        ValueError: if `dy` has not the shape of x.

    >>> rng = np.random.default_rng(0)
    >>> C = 6
    >>> params = {f"{norm}.{name}": rng.normal(size=C)
    ...     for norm in ("norm", "local_norm", "merge.norm") for name in ("weight", "bias")}
    >>> rows = {"local_attention.qkv": 3 * C, "global_attention.q": C, "global_attention.kv": 2 * C, "projection": C}
    >>> for name, count in rows.items():
    ...     params |= {f"{name}.weight": rng.normal(size=(count, C)), f"{name}.bias": rng.normal(size=count)}
    >>> dx, gradients = h_mhsa_vjp(np.ones((4, 5, C)), rng.normal(size=(4, 5, C)), params, heads=2, G1=3, G2=2)
    >>> {name: gradient.shape for name, gradient in gradients.items()} == {n: p.shape for n, p in params.items()}
    True
    """
    normed = group_norm(x, **within(params, "norm"))  # (H, W, C)
    summed = local_attention(normed, params, heads, G1) + x  # (H, W, C)
    A1 = group_norm(summed, **within(params, "local_norm"))  # (H, W, C)
    merged = merge(A1, params, G2)  # (H / G2, W / G2, C)
    A2 = global_attention(A1, merged, params, heads)  # (H, W, C)

    dA, of_sum = aggregate_vjp(dy, A1, A2, params)  # (H, W, C)
    dA1_as_queries, dmerged, of_global = global_attention_vjp(dA, A1, merged, params, heads)
    dA1_as_merged, of_merge = merge_vjp(dmerged, A1, params, G2)
    dA1 = dA + dA1_as_queries + dA1_as_merged  # (H, W, C), the three uses of A1
    dsummed, local_norm = group_norm_vjp(dA1, summed, **within(params, "local_norm"))  # (H, W, C)
    dnormed, of_local = local_attention_vjp(dsummed, normed, params, heads, G1)  # (H, W, C)
    dx_as_normed, norm = group_norm_vjp(dnormed, x, **within(params, "norm"))  # (H, W, C)
    dx = dsummed + dx_as_normed  # (H, W, C), the two uses of X
    return dx, named({"norm": norm, "local_norm": local_norm}) | of_local | of_merge | of_global | of_sum
