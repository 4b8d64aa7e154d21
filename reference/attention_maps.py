r"""Attention maps: which tokens and pixels contribute to a token, computed from the trace of one image.

Each step is a matrix with one row per output and one column per input. The entries are the input's shares of the
output, so that a row sums to one. Consecutive steps are multiplied; here all matrices are formed in full.

- `local_matrix`, L: the weights of the windows.
- `pooling_matrix`, P: the merging of Eq. 10. With the global weights G, the product G P divides the weight of each cell
  equally among its tokens.
- `composed_matrix`, F: all paths through a block together.
- `rollout`: all blocks and stages, back to the stem; `stem_matrix` continues to pixels, and `to_shares` makes rows sum
  to one again.
- `class_map`: the rollout of the weights that support a class.

D6 is explained in docs/paper-vs-code.md.
"""

from collections.abc import Mapping
from math import prod

import numpy as np

from reference.checks import checked, require_size, require_whole
from reference.hierarchical_attention import windows
from reference.layers import ceil_div
from reference.names import Array
from reference.network import Config, Stage, require_config, require_stage


@checked(weights="rows columns n n", size=(1, 1), G1=1)
def local_matrix(weights: Array, size: tuple[int, int], G1: int) -> Array:
    """L: the weights of all windows over all tokens, zero outside a query's window.

    Args:
        weights: the weights of one head, (rows, columns, g h, g h), as `local_attention` records them.
        size: (H, W) of the map.
        G1: side of a window, in tokens.

    Returns:
        (HW, HW), rows sum to one.

    >>> local_matrix(np.full((1, 2, 2, 2), 0.5), size=(1, 4), G1=2)
    array([[0.5, 0.5, 0. , 0. ],
           [0.5, 0.5, 0. , 0. ],
           [0. , 0. , 0.5, 0.5],
           [0. , 0. , 0.5, 0.5]])
    """
    H, W = size
    g, h = min(G1, H), min(G1, W)
    require_size(H * W, H * W)
    expected = (ceil_div(H, G1), ceil_div(W, G1), g * h, g * h)
    if weights.shape != expected:
        raise ValueError(f"weights must have shape {expected} for windows of G1={G1} on {H} x {W}, got {weights.shape}")
    number = np.arange(H * W).reshape(H, W)  # the index of each token
    L = np.zeros((H * W, H * W))
    for row, column, window in windows(H, W, G1):
        own = weights[row, column].reshape(g, h, g, h)
        m, n = number[window].shape  # smaller at the border  D6
        tokens = number[window].ravel()
        L[np.ix_(tokens, tokens)] = own[:m, :n, :m, :n].reshape(m * n, m * n)
    return L


@checked(size=(1, 1), G2=1)
def pooling_matrix(size: tuple[int, int], G2: int) -> Array:
    """P: the merging of Eq. 10 as a matrix, with one row per cell and equal weights for the tokens in it.

    Args:
        size: (H, W) of the map.
        G2: side of a cell, in tokens.

    Returns:
        (H'W', HW), rows sum to one.

    >>> pooling_matrix((1, 3), G2=2)
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 1. ]])
    """
    H, W = size
    rows, columns = ceil_div(H, G2), ceil_div(W, G2)
    require_size(rows * columns, H * W)
    P = np.zeros((rows, columns, H, W))
    for row in range(rows):
        for column in range(columns):
            cell = P[row, column, row * G2 : (row + 1) * G2, column * G2 : (column + 1) * G2]
            cell[:] = 1 / cell.size  # Eq. 10
    return P.reshape(rows * columns, H * W)


