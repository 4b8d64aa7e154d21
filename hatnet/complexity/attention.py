"""What one attention module costs on a map of H x W tokens and C channels, for H-MHSA and its relatives.

Every count is for one image and includes the output projection, as the term `Wp`; Eq. 5 and 15 of the paper leave it
out. Heads change no count: each has d = C / heads channels, and there are C / d of them. Parameters are those of the
modules in `hatnet` and `hatnet.relatives`, the norm before the attention included.

Where windows do not divide a map, `padded` says what is meant: False, the products of the tokens that exist, which is
what the mathematics needs and NumPy computes; True, those that PyTorch computes, which fills the last windows with
zeros to make one batch of them.
"""

from __future__ import annotations

from hatnet.complexity.cost import Cost, add, check_sizes
from hatnet.config import ceil_div


def mhsa(H: int, W: int, C: int) -> Cost:
    """Plain attention: every token to every token (Eq. 1-3).

    >>> mhsa(56, 56, 64).total_macs - mhsa(56, 56, 64).macs["Wp"] == equation_5(56, 56, 64)
    True
    """
    check_sizes(H=H, W=W, C=C)
    tokens = H * W
    macs = {
        "Wq Wk Wv": 3 * tokens * C**2,
        "Q K^T": tokens**2 * C,
        "softmax V": tokens**2 * C,
        "Wp": tokens * C**2,
    }
    return Cost(macs, parameters=_norm(C) + _linear(C, 3 * C) + _linear(C, C))


def h_mhsa(H: int, W: int, C: int, G1: int, G2: int, padded: bool = False) -> Cost:
    """Hierarchical attention: within windows of G1 x G1, then to the map merged in cells of G2 x G2 (Eq. 6-14).

    >>> h_mhsa(56, 56, 64, G1=8, G2=8).macs  # doctest: +NORMALIZE_WHITESPACE
    {'W1q W1k W1v': 38535168, 'Q1 K1^T': 12845056, 'softmax V1': 12845056,
     'W2q': 12845056, 'W2k W2v': 401408, 'Q2 K2^T': 9834496, 'softmax V2': 9834496, 'Wp': 12845056}
    """
    check_sizes(H=H, W=W, C=C, G1=G1, G2=G2)
    near_tokens, near_pairs = windows(H, W, G1, padded)
    tokens, merged = H * W, ceil_div(H, G2) * ceil_div(W, G2)
    macs = {
        "W1q W1k W1v": 3 * near_tokens * C**2,
        "Q1 K1^T": near_pairs * C,
        "softmax V1": near_pairs * C,
        "W2q": tokens * C**2,
        "W2k W2v": 2 * merged * C**2,
        "Q2 K2^T": tokens * merged * C,
        "softmax V2": tokens * merged * C,
        "Wp": tokens * C**2,
    }
    parameters = 3 * _norm(C) + _linear(C, 3 * C) + _linear(C, C) + _linear(C, 2 * C) + _linear(C, C)
    return Cost(macs, parameters)


def swin(H: int, W: int, C: int, window: int, heads: int = 1, padded: bool = False) -> Cost:
    """Swin's attention within windows; what a token outside its window holds is out of reach. The shift costs nothing.

    `heads` counts in the parameters alone: a table of position biases, one a relative position and head.

    >>> swin(56, 56, 96, window=7).macs["Q K^T"] == 56 * 56 * 7 * 7 * 96
    True
    """
    check_sizes(H=H, W=W, C=C, window=window, heads=heads)
    tokens, pairs = windows(H, W, window, padded)
    macs = {
        "Wq Wk Wv": 3 * tokens * C**2,
        "Q K^T": pairs * C,
        "softmax V": pairs * C,
        "Wp": H * W * C**2,
    }
    parameters = _norm(C) + _linear(C, 3 * C) + _linear(C, C) + (2 * window - 1) ** 2 * heads
    return Cost(macs, parameters)


def pvt(H: int, W: int, C: int, reduction: int) -> Cost:
    """PVT's spatial reduction: every token to the map merged by a convolution of kernel and stride R, `reduction`.

    The same merging as average pooling in H-MHSA, with R^2 C^2 weights; at R = 1 there is none.

    >>> pvt(56, 56, 64, reduction=8).macs["reduce"] == 7 * 7 * 8 * 8 * 64 * 64
    True
    """
    check_sizes(H=H, W=W, C=C, reduction=reduction)
    merged = ceil_div(H, reduction) * ceil_div(W, reduction)
    if reduction == 1:
        return _reduced(H * W, merged, C, reduce_macs=0, parameters=0)
    taps = reduction**2 * C**2
    return _reduced(H * W, merged, C, reduce_macs=merged * taps, parameters=taps + C + _norm(C))


