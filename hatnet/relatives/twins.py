"""Twins-SVT: attention inside windows, then to a merged map, in two layers (Chu et al., NeurIPS 2021)."""

from torch import Tensor, nn

from hatnet.complexity.attention import window_tokens_and_pairs
from hatnet.complexity.cost import Cost, add, check_sizes, linear_parameters, norm_parameters
from hatnet.hierarchical_attention import LocalAttention
from hatnet.relatives.pvt import PVTAttention, pvt_cost


class TwinsAttention(nn.Module):
    """Attention inside windows (LSA), as in H-MHSA, then to the merged map (GSA), as in PVT: two layers.

    H-MHSA does both in one layer with one output projection. The MLP that Twins has between the two is left out. Raises
    ValueError if the heads do not divide the channels, and for windows or cells below 1 token.
    """

    def __init__(self, channels: int, heads: int, window: int, reduction: int) -> None:
        super().__init__()
        check_sizes(window=window)
        self.window = window  # in tokens
        self.norm = nn.LayerNorm(channels)
        self.local_attention = LocalAttention(channels, heads)
        self.local_projection = nn.Linear(channels, channels)
        self.far = PVTAttention(channels, heads, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C); the block adds `x` to this, which makes it the two residual layers."""
        near = self.local_projection(self.local_attention(self.norm(x), self.window))
        return near + self.far(x + near)


def twins_cost(H: int, W: int, C: int, window: int, reduction: int, padded: bool = False) -> Cost:
    """Cost of the pair of layers, each with its own output projection; the MLP between them is left out.

    >>> [term for term in twins_cost(56, 56, 64, window=7, reduction=8).macs if "p" in term]
    ['W1p', 'W2p']
    """
    check_sizes(H=H, W=W, C=C, window=window, reduction=reduction)
    tokens, pairs = window_tokens_and_pairs(H, W, window, padded)
    near = {
        "W1q W1k W1v": 3 * tokens * C**2,
        "Q1 K1^T": pairs * C,
        "softmax V1": pairs * C,
        "W1p": H * W * C**2,
    }
    far = pvt_cost(H, W, C, reduction)
    names = {"Wq": "W2q", "Wk Wv": "W2k W2v", "Q K^T": "Q2 K2^T", "softmax V": "softmax V2", "Wp": "W2p"}
    return add(
        [
            Cost(near, norm_parameters(C) + linear_parameters(C, 3 * C) + linear_parameters(C, C)),
            Cost({names.get(term, term): count for term, count in far.macs.items()}, far.parameters),
        ]
    )
