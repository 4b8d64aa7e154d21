"""The authors' formulation of HAT-Net: the same function of the same weights, computed as their code computes it.

Maps are (B, C, H, W). All tokens are projected by convolutions with a kernel of 1 x 1, norms are group norms, the
scores of attention are formed, and SiLU overwrites its input. The operations and their order follow the facts about
the authors' code in docs/paper-vs-code.md; the lines are ours.
"""

from math import sqrt

from torch import Tensor, nn
from torch.nn import functional as F

from hatnet.attention import MHSA
from hatnet.hierarchical_attention import HMHSA
from hatnet.layers import Conv2d, GroupNorm
from hatnet.network import MLP, Block, HATNet, HATStage


class AuthorsFormulation(nn.Module):
    """Computes a HAT-Net in the authors' formulation, with the parameters of `model` and without drop path.

    Images (B, C_in, H, W) -> logits (B, classes). Raises ValueError for a map that windows or cells do not cover
    evenly, as the authors' code does.
    """

    def __init__(self, model: HATNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor) -> Tensor:
        stem = self.model.stem
        x = _silu(_norm(stem.norm, _convolution(stem.conv1, image)))
        x = _convolution(stem.conv2, x)  # (B, C, H / 4, W / 4)
        for stage in self.model.stages:
            assert isinstance(stage, HATStage)
            if stage.downsample is not None:
                x = _norm(stage.downsample.norm, _convolution(stage.downsample.conv, x))
            for block in stage.blocks:
                assert isinstance(block, Block)
                attention = block.attention
                x = x + (_plain(attention, x) if isinstance(attention, MHSA) else _hierarchical(attention, x))
                x = x + _mlp(block.mlp, x)
        pooled = F.adaptive_avg_pool2d(x, 1).flatten(1)  # (B, C)
        return self.model.classifier(self.model.drop(pooled))


def _hierarchical(attention: HMHSA, x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, C, H, W): Eq. 6-14 without the last `+ X`."""
    B, C, H, W = x.shape
    heads, d = attention.local_attention.heads, C // attention.local_attention.heads
    g, h = min(attention.grid_size, H), min(attention.grid_size, W)
    if H % g or W % h or H % attention.pool_size or W % attention.pool_size:
        raise ValueError(f"windows and cells must cover the map of {H}x{W} tokens evenly in the authors' formulation")
    qkv = _linear(attention.local_attention.qkv, _norm(attention.norm, x))  # (B, 3 C, H, W)
    windows = qkv.reshape(B, 3, heads, d, H // g, g, W // h, h).permute(1, 0, 2, 4, 6, 5, 7, 3)
    Q1, K1, V1 = windows.reshape(3, -1, g * h, d)  # (B heads windows, g h, d) each
    A1 = _attend(Q1, K1, V1).reshape(B, heads, H // g, W // h, g, h, d)
    A1 = A1.permute(0, 1, 6, 2, 4, 3, 5).reshape(B, C, H, W)
    A1 = _norm(attention.local_norm, x + A1)
    merged = _norm(attention.merge.norm, F.avg_pool2d(A1, attention.pool_size))
    Q2 = _linear(attention.global_attention.q, A1).reshape(B, heads, d, -1).transpose(2, 3)
    keys_values = _linear(attention.global_attention.kv, merged).reshape(B, 2, heads, d, -1)
    K2, V2 = keys_values.permute(1, 0, 2, 4, 3)  # (B, heads, H' W', d) each
    A2 = _attend(Q2, K2, V2).transpose(2, 3).reshape(B, C, H, W)
    return _linear(attention.projection, A1 + A2)


def _plain(attention: MHSA, x: Tensor) -> Tensor:
    B, C, H, W = x.shape
    qkv = _linear(attention.qkv, _norm(attention.norm, x)).reshape(B, 3, attention.heads, C // attention.heads, -1)
    A = _attend(*qkv.permute(1, 0, 2, 4, 3))  # (B, heads, H W, d)
    return _linear(attention.projection, A.transpose(2, 3).reshape(B, C, H, W))


def _attend(Q: Tensor, K: Tensor, V: Tensor) -> Tensor:
    return ((Q / sqrt(Q.shape[-1])) @ K.transpose(-2, -1)).softmax(dim=-1) @ V  # the scale is applied to Q first


def _mlp(mlp: MLP, x: Tensor) -> Tensor:
    x = _silu(_linear(mlp.expand, _norm(mlp.norm_in, x)))
    x = _silu(_convolution(mlp.depthwise, x))
    return _norm(mlp.norm_out, _linear(mlp.contract, x))


def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight[:, :, None, None], layer.bias)


def _convolution(layer: Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding, groups=layer.groups)


def _norm(norm: GroupNorm, x: Tensor) -> Tensor:
    return F.group_norm(x, 1, norm.weight, norm.bias, norm.eps)


def _silu(x: Tensor) -> Tensor:
    return F.silu(x, inplace=True)
