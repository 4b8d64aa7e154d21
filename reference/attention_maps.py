r"""Attention maps: which tokens, and which pixels, reach a token. From the weights of one image's trace.

Every step is a matrix whose rows say where an output comes from: a row is a query, a column a token it takes from, and
a row sums to one. What follows one after the other is then a product of matrices, and here they are formed whole.

- `local_matrix`, L: the weights of the windows.
- `pooling_matrix`, P: the merging of Eq. 10. With the global weights G, the product G P shares each cell's weight out
  equally among its tokens.
- `composed_matrix`: all ways through a block together.
- `rollout`: through all blocks and stages, back to the stem; `stem_matrix` goes on to pixels, and `to_shares` makes a
  row sum to one again.
- `class_map`: the same, with weights that speak for a class.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from reference.hierarchical_attention import windows
from reference.layers import ceil_div
from reference.names import Array
from reference.network import Config, Stage


def local_matrix(weights: Array, size: tuple[int, int], G1: int) -> Array:
    """L: the weights of all windows over all tokens, zero outside a query's window.

    Args:
        weights: of one head, (rows, columns, g h, g h), as `local_attention` records them.
        size: of the map, (H, W).
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
    number = np.arange(H * W).reshape(H, W)  # of each token
    L = np.zeros((H * W, H * W))
    for row, column, window in windows(H, W, G1):
        own = weights[row, column].reshape(g, h, g, h)
        m, n = number[window].shape  # smaller at the border  D6
        tokens = number[window].ravel()
        L[np.ix_(tokens, tokens)] = own[:m, :n, :m, :n].reshape(m * n, m * n)
    return L


def pooling_matrix(size: tuple[int, int], G2: int) -> Array:
    """P: the merging of Eq. 10 as a matrix: a row is a cell, with the same weight for each of its tokens.

    Args:
        size: of the map, (H, W).
        G2: side of a cell, in tokens.

    Returns:
        (H'W', HW), rows sum to one.

    >>> pooling_matrix((1, 3), G2=2)
    array([[0.5, 0.5, 0. ],
           [0. , 0. , 1. ]])
    """
    H, W = size
    rows, columns = ceil_div(H, G2), ceil_div(W, G2)
    P = np.zeros((rows, columns, H, W))
    for row in range(rows):
        for column in range(columns):
            cell = P[row, column, row * G2 : (row + 1) * G2, column * G2 : (column + 1) * G2]
            cell[:] = 1 / cell.size  # Eq. 10
    return P.reshape(rows * columns, H * W)


def composed_matrix(L: Array, G: Array, P: Array) -> Array:
    r"""What reaches each token through H-MHSA, of one head, when every way counts the same.

    By Eq. 9 the windows give $A_1 = (I + L) X$, by Eq. 10-13 the merged tokens give $A_2 = G P A_1$, and by Eq. 14 the
    block gives $A_1 + A_2 + X$. That is five ways, each a matrix whose rows sum to one:

    $$C = \tfrac{1}{5} \left[\, I + (I + G P)(I + L) \,\right] = \tfrac{1}{5} \left[\, 2I + L + G P + G P L \,\right]$$

    the two residuals, the window, the cells, and the cells with what windows had brought to them. 5 C is the Jacobian
    of the block with the values left alone: norms, W^v and W^p the identity, no biases, weights held fixed.

    Args:
        L: (HW, HW), from `local_matrix`.
        G: global weights of the same head, (HW, H'W').
        P: (H'W', HW), from `pooling_matrix`.

    Returns:
        C, (HW, HW), rows sum to one.

    >>> composed_matrix(L=np.eye(2), G=np.ones((2, 1)), P=np.full((1, 2), 0.5))
    array([[0.8, 0.2],
           [0.2, 0.8]])
    """
    I = np.eye(len(L))  # noqa: E741 the identity has no other name
    A1 = I + L  # Eq. 9
    A2 = G @ P @ A1  # Eq. 10-13
    return (A1 + A2 + I) / 5  # Eq. 14


