"""PVT v2: attention to a fixed number of averages of the map (Wang et al., CVMJ 2022), the "Li" models."""

from torch import Tensor, nn
from torch.nn import functional as F

from hatnet.complexity.cost import Cost, check_sizes, linear_parameters, norm_parameters
from hatnet.relatives.pvt import PVTAttention, merged_attention_cost


class PVTv2LinearAttention(PVTAttention):
    """Attention of every token to `pooled` x `pooled` averages of the map: PVT's, with another way of merging.

    Raises ValueError if the heads do not divide the channels, and for fewer than 1 average.
    """

    def __init__(self, channels: int, heads: int, pooled: int = 7) -> None:
        check_sizes(pooled=pooled)
        super().__init__(channels, heads, reduction=1)
        self.pooled = pooled
        self.reduce = nn.Linear(channels, channels)  # a 1x1 convolution in the paper
        self.reduce_norm = nn.LayerNorm(channels)

    def merge(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, pooled, pooled, C)."""
        merged = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), self.pooled).permute(0, 2, 3, 1)
        return F.gelu(self.reduce_norm(self.reduce(merged)))


def pvt_v2_linear_cost(H: int, W: int, C: int, pooled: int = 7) -> Cost:
    """Cost of attention to `pooled` x `pooled` averages, whatever the size of the map.

    >>> pvt_v2_linear_cost(28, 28, 64).attention_macs * 4 == pvt_v2_linear_cost(56, 56, 64).attention_macs
    True
    """
    check_sizes(H=H, W=W, C=C, pooled=pooled)
    merged = pooled**2
    parameters = linear_parameters(C, C) + norm_parameters(C)
    return merged_attention_cost(H * W, merged, C, reduce_macs=merged * C**2, reduce_parameters=parameters)
