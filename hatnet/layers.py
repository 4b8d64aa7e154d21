"""The layers around attention, on batches of maps (B, H, W, C).

A contiguous (B, H, W, C) is what PyTorch calls channels-last memory: convolutions take it without
a copy, and a projection of tokens is one matrix product.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class GroupNorm(nn.Module):
    r"""Group normalisation with one group: one mean and one variance for each image, not for each token.

    $$Y_{bhwc} = \gamma_c\, \frac{X_{bhwc} - \mu_b}{\sqrt{\sigma_b^2 + \epsilon}} + \beta_c$$

    The paper never mentions normalisation; this is what the authors' code does everywhere.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        normed = F.layer_norm(x, x.shape[1:], eps=self.eps)  # statistics over H, W and C together  D1
        return torch.addcmul(self.bias, normed, self.weight)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` for maps (B, H, W, C); the two permutations are views. K is odd, and stride 1 keeps the size."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ChannelDropout(nn.Module):
    """`nn.Dropout2d` for maps (B, H, W, C): whole channels of an image are dropped."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x.permute(0, 3, 1, 2), self.rate, self.training).permute(0, 2, 3, 1)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class DropPath(nn.Module):
    """Stochastic depth: in training, a branch is left out for an image with probability `rate`, and scaled up if not.

    `rate` may be changed at any time, from and to 0 as well (in the authors' code a rate of 0 is for ever).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:  # D9
            return x
        keep = 1 - self.rate
        return x * x.new_empty(len(x), 1, 1, 1).bernoulli_(keep) / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


def average_pool(x: Tensor, pool_size: int) -> Tensor:
    """Means over cells of G2 x G2 tokens laid from the top left; cells at the border average what is there.

    (B, H, W, C) -> (B, ceil(H / G2), ceil(W / G2), C).
    """
    return F.avg_pool2d(x.permute(0, 3, 1, 2), pool_size, ceil_mode=True).permute(0, 2, 3, 1)  # D6