def plain_matrix(A: Array) -> Array:
    """The same for plain attention, Eq. 3: the residual and the weights, (I + A) / 2.

    >>> plain_matrix(np.full((2, 2), 0.5))
    array([[0.75, 0.25],
           [0.25, 0.75]])
    """
    return (np.eye(len(A)) + A) / 2  # Eq. 3


def block_matrix(trace: Mapping[str, Array], stage: Stage, block: str, head: int | None = None) -> Array:
    """The composed matrix of a block: of one head, or the mean of all heads' matrices.

    Args:
        trace: of `hat_net`.
        stage: the block's stage.
        block: where it is in the trace, for instance `stages.0.blocks.1`.
        head: counted from 0; None for the mean.

    Returns:
        (HW, HW), rows sum to one.
    """
    heads = range(stage.heads) if head is None else [head]
    return np.mean([_head_matrix(trace, stage, block, one) for one in heads], axis=0)


def _head_matrix(trace: Mapping[str, Array], stage: Stage, block: str, head: int) -> Array:
    if stage.grid_size is None or stage.pool_size is None:
        return plain_matrix(trace[f"{block}.attention.weights"][head])
    size = _size(trace[f"{block}.output"])
    L = local_matrix(trace[f"{block}.attention.local_weights"][:, :, head], size, stage.grid_size)
    return composed_matrix(L, trace[f"{block}.attention.global_weights"][head], pooling_matrix(size, stage.pool_size))


def receptive_field(size: tuple[int, int], stride: int) -> Array:
    """A 3x3 convolution as a matrix: where outputs look, whatever its weights.

    A place takes from the outputs that look at it, along each axis in proportion 1, 2, 1 at stride 2, where two outputs
    see the outer places, and alike otherwise. Every place takes as much as every other, so columns have the same sum,
    and an even row stays even; rows sum to one only on average, as an output at the border stands for fewer or more
    places than others.

    Args:
        size: of the map it is given, (H, W).
        stride: s.

    Returns:
        (ceil(H / s) ceil(W / s), HW); columns are zero where no output looks, which happens at strides above 2.

    >>> receptive_field((1, 6), stride=2)
    array([[0.5 , 0.25, 0.  , 0.  , 0.  , 0.  ],
           [0.  , 0.25, 0.5 , 0.25, 0.  , 0.  ],
           [0.  , 0.  , 0.  , 0.25, 0.5 , 0.5 ]])
    """
    H, W = size
    rows, columns = ceil_div(H, stride), ceil_div(W, stride)
    shares = [1, 2, 1] if stride == 2 else [1, 1, 1]
    looks = np.zeros((rows, columns, H, W))
    for row in range(rows):
        for column in range(columns):
            for i in range(3):
                for j in range(3):
                    y, x = row * stride + i - 1, column * stride + j - 1
                    if 0 <= y < H and 0 <= x < W:
                        looks[row, column, y, x] = shares[i] * shares[j]
    by_all = looks.sum(axis=(0, 1))  # (H, W)
    every_place_alike = looks / np.where(by_all > 0, by_all, 1) * (rows * columns) / (H * W)
    return every_place_alike.reshape(rows * columns, H * W)


def stem_matrix(size: tuple[int, int], strides: tuple[int, int]) -> Array:
    """The two convolutions of the stem: from tokens of the first stage to pixels of an image of `size`.

    >>> stem_matrix((8, 8), strides=(2, 2)).shape
    (4, 64)
    """
    H, W = size
    hidden = (ceil_div(H, strides[0]), ceil_div(W, strides[0]))
    return receptive_field(hidden, strides[1]) @ receptive_field(size, strides[0])


def to_shares(maps: Array) -> Array:
    """Rows, or means of rows, each divided by its sum.

    >>> to_shares(np.array([[1.0, 3.0], [0.0, 2.0]]))
    array([[0.25, 0.75],
           [0.  , 1.  ]])
    """
    return maps / maps.sum(axis=-1, keepdims=True)