def pvt_v2_linear(H: int, W: int, C: int, pooled: int = 7) -> Cost:
    """PVTv2's linear spatial reduction: every token to `pooled` x `pooled` averages, whatever the map's size.

    >>> pvt_v2_linear(28, 28, 64).attention_macs * 4 == pvt_v2_linear(56, 56, 64).attention_macs
    True
    """
    check_sizes(H=H, W=W, C=C, pooled=pooled)
    merged = pooled**2
    return _reduced(H * W, merged, C, reduce_macs=merged * C**2, parameters=_linear(C, C) + _norm(C))


def twins(H: int, W: int, C: int, window: int, reduction: int, padded: bool = False) -> Cost:
    """Twins' pair of layers: attention within windows (LSA), then to the map merged by a strided convolution (GSA).

    Two layers, each with its projection, where H-MHSA is one with one; the MLP that Twins has between them is left out.

    >>> [term for term in twins(56, 56, 64, window=7, reduction=8).macs if "p" in term]
    ['W1p', 'W2p']
    """
    check_sizes(H=H, W=W, C=C, window=window, reduction=reduction)
    tokens, pairs = windows(H, W, window, padded)
    local = {
        "W1q W1k W1v": 3 * tokens * C**2,
        "Q1 K1^T": pairs * C,
        "softmax V1": pairs * C,
        "W1p": H * W * C**2,
    }
    names = {"Wq": "W2q", "Wk Wv": "W2k W2v", "Q K^T": "Q2 K2^T", "softmax V": "softmax V2", "Wp": "W2p"}
    far = pvt(H, W, C, reduction)
    return add(
        [
            Cost(local, parameters=_norm(C) + _linear(C, 3 * C) + _linear(C, C)),
            Cost({names.get(term, term): count for term, count in far.macs.items()}, far.parameters),
        ]
    )


def equation_5(H: int, W: int, C: int) -> int:
    """Eq. 5 as printed: 3 H W C^2 + 2 H^2 W^2 C."""
    check_sizes(H=H, W=W, C=C)
    return 3 * H * W * C**2 + 2 * H**2 * W**2 * C  # Eq. 5


def equation_15(H: int, W: int, C: int, G1: int, G2: int) -> int:
    """Eq. 15 as printed: H W C (4 C + 2 G1^2) + 2 (H W / G2^2) C (C + H W).

    Raises:
        ValueError: where G1 or G2 does not divide the map: the equation has no partial windows and cells; `h_mhsa` has.

    >>> round(equation_5(14, 14, 320) / equation_15(14, 14, 320, G1=7, G2=2), 2)  # plain attention is cheaper here
    0.83
    """
    check_sizes(H=H, W=W, C=C, G1=G1, G2=G2)
    for name, size in (("G1", G1), ("G2", G2)):
        if H % size or W % size:
            raise ValueError(f"Eq. 15 holds where {name} divides H and W; {name}={size} does not divide {H} x {W}")
    return H * W * C * (4 * C + 2 * G1**2) + 2 * (H * W // G2**2) * C * (C + H * W)  # Eq. 15


def windows(H: int, W: int, size: int, padded: bool) -> tuple[int, int]:
    """Tokens in windows, and pairs of a token with one of its window: what a projection and a product run over."""
    if padded:
        g, h = min(size, H), min(size, W)
        tokens = ceil_div(H, g) * g * ceil_div(W, h) * h
        return tokens, tokens * g * h
    return H * W, _squares(H, size) * _squares(W, size)


def _squares(length: int, size: int) -> int:
    """The sum of the squared lengths of the pieces of a line; a window's pairs are the product of two such squares.

    >>> _squares(14, 4) == 4**2 + 4**2 + 4**2 + 2**2
    True
    """
    return length // size * size**2 + (length % size) ** 2


def _reduced(tokens: int, merged: int, C: int, reduce_macs: int, parameters: int) -> Cost:
    """Attention of every token to merged ones, with what the merging costs."""
    macs = {
        "Wq": tokens * C**2,
        "reduce": reduce_macs,
        "Wk Wv": 2 * merged * C**2,
        "Q K^T": tokens * merged * C,
        "softmax V": tokens * merged * C,
        "Wp": tokens * C**2,
    }
    return Cost(macs, parameters + _norm(C) + _linear(C, C) + _linear(C, 2 * C) + _linear(C, C))


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def _norm(C: int) -> int:
    return 2 * C
