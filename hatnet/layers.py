"""The layers around attention, on batches of maps (B, H, W, C).

A contiguous (B, H, W, C) is what PyTorch calls channels-last memory: convolutions accept it without a copy, and the
projection of all tokens is one matrix product. Tags such as D1 are explained in docs/paper-vs-code.md.
"""

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn import functional as F

from hatnet.checks import ALMOST_ONE, require_between


def require_map(x: Tensor, weight: Tensor) -> None:
    """Require (B, H, W, C) for a matrix (rows, C), on their device and in their dtype; TypeError or ValueError.

    Under autocast any floats do. Values are not checked, which would cost time.
    """
    if isinstance(x, Proxy):  # torch.fx records the operations, and there is no tensor yet
        return
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor, got {type(x).__name__}; for an array use torch.from_numpy")
    if x.ndim != 4 or x.shape[3] != weight.shape[1] or not x.shape[1] * x.shape[2]:
        raise ValueError(f"x must have shape (B, H, W, {weight.shape[1]}), H and W at least 1, got {tuple(x.shape)}")
    if not x.is_floating_point() or (x.dtype != weight.dtype and not torch.is_autocast_enabled(x.device.type)):
        raise TypeError(
            f"x is {x.dtype}, the parameters are {weight.dtype}; use x.to({weight.dtype}) or torch.autocast"
        )
    if x.device != weight.device or x.layout != torch.strided:
        raise ValueError(f"x is a {x.layout} tensor on {x.device}; a dense one on {weight.device} is expected")


class GroupNorm(nn.Module):
    r"""Group normalisation with one group: one mean and one variance per image, not per token.

    $$Y_{bhwc} = \gamma_c\, \frac{X_{bhwc} - \mu_b}{\sqrt{\sigma_b^2 + \epsilon}} + \beta_c$$

    The paper does not mention normalisation; the authors' code uses this one everywhere.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def reset_parameters(self) -> None:
        """Set the weights to 1 and the biases to 0."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        image = x.shape[1:]  # statistics over H, W and C together  D1
        return F.layer_norm(x, image, self.weight.expand(image), self.bias.expand(image), self.eps)

    def extra_repr(self) -> str:
        return f"{len(self.weight)}, eps={self.eps}"


class Conv2d(nn.Conv2d):
    """`nn.Conv2d` for maps (B, H, W, C), with an odd K and padding that keeps their size at stride 1."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1, bias: bool = True
    ) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, kernel_size // 2, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # both are views


class ChannelDropout(nn.Module):
    """`nn.Dropout2d` for maps (B, H, W, C): drops whole channels of an image."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = require_between("drop_rate", rate, 0, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout2d(x.permute(0, 3, 1, 2), self.rate, self.training).permute(0, 2, 3, 1)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class DropPath(nn.Module):
    """Stochastic depth: in training, drop a branch for an image with probability `rate`, and scale it up otherwise.

    `rate` may be changed at any time, also from 0 and to 0 (in the authors' code a rate of 0 is permanent).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = require_between("rate", rate, 0, ALMOST_ONE)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:  # D9
            return x
        keep = 1 - self.rate
        return x * x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(keep) / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


def average_pool(x: Tensor, pool_size: int) -> Tensor:
    """Average the tokens that each cell of G2 x G2 has: (B, H, W, C) -> (B, H / G2, W / G2, C), rounded up."""
    return F.avg_pool2d(x.permute(0, 3, 1, 2), pool_size, ceil_mode=True).permute(0, 2, 3, 1)  # D6
