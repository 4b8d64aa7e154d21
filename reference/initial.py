"""The sizes of a network, and parameters to start learning from. `hatnet.HATNetConfig` has the same fields.

With it, `reference` needs nothing else to build and train a network.
"""

from dataclasses import dataclass, fields
from math import prod

import numpy as np

from reference.checks import LARGEST, require_whole
from reference.names import Array, named

# Largest values, as in hatnet/config.py: far above any use, so that a mistake is refused before memory is taken.
MOST = {
    "in_channels": 4096, "num_classes": 10_000_000, "stem_channels": 65_536, "channels": 65_536, "depth": 1000,
    "heads": 65_536, "kernel_size": 255, "expansion": 1024, "grid_size": 2**20, "pool_size": 2**20,
}  # fmt: skip

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class StageSizes:
    """One stage, a row of Table 1. Without G1 and G2 its attention is plain, as in the last stage of the paper.

    Raises TypeError or ValueError, naming the field, for sizes that make no stage.
    """

    channels: int  # C
    depth: int  # L, the number of blocks
    heads: int  # C / d
    kernel_size: int = 3  # K of the depthwise convolution in the MLP, odd
    expansion: int = 4  # E, the MLP is E C channels wide
    grid_size: int | None = None  # G1, the side of a window, in tokens
    pool_size: int | None = None  # G2, the side of a cell, in tokens

    def __post_init__(self) -> None:
        for name in ("channels", "depth", "heads", "kernel_size", "expansion"):
            require_whole(name, getattr(self, name), 1, MOST[name])
        for name, other in (("grid_size", self.pool_size), ("pool_size", self.grid_size)):
            if getattr(self, name) is not None or other is not None:  # both or none
                require_whole(name, getattr(self, name), 1, MOST[name])
        if self.channels % self.heads:
            raise ValueError(f"heads={self.heads} must divide channels={self.channels}")
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size} must be odd, so that a map keeps its size")


@dataclass(frozen=True)
class NetworkSizes:
    """A network; what `hat_net`, `gradients` and `initial_parameters` take as `config`.

    Raises TypeError or ValueError, naming the field, for sizes that make no network.
    """

    in_channels: int
    num_classes: int
    stages: tuple[StageSizes, ...]
    stem_channels: int = 16  # between the two convolutions of the stem
    stem_strides: tuple[int, int] = (2, 2)  # of its two convolutions

    def __post_init__(self) -> None:
        for name in ("in_channels", "num_classes", "stem_channels"):
            require_whole(name, getattr(self, name), 1, MOST[name])
        if not isinstance(self.stages, tuple) or not self.stages:
            raise TypeError(f"stages must be a tuple of at least one StageSizes, got {type(self.stages).__name__}")
        for index, stage in enumerate(self.stages):
            if not isinstance(stage, StageSizes):
                raise TypeError(f"stages[{index}] must be StageSizes, got {type(stage).__name__}")
        if not isinstance(self.stem_strides, tuple) or len(self.stem_strides) != 2:
            raise TypeError("stem_strides must be a tuple of 2 whole numbers")
        for index, stride in enumerate(self.stem_strides):
            require_whole(f"stem_strides[{index}]", stride, 1, 64)

    @property
    def min_image_size(self) -> int:
        """The smallest height and width in pixels: one token of the last stage."""
        return prod(self.stem_strides) * 2 ** (len(self.stages) - 1)


def parameter_shapes(config: NetworkSizes) -> Shapes:
    """The shape of every parameter by its name, in the order of the forward pass.

    Raises:
        TypeError: if `config` is neither NetworkSizes nor has its fields.

    >>> config = NetworkSizes(in_channels=1, num_classes=10, stages=(StageSizes(channels=8, depth=1, heads=2),))
    >>> shapes = parameter_shapes(config)
    >>> shapes["stem.conv1.weight"], shapes["stages.0.blocks.0.attention.qkv.weight"], shapes["classifier.bias"]
    ((16, 1, 3, 3), (24, 8), (10,))
    """
    lacking = [name for name in _fields(NetworkSizes) if not hasattr(config, name)]
    lacking = lacking or [name for stage in config.stages for name in _fields(StageSizes) if not hasattr(stage, name)]
    if lacking:
        raise TypeError(
            f"config must be NetworkSizes or have its fields, got {type(config).__name__} without {lacking[0]}"
        )
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


def _fields(kind: type[NetworkSizes | StageSizes]) -> list[str]:
    return [field.name for field in fields(kind)]


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

    Raises:
        TypeError, ValueError: if `config` is no network, `seed` is negative, or more than 2^30 numbers are needed.

    >>> config = NetworkSizes(in_channels=1, num_classes=10, stages=(StageSizes(channels=8, depth=1, heads=2),))
    >>> params = initial_parameters(config)
    >>> params["stem.norm.weight"][:2], params["stem.norm.bias"][:2]
    (array([1., 1.]), array([0., 0.]))
    """
    shapes = parameter_shapes(config)
    count = sum(prod(shape) for shape in shapes.values())
    if count > LARGEST:
        raise ValueError(f"config describes a network of {count} parameters; at most {LARGEST} are made")
    rng = np.random.default_rng(require_whole("seed", seed, 0))
    params = {}
    for name, shape in shapes.items():
        if len(shape) > 1:
            params[name] = rng.standard_normal(shape) / np.sqrt(prod(shape[1:]))
        else:
            params[name] = np.ones(shape) if name.endswith("weight") else np.zeros(shape)
    return params