def rollout(trace: Mapping[str, Array], config: Config, stage: int, block: int) -> Array:
    """From the output of a block back to the tokens of the stem: the product of all matrices on the way.

    A block counts with its `block_matrix`, and its MLP as the identity, so only with its residual (Eq. 4); downsampling
    counts with its `receptive_field`. So what the MLPs' depthwise convolutions carry from neighbour to neighbour, and
    how much each norm and each matrix scales what passes, is not in it.

    Args:
        trace: of `hat_net`.
        config: the variant.
        stage, block: the block to start from, counted from 0.

    Returns:
        (HW of that stage, HW of the stem). Rows sum to one but for downsampling; `to_shares` divides one by its sum,
        or the mean of all, which is what the classifier is given.
    """
    R = np.eye(trace["stem"].shape[0] * trace["stem"].shape[1])
    for s in range(stage + 1):
        if s > 0:
            R = receptive_field(_size(trace[f"stages.{s - 1}.output"]), stride=2) @ R
        for b in range(block + 1 if s == stage else config.stages[s].depth):
            R = block_matrix(trace, config.stages[s], f"stages.{s}.blocks.{b}") @ R
    return R


def relevance(weights: Array, gradient: Array, heads_axis: int) -> Array:
    r"""Weights that speak for a class: $\bar W = \frac{1}{\text{heads}} \sum_{\text{heads}} \max(\partial y / \partial W \odot W,\, 0)$.

    Args:
        weights: W, of all heads.
        gradient: of the class's logit y with respect to them, of the same shape.
        heads_axis: which axis counts heads.

    Returns:
        The mean over heads, not negative; rows don't sum to one.

    >>> relevance(np.full((2, 1, 2), 0.5), np.array([[[4.0, -4.0]], [[0.0, 2.0]]]), heads_axis=0)
    array([[1. , 0.5]])
    """  # noqa: E501 one formula
    return np.maximum(gradient * weights, 0).mean(axis=heads_axis)


def class_map(trace: Mapping[str, Array], gradients: Mapping[str, Array], config: Config) -> Array:
    r"""What speaks for a class, over the tokens of the stem: a rollout of relevances, without what residuals carry.

    Each block counts with $I + (\bar L + \bar G P + \bar G P \bar L) / 2$, where the two residuals together carry
    one, and each plain block with $I + \bar A$. The mean of the rows of their product, since the classifier is given
    the mean of all tokens, less the same with all relevances zero.

    Args:
        trace: of `hat_net`.
        gradients: of the class's logit with respect to every array of weights in the trace, under its name.
        config: the variant.

    Returns:
        (HW of the stem,), not negative. Its sum has no meaning.
    """
    R = residuals = np.eye(trace["stem"].shape[0] * trace["stem"].shape[1])
    for s, stage in enumerate(config.stages):
        if s > 0:
            down = receptive_field(_size(trace[f"stages.{s - 1}.output"]), stride=2)
            R, residuals = down @ R, down @ residuals
        for b in range(stage.depth):
            R = R + _gained(trace, gradients, stage, f"stages.{s}.blocks.{b}") @ R
    return (R - residuals).mean(axis=0)


def _gained(trace: Mapping[str, Array], gradients: Mapping[str, Array], stage: Stage, block: str) -> Array:
    """What the relevances of a block add to its residuals, (HW, HW)."""

    def of(kind: str, heads_axis: int) -> Array:
        name = f"{block}.attention.{kind}"
        return relevance(trace[name], gradients[name], heads_axis)

    if stage.grid_size is None or stage.pool_size is None:
        return of("weights", heads_axis=0)
    size = _size(trace[f"{block}.output"])
    L = local_matrix(of("local_weights", heads_axis=2), size, stage.grid_size)
    GP = of("global_weights", heads_axis=0) @ pooling_matrix(size, stage.pool_size)
    return (L + GP + GP @ L) / 2


def _size(map: Array) -> tuple[int, int]:
    return map.shape[0], map.shape[1]