@checked(L="N N", G="N M", P="M N")
def composed_matrix(L: Array, G: Array, P: Array) -> Array:
    r"""F: the fraction of each token in each token after H-MHSA in one head, with every path counted equally.

    By Eq. 9 the windows give $A_1 = (I + L) X$, by Eq. 10-13 the merged tokens give $A_2 = G P A_1$, and by Eq. 14 the
    block gives $A_1 + A_2 + X$. These are five paths, each a matrix whose rows sum to one:

    $$F = \tfrac{1}{5} \left[\, I + (I + G P)(I + L) \,\right] = \tfrac{1}{5} \left[\, 2I + L + G P + G P L \,\right]$$

    They are the two residual connections, the window, the cells, and the cells after the windows. 5 F is the Jacobian
    of a block that leaves the values unchanged: norms, W^v and W^p are the identity, biases are zero, and the weights
    are constant.

    Args:
        L: (HW, HW), from `local_matrix`.
        G: the global weights of the same head, (HW, H'W').
        P: (H'W', HW), from `pooling_matrix`.

    Returns:
        F, (HW, HW), rows sum to one.

    >>> composed_matrix(L=np.eye(2), G=np.ones((2, 1)), P=np.full((1, 2), 0.5))
    array([[0.8, 0.2],
           [0.2, 0.8]])
    """
    I = np.eye(len(L))  # noqa: E741 the identity has no other name
    A1 = I + L  # Eq. 9
    A2 = G @ P @ A1  # Eq. 10-13
    return (A1 + A2 + I) / 5  # Eq. 14


@checked(A="N N")
def plain_matrix(A: Array) -> Array:
    """The same for plain attention, Eq. 3: the residual connection and the weights, (I + A) / 2.

    >>> plain_matrix(np.full((2, 2), 0.5))
    array([[0.75, 0.25],
           [0.25, 0.75]])
    """
    return (np.eye(len(A)) + A) / 2  # Eq. 3


@checked()
def block_matrix(trace: Mapping[str, Array], stage: Stage, block: str, head: int | None = None) -> Array:
    """The matrix of a block, for one head or averaged over all heads.

    Args:
        trace: the trace of `hat_net`.
        stage: the stage of the block.
        block: the name of the block in the trace, for instance `stages.0.blocks.1`.
        head: the head, counted from 0; None for the mean.

    Returns:
        (HW, HW), rows sum to one.
    """
    require_stage(stage)
    heads = range(stage.heads) if head is None else [require_whole("head", head, 0, stage.heads - 1)]
    return np.mean([_head_matrix(trace, stage, block, one) for one in heads], axis=0)


def _head_matrix(trace: Mapping[str, Array], stage: Stage, block: str, head: int) -> Array:
    if stage.grid_size is None or stage.pool_size is None:
        return plain_matrix(_read(trace, f"{block}.attention.weights")[head])
    size = _size(_read(trace, f"{block}.output"))
    L = local_matrix(_read(trace, f"{block}.attention.local_weights")[:, :, head], size, stage.grid_size)
    return composed_matrix(
        L, _read(trace, f"{block}.attention.global_weights")[head], pooling_matrix(size, stage.pool_size)
    )


@checked(size=(1, 1), stride=1)
def receptive_field(size: tuple[int, int], stride: int) -> Array:
    """A 3x3 convolution as a matrix that shows which inputs each output reads, whatever the weights.

    Each input divides the same total equally among the outputs that read it. At stride 2, where two outputs read the
    outer inputs, an output so counts its inputs in proportion 1, 2, 1 along each axis. All columns have the same sum,
    and a uniform row stays uniform. Rows sum to one only on average, since an output at the border covers fewer or more
    inputs.

    Args:
        size: (H, W) of the input map.
        stride: s.

    Returns:
        (ceil(H / s) ceil(W / s), HW); columns of inputs that no output reads are zero, which needs a stride above 2.

    >>> receptive_field((1, 6), stride=2)
    array([[0.5 , 0.25, 0.  , 0.  , 0.  , 0.  ],
           [0.  , 0.25, 0.5 , 0.25, 0.  , 0.  ],
           [0.  , 0.  , 0.  , 0.25, 0.5 , 0.5 ]])
    """
    H, W = size
    rows, columns = ceil_div(H, stride), ceil_div(W, stride)
    require_size(rows * columns, H * W)
    looks = np.zeros((rows, columns, H, W))
    for row in range(rows):
        for column in range(columns):
            for i in range(3):
                for j in range(3):
                    y, x = row * stride + i - 1, column * stride + j - 1
                    if 0 <= y < H and 0 <= x < W:
                        looks[row, column, y, x] = 1
    by_all = looks.sum(axis=(0, 1))  # (H, W)
    every_place_alike = looks / np.maximum(by_all, 1) * (rows * columns) / (H * W)
    return every_place_alike.reshape(rows * columns, H * W)


