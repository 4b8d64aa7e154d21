"""Twins-SVT: attention inside windows, then to a merged map, in two layers (Chu et al., NeurIPS 2021)."""

import re

from torch import Tensor, nn

from hatnet.attention import require_heads
from hatnet.checks import require_whole
from hatnet.complexity.cost import Cost
from hatnet.hierarchical_attention import LocalAttention
from hatnet.layers import require_map
from hatnet.relatives.pvt import PVTAttention, pvt_cost
from hatnet.relatives.swin import LONGEST, swin_cost


class TwinsAttention(nn.Module):
    """Attention inside windows (LSA), as in H-MHSA, then to the merged map (GSA), as in PVT: two layers.

    H-MHSA does both in one layer with one output projection. The MLP that Twins has between the two is left out. Raises
    ValueError if the heads do not divide the channels, and for windows or cells below 1 token.
    """

    def __init__(self, channels: int, heads: int, window: int, reduction: int) -> None:
        super().__init__()
        channels, heads = require_heads(channels, heads)
        window = require_whole("window", window, 1, LONGEST)
        self.window = window  # in tokens
        self.norm = nn.LayerNorm(channels)
        self.local_attention = LocalAttention(channels, heads)
        self.local_projection = nn.Linear(channels, channels)
        self.far = PVTAttention(channels, heads, reduction)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C); the block adds `x` to this, which makes it the two residual layers."""
        require_map(x, self.local_attention.qkv.weight)
        near = self.local_projection(self.local_attention(self.norm(x), self.window))
        return near + self.far(x + near)


def twins_cost(H: int, W: int, C: int, window: int, reduction: int, padded: bool = False) -> Cost:
    """Cost of the pair of layers, windows as in Swin and then PVT; the MLP between them is left out.

    >>> [term for term in twins_cost(56, 56, 64, window=7, reduction=8).macs if "p" in term]
    ['W1p', 'W2p']
    """
    near, far = swin_cost(H, W, C, window, padded=padded), pvt_cost(H, W, C, reduction)
    macs = {
        re.sub("(?<![a-z])[WQKV]", rf"\g<0>{layer}", term): count  # Wq of layer 1 becomes W1q
        for layer, cost in enumerate((near, far), start=1)
        for term, count in cost.macs.items()
    }
    biases = (2 * window - 1) ** 2  # of Swin's windows; Twins has none
    return Cost(macs, near.parameters - biases + far.parameters)
