"""The sizes of a network, and parameters to start learning from. `hatnet.HATNetConfig` has the same fields.

With it, `reference` needs nothing else to build and train a network.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

from reference.names import Array, named

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class StageSizes:
    """One stage, a row of Table 1. Without G1 and G2 its attention is plain, as in the last stage of the paper."""

    channels: int  # C
    depth: int  # L, the number of blocks
    heads: int  # C / d
    kernel_size: int = 3  # K of the depthwise convolution in the MLP, odd
    expansion: int = 4  # E, the MLP is E C channels wide
    grid_size: int | None = None  # G1, the side of a window, in tokens
    pool_size: int | None = None  # G2, the side of a cell, in tokens


@dataclass(frozen=True)
class NetworkSizes:
    """A network; what `hat_net`, `gradients` and `initial_parameters` take as `config`."""

    in_channels: int
    num_classes: int
    stages: tuple[StageSizes, ...]
    stem_channels: int = 16  # between the two convolutions of the stem
    stem_strides: tuple[int, int] = (2, 2)  # of its two convolutions

    @property
    def min_image_size(self) -> int:
        """The smallest height and width in pixels: one token of the last stage."""
        return prod(self.stem_strides) * 2 ** (len(self.stages) - 1)


def parameter_shapes(config: NetworkSizes) -> Shapes:
    """The shape of every parameter by its name, in the order of the forward pass.

    >>> config = NetworkSizes(in_channels=1, num_classes=10, stages=(StageSizes(channels=8, depth=1, heads=2),))
    >>> shapes = parameter_shapes(config)
    >>> shapes["stem.conv1.weight"], shapes["stages.0.blocks.0.attention.qkv.weight"], shapes["classifier.bias"]
    ((16, 1, 3, 3), (24, 8), (10,))
    """
    first, last = config.stages[0].channels, config.stages[-1].channels
    parts: dict[str, Shapes] = {
        "stem.conv1": _convolution(config.stem_channels, config.in_channels),
        "stem.norm": _norm(config.stem_channels),
        "stem.conv2": _convolution(first, config.stem_channels),
    }
    for s, stage in enumerate(config.stages):
        if s > 0:
            parts[f"stages.{s}.downsample.conv"] = _convolution(stage.channels, config.stages[s - 1].channels)
            parts[f"stages.{s}.downsample.norm"] = _norm(stage.channels)
        for b in range(stage.depth):
            parts |= {f"stages.{s}.blocks.{b}.{name}": shapes for name, shapes in _block(stage).items()}
    parts["classifier"] = _matrix(config.num_classes, last)
    return named(parts)


def _block(stage: StageSizes) -> dict[str, Shapes]:
    C, hidden, K = stage.channels, stage.expansion * stage.channels, stage.kernel_size
    if stage.grid_size is None or stage.pool_size is None:
        attention = {"norm": _norm(C), "qkv": _matrix(3 * C, C), "projection": _matrix(C, C)}
    else:
        attention = {
            "norm": _norm(C),
            "local_attention.qkv": _matrix(3 * C, C),
            "local_norm": _norm(C),
            "merge.norm": _norm(C),
            "global_attention.q": _matrix(C, C),
            "global_attention.kv": _matrix(2 * C, C),
            "projection": _matrix(C, C),
        }
    mlp: dict[str, Shapes] = {
        "norm_in": _norm(C),
        "expand": {"weight": (hidden, C)},
        "depthwise": {"weight": (hidden, 1, K, K)},
        "contract": {"weight": (C, hidden)},
        "norm_out": _norm(C),
    }
    return named({"attention": attention, "mlp": mlp})


def _norm(C: int) -> Shapes:
    return {"weight": (C,), "bias": (C,)}


def _matrix(C_out: int, C_in: int) -> Shapes:
    return {"weight": (C_out, C_in), "bias": (C_out,)}


def _convolution(C_out: int, C_in: int) -> Shapes:
    return {"weight": (C_out, C_in, 3, 3), "bias": (C_out,)}


def initial_parameters(config: NetworkSizes, seed: int = 0) -> dict[str, Array]:
    r"""Random matrices and kernels, norms that change nothing, and biases of zero.

    An entry of a matrix or kernel has the standard deviation $1 / \sqrt{\text{fan-in}}$, where the fan-in is the number
    of inputs that an output adds up. So outputs vary as much as inputs (LeCun et al., Efficient BackProp, 1998, Section
    4.6).

    >>> config = NetworkSizes(in_channels=1, num_classes=10, stages=(StageSizes(channels=8, depth=1, heads=2),))
    >>> params = initial_parameters(config)
    >>> params["stem.norm.weight"][:2], params["stem.norm.bias"][:2]
    (array([1., 1.]), array([0., 0.]))
    """
    rng = np.random.default_rng(seed)
    params = {}
    for name, shape in parameter_shapes(config).items():
        if len(shape) > 1:
            params[name] = rng.standard_normal(shape) / np.sqrt(prod(shape[1:]))
        else:
            params[name] = np.ones(shape) if name.endswith("weight") else np.zeros(shape)
    return params