@checked(size=(1, 1), strides=(1, 1))
def stem_matrix(size: tuple[int, int], strides: tuple[int, int]) -> Array:
    """The two convolutions of the stem: one row per token of the first stage, one column per pixel of a `size` image.

    >>> stem_matrix((8, 8), strides=(2, 2)).shape
    (4, 64)
    """
    H, W = size
    hidden = (ceil_div(H, strides[0]), ceil_div(W, strides[0]))
    return receptive_field(hidden, strides[1]) @ receptive_field(size, strides[0])


@checked(maps="... N")
def to_shares(maps: Array) -> Array:
    """Divide rows, or means of rows, by their sums.

    >>> to_shares(np.array([[1.0, 3.0], [0.0, 2.0]]))
    array([[0.25, 0.75],
           [0.  , 1.  ]])
    """
    sums = maps.sum(axis=-1, keepdims=True)
    if not sums.all():
        raise ValueError(f"maps has {np.count_nonzero(sums == 0)} rows that sum to zero, which have no shares")
    return maps / sums


@checked()
def rollout(trace: Mapping[str, Array], config: Config, stage: int, block: int) -> Array:
    """The contribution of each token of the stem to each output of a block: the product of all matrices in between.

    A block enters with its `block_matrix` and downsampling with its `receptive_field`. An MLP counts as the identity,
    its residual connection (Eq. 4). The rollout therefore ignores the mixing of neighbours in the depthwise
    convolutions, and the scaling by norms and matrices.

    Args:
        trace: the trace of `hat_net`.
        config: the variant.
        stage, block: the block to start from, counted from 0.

    Returns:
        (HW of that stage, HW of the stem). Downsampling makes row sums differ from one; `to_shares` corrects a row, or
        the mean of all rows, which belongs to the classifier's input.
    """
    require_config(config)
    require_whole("stage", stage, 0, len(config.stages) - 1)
    require_whole("block", block, 0, config.stages[stage].depth - 1)
    R = np.eye(prod(_size(_read(trace, "stem"))))
    for s in range(stage + 1):
        if s > 0:
            R = receptive_field(_size(_read(trace, f"stages.{s - 1}.output")), stride=2) @ R
        for b in range(block + 1 if s == stage else config.stages[s].depth):
            R = block_matrix(trace, config.stages[s], f"stages.{s}.blocks.{b}") @ R
    return R


@checked(weights="...", gradient="...")
def relevance(weights: Array, gradient: Array, heads_axis: int) -> Array:
    r"""The relevance of attention weights for a class: $\bar W = \frac{1}{\text{heads}} \sum_{\text{heads}} \max(\partial y / \partial W \odot W,\, 0)$.

    Args:
        weights: W, of all heads.
        gradient: the gradient of the class's logit y with respect to W, of the same shape.
        heads_axis: the axis of the heads.

    Returns:
        The mean over heads, not negative; rows do not sum to one.

    >>> relevance(np.full((2, 1, 2), 0.5), np.array([[[4.0, -4.0]], [[0.0, 2.0]]]), heads_axis=0)
    array([[1. , 0.5]])
    """  # noqa: E501 one formula
    require_whole("heads_axis", heads_axis, -weights.ndim, weights.ndim - 1)
    return np.maximum(gradient * weights, 0).mean(axis=heads_axis)


