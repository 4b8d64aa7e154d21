"""PVT: attention to a map merged by a strided convolution (Wang et al., ICCV 2021); v2 "Li" averages (CVMJ 2022)."""

from torch import Tensor, nn
from torch.nn import functional as F

from hatnet.attention import multi_head_attention, require_heads
from hatnet.checks import require_whole
from hatnet.complexity.cost import Cost, check_sizes, linear_parameters, norm_parameters
from hatnet.config import ceil_div
from hatnet.layers import require_map
from hatnet.relatives.swin import LONGEST


class PVTAttention(nn.Module):
    """Attention of every token to the map merged by a convolution of kernel and stride R; at R = 1 nothing is merged.

    Raises ValueError if the heads do not divide the channels, and for R below 1 token.
    """

    def __init__(self, channels: int, heads: int, reduction: int) -> None:
        super().__init__()
        channels, heads = require_heads(channels, heads)
        reduction = require_whole("reduction", reduction, 1, LONGEST)
        self.heads = heads
        self.reduction = reduction  # R, in tokens
        self.norm = nn.LayerNorm(channels)
        self.q = nn.Linear(channels, channels)
        if reduction > 1:
            self.reduce: nn.Module = nn.Conv2d(channels, channels, reduction, reduction)
            self.reduce_norm = nn.LayerNorm(channels)
        self.kv = nn.Linear(channels, 2 * channels)
        self.projection = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C). Raises as `require_map` does."""
        require_map(x, self.q.weight)
        x = self.norm(x)
        Q = self.q(x.flatten(1, 2))  # (B, HW, C)
        K, V = self.kv(self.merge(x).flatten(1, 2)).chunk(2, dim=-1)  # (B, merged tokens, C) each
        A = multi_head_attention(Q, K, V, self.heads)  # (B, HW, C)
        return self.projection(A.unflatten(1, x.shape[1:3]))

    def merge(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H / R, W / R, C), rounded up; cells at the border are padded with zeros."""
        if self.reduction == 1:
            return x
        _, H, W, _ = x.shape
        x = F.pad(x, (0, 0, 0, -W % self.reduction, 0, -H % self.reduction))
        return self.reduce_norm(self.reduce(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class PVTv2LinearAttention(PVTAttention):
    """Attention of every token to `pooled` x `pooled` averages of the map. Raises ValueError as `PVTAttention` does."""

    def __init__(self, channels: int, heads: int, pooled: int = 7) -> None:
        pooled = require_whole("pooled", pooled, 1, LONGEST)
        super().__init__(channels, heads, reduction=1)
        self.pooled = pooled
        self.reduce = nn.Linear(channels, channels)  # a 1x1 convolution in the paper
        self.reduce_norm = nn.LayerNorm(channels)

    def merge(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, pooled, pooled, C)."""
        merged = F.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), self.pooled).permute(0, 2, 3, 1)
        return F.gelu(self.reduce_norm(self.reduce(merged)))


def pvt_cost(H: int, W: int, C: int, reduction: int) -> Cost:
    """Cost of attention to the map merged by a convolution; averages, as in H-MHSA, have no R^2 C^2 weights."""
    H, W, C, reduction = check_sizes(H=H, W=W, C=C, reduction=reduction)
    merged, weights = ceil_div(H, reduction) * ceil_div(W, reduction), reduction**2 * C**2
    if reduction == 1:
        return merged_attention_cost(H * W, merged, C, reduce_macs=0, reduce_parameters=0)
    return merged_attention_cost(H * W, merged, C, merged * weights, weights + C + norm_parameters(C))


def pvt_v2_linear_cost(H: int, W: int, C: int, pooled: int = 7) -> Cost:
    """Cost of attention to `pooled` x `pooled` averages, whatever the size of the map."""
    H, W, C, pooled = check_sizes(H=H, W=W, C=C, pooled=pooled)
    merged = pooled**2
    parameters = linear_parameters(C, C) + norm_parameters(C)
    return merged_attention_cost(H * W, merged, C, reduce_macs=merged * C**2, reduce_parameters=parameters)


def merged_attention_cost(tokens: int, merged: int, C: int, reduce_macs: int, reduce_parameters: int) -> Cost:
    """Cost of attention from `tokens` queries to `merged` keys; the last two arguments are the cost of merging."""
    macs = {
        "Wq": tokens * C**2,
        "reduce": reduce_macs,
        "Wk Wv": 2 * merged * C**2,
        "Q K^T": tokens * merged * C,
        "softmax V": tokens * merged * C,
        "Wp": tokens * C**2,
    }
    projections = sum(linear_parameters(C, outputs) for outputs in (C, 2 * C, C))
    return Cost(macs, norm_parameters(C) + projections + reduce_parameters)
