"""Cost of the attention in HAT-Net, plain and hierarchical, on a map of H x W tokens with C channels.

Every count is for one image and includes the output projection, the term `Wp`; Eq. 5 and 15 of the paper leave it out.
Heads change no count: each has d = C / heads channels, and there are C / d of them. Parameters are those of the modules
in `hatnet`, including the norm before the attention.

`padded` decides what happens where windows do not divide the map. False counts only tokens that exist, as the
mathematics needs and NumPy computes. True counts what PyTorch computes: it fills the last windows with zeros, so that
all windows form one batch.
"""

from math import prod

from hatnet.complexity.cost import Cost, check_sizes, linear_parameters, norm_parameters
from hatnet.config import ceil_div


def mhsa_cost(H: int, W: int, C: int) -> Cost:
    """Cost of plain attention: every token attends to every token (Eq. 1-3)."""
    H, W, C = check_sizes(H=H, W=W, C=C)
    tokens = H * W
    macs = {
        "Wq Wk Wv": 3 * tokens * C**2,
        "Q K^T": tokens**2 * C,
        "softmax V": tokens**2 * C,
        "Wp": tokens * C**2,
    }
    return Cost(macs, norm_parameters(C) + linear_parameters(C, 3 * C) + linear_parameters(C, C))


def h_mhsa_cost(H: int, W: int, C: int, G1: int, G2: int, padded: bool = False) -> Cost:
    """Cost of hierarchical attention: inside windows of G1 x G1, then to the map merged in cells of G2 x G2 (Eq. 6-14).

    >>> h_mhsa_cost(56, 56, 64, G1=8, G2=8).macs  # doctest: +NORMALIZE_WHITESPACE
    {'W1q W1k W1v': 38535168, 'Q1 K1^T': 12845056, 'softmax V1': 12845056,
     'W2q': 12845056, 'W2k W2v': 401408, 'Q2 K2^T': 9834496, 'softmax V2': 9834496, 'Wp': 12845056}
    """
    H, W, C, G1, G2 = check_sizes(H=H, W=W, C=C, G1=G1, G2=G2)
    near_tokens, near_pairs = window_tokens_and_pairs(H, W, G1, padded)
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
    return Cost(macs, 3 * norm_parameters(C) + sum(linear_parameters(C, outputs) for outputs in (3 * C, C, 2 * C, C)))


def equation_5(H: int, W: int, C: int) -> int:
    """Eq. 5 as printed: 3 H W C^2 + 2 H^2 W^2 C."""
    H, W, C = check_sizes(H=H, W=W, C=C)
    return 3 * H * W * C**2 + 2 * H**2 * W**2 * C  # Eq. 5


def equation_15(H: int, W: int, C: int, G1: int, G2: int) -> int:
    """Eq. 15 as printed: H W C (4 C + 2 G1^2) + 2 (H W / G2^2) C (C + H W).

    Raises ValueError if G1 or G2 does not divide the map: the equation has no partial windows or cells.

    >>> round(equation_5(14, 14, 320) / equation_15(14, 14, 320, G1=7, G2=2), 2)  # plain attention is cheaper here
    0.83
    """
    H, W, C, G1, G2 = check_sizes(H=H, W=W, C=C, G1=G1, G2=G2)
    for name, size in (("G1", G1), ("G2", G2)):
        if H % size or W % size:
            raise ValueError(
                f"Eq. 15 holds where {name} divides H and W; {name}={size} does not divide {H} x {W}; use h_mhsa_cost"
            )
    return H * W * C * (4 * C + 2 * G1**2) + 2 * (H * W // G2**2) * C * (C + H * W)  # Eq. 15


def window_tokens_and_pairs(H: int, W: int, size: int, padded: bool) -> tuple[int, int]:
    """The number of tokens in all windows, for projections, and of pairs of a query and a key, for attention."""
    if padded:
        g, h = min(size, H), min(size, W)
        tokens = ceil_div(H, g) * g * ceil_div(W, h) * h
        return tokens, tokens * g * h
    # Cut each axis into pieces of `size` and add their squared lengths: 14 into 4, 4, 4 and 2, for example.
    return H * W, prod(length // size * size**2 + (length % size) ** 2 for length in (H, W))