@checked()
def class_map(
    trace: Mapping[str, Array],
    gradients: Mapping[str, Array],
    config: Config,
    reads: Mapping[int, Array] | None = None,
) -> Array:
    r"""The relevance of each token of the stem for a class: a rollout of relevances, minus that of the residuals alone.

    A block enters with $I + (\bar L + \bar G P + \bar G P \bar L) / 2$, in which the two residual connections
    together have weight one, and a plain block with $I + \bar A$. The result is the mean over the rows of their
    product, since the classifier averages all tokens, minus the same mean with all relevances set to zero.
    Another head may read the outputs of several stages, and some tokens more than others.

    Args:
        trace: the trace of `hat_net`.
        gradients: the gradient of the class's logit with respect to each array of weights in the trace, by its name.
        config: the variant.
        reads: for each stage that the head reads, the share of every token, (HW of the stage,). None for a classifier.

    Returns:
        (HW of the stem,), not negative. Its sum has no meaning.
    """
    require_config(config)
    R = residuals = np.eye(prod(_size(_read(trace, "stem"))))
    tokens = [prod(_size(_read(trace, f"stages.{s}.output"))) for s in range(len(config.stages))]
    if reads is None:
        last = len(tokens) - 1
        reads = {last: np.full(tokens[last], 1 / tokens[last])}
    _require_reads(reads, tokens)
    found = np.zeros(len(R))
    for s, stage in enumerate(config.stages):
        if s > 0:
            down = receptive_field(_size(_read(trace, f"stages.{s - 1}.output")), stride=2)
            R, residuals = down @ R, down @ residuals
        for b in range(stage.depth):
            R = R + _added(trace, gradients, stage, f"stages.{s}.blocks.{b}") @ R
        if s in reads:
            found += reads[s] @ (R - residuals)
    return found


def _require_reads(reads: Mapping[int, Array], tokens: list[int]) -> None:
    """Raise a TypeError or a ValueError unless each entry has a number, not negative, for every token of a stage."""
    if not isinstance(reads, Mapping) or not reads:
        raise TypeError(f"reads must be a table of shares by stage, such as {{0: shares}}, got {reads!r}")
    for s, shares in reads.items():
        require_whole("a stage in reads", s, 0, len(tokens) - 1)
        if not isinstance(shares, np.ndarray) or shares.shape != (tokens[s],) or shares.dtype.kind != "f":
            raise ValueError(f"reads[{s}] must be an array of {tokens[s]} floats, one for each token of stage {s}")
        if not (np.isfinite(shares).all() and shares.min() >= 0):
            raise ValueError(f"reads[{s}] must be finite and not negative: shares of tokens")


def _added(trace: Mapping[str, Array], gradients: Mapping[str, Array], stage: Stage, block: str) -> Array:
    """The relevances of a block, without its residual connections, (HW, HW)."""

    def of(kind: str, heads_axis: int) -> Array:
        name = f"{block}.attention.{kind}"
        return relevance(_read(trace, name), _read(gradients, name), heads_axis)

    if stage.grid_size is None or stage.pool_size is None:
        return of("weights", heads_axis=0)
    size = _size(_read(trace, f"{block}.output"))
    L = local_matrix(of("local_weights", heads_axis=2), size, stage.grid_size)
    GP = of("global_weights", heads_axis=0) @ pooling_matrix(size, stage.pool_size)
    return (L + GP + GP @ L) / 2


def _read(trace: Mapping[str, Array], name: str) -> Array:
    """An array of a trace, or of gradients. Raises ValueError if it is not there, or is no array of floats."""
    found = trace.get(name) if isinstance(trace, Mapping) else None
    if not isinstance(found, np.ndarray) or found.ndim < 3 or not np.issubdtype(found.dtype, np.floating):
        raise ValueError(f"no array {name!r} in the trace or the gradients; give those of hat_net for this network")
    return found


def _size(map: Array) -> tuple[int, int]:
    return map.shape[0], map.shape[1]
