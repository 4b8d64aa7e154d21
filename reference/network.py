"""HAT-Net: the stem, downsampling, the MLP, the block, and the network of Figure 1.

Tags such as D1 are explained in docs/paper-vs-code.md.
"""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from reference.attention import mhsa
from reference.checks import checked
from reference.hierarchical_attention import h_mhsa
from reference.layers import conv2d, depthwise_conv2d, group_norm, linear, silu
from reference.names import NO_TRACE, Array, Params, Trace, scope, within


@runtime_checkable
class Stage(Protocol):
    """The fields of a stage that `block` uses: one row of Table 1."""

    @property
    def depth(self) -> int: ...
    @property
    def heads(self) -> int: ...
    @property
    def grid_size(self) -> int | None: ...
    @property
    def pool_size(self) -> int | None: ...


@runtime_checkable
class Config(Protocol):
    """The fields of a variant that `hat_net` uses; `hatnet.HATNetConfig` has them."""

    @property
    def in_channels(self) -> int: ...
    @property
    def min_image_size(self) -> int: ...
    @property
    def stem_strides(self) -> tuple[int, int]: ...
    @property
    def stages(self) -> tuple[Stage, ...]: ...


@checked(image="H W C_in", params="conv1 norm conv2", strides=(1, 1))
def stem(image: Array, params: Params, strides: tuple[int, int] = (2, 2)) -> Array:
    """The convolution block of Figure 1: two 3x3 convolutions, by default each of stride 2.

    Args:
        image: (H, W, C_in).
        params: `conv1`, `norm`, `conv2`.
        strides: of the two convolutions.

    Returns:
        (H / 4, W / 4, C) at the default strides, rounded up.

    >>> params = {"conv1.weight": np.ones((4, 3, 3, 3)), "conv1.bias": np.zeros(4), "norm.weight": np.ones(4),
    ...     "norm.bias": np.zeros(4), "conv2.weight": np.ones((6, 4, 3, 3)), "conv2.bias": np.zeros(6)}
    >>> stem(np.ones((33, 40, 3)), params).shape
    (9, 10, 6)
    """
    x = conv2d(image, **within(params, "conv1"), stride=strides[0])  # (H / 2, W / 2, 16)
    x = silu(group_norm(x, **within(params, "norm")))
    return conv2d(x, **within(params, "conv2"), stride=strides[1])  # (H / 4, W / 4, C)


@checked(x="H W C", params="conv norm")
def downsample(x: Array, params: Params) -> Array:
    """Between two stages: a 3x3 convolution of stride 2, then normalisation.

    Args:
        x: (H, W, C).
        params: `conv`, `norm`.

    Returns:
        (ceil(H / 2), ceil(W / 2), C'), C' the channels of the next stage.

    >>> params = {"conv.weight": np.ones((8, 6, 3, 3)), "conv.bias": np.zeros(8),
    ...     "norm.weight": np.ones(8), "norm.bias": np.zeros(8)}
    >>> downsample(np.ones((9, 10, 6)), params).shape
    (5, 5, 8)
    """
    x = conv2d(x, **within(params, "conv"), stride=2)  # (H / 2, W / 2, C')
    return group_norm(x, **within(params, "norm"))


@checked(x="H W C", params="norm_in expand depthwise contract norm_out")
def mlp(x: Array, params: Params) -> Array:
    """The MLP of Eq. 4: two matrices with a depthwise convolution between them, which mixes neighbouring tokens.

    The paper has no equation for it; the layers and their order are those of the authors' code.

    Args:
        x: (H, W, C).
        params: `norm_in`, `expand`, `depthwise`, `contract`, `norm_out`.

    Returns:
        (H, W, C).

    >>> C, E, K = 6, 4, 3
    >>> params = {"norm_in.weight": np.ones(C), "norm_in.bias": np.zeros(C), "expand.weight": np.ones((E * C, C)),
    ...     "depthwise.weight": np.ones((E * C, 1, K, K)), "contract.weight": np.ones((C, E * C)),
    ...     "norm_out.weight": np.ones(C), "norm_out.bias": np.zeros(C)}
    >>> mlp(np.ones((4, 5, C)), params).shape
    (4, 5, 6)
    """
    x = group_norm(x, **within(params, "norm_in"))  # D7
    x = silu(linear(x, **within(params, "expand")))  # (H, W, E C)
    x = silu(depthwise_conv2d(x, **within(params, "depthwise")))  # (H, W, E C)
    x = linear(x, **within(params, "contract"))  # (H, W, C)
    return group_norm(x, **within(params, "norm_out"))


@checked(x="H W C", params="attention mlp")
def block(x: Array, params: Params, stage: Stage, trace: Trace = NO_TRACE) -> Array:
    """One transformer block: attention (Eq. 14 or 3) and MLP (Eq. 4), each with a residual connection.

    Args:
        x: X, (H, W, C).
        params: `attention` and `mlp`.
        stage: its heads, G1 and G2. In the last stage G1 and G2 are None, and attention is plain.
        trace: records `attended`, `output`, and the intermediates of attention below `attention.`.

    Returns:
        Y, (H, W, C).

    >>> from hatnet import create_model, to_numpy
    >>> model = create_model("micro")
    >>> params = within(to_numpy(model), "stages.0.blocks.1")
    >>> block(np.ones((9, 11, 32)), params, model.config.stages[0]).shape
    (9, 11, 32)
    """
    require_stage(stage)
    attention_params, inner = within(params, "attention"), scope(trace, "attention")
    if stage.grid_size is None or stage.pool_size is None:
        attended = mhsa(x, attention_params, stage.heads, inner)
    else:
        attended = h_mhsa(x, attention_params, stage.heads, stage.grid_size, stage.pool_size, inner)
    x = attended + x  # Eq. 14, Eq. 3
    trace["attended"] = x
    x = mlp(x, within(params, "mlp")) + x  # Eq. 4
    trace["output"] = x
    return x


@checked(x="H W C", params="weight bias")
def classifier(x: Array, params: Params) -> Array:
    """Global average pooling, then one matrix: GAP and FC of Figure 1.

    Args:
        x: (H, W, C).
        params: `weight`, `bias`.

    Returns:
        logits, (classes,).

    >>> classifier(np.ones((2, 3, 4)), {"weight": np.ones((5, 4)), "bias": np.zeros(5)})
    array([4., 4., 4., 4., 4.])
    """
    return linear(x.mean(axis=(0, 1)), **params)


@checked()
def hat_net(image: Array, params: Params, config: Config, trace: Trace | None = None) -> Array:
    """The network of Figure 1, for one image.

    Args:
        image: (C_in, H, W), floats, H and W at least `config.min_image_size`.
        params: all parameters by name; `hatnet.to_numpy(model)` returns them.
        config: the variant; `model.config` is one.
        trace: a dictionary that receives every named intermediate, maps as (H, W, C).

    Returns:
        logits, (classes,).

    Raises:
        TypeError: if an argument has another type, or an array does not hold floats.
        ValueError: if the image has another rank or number of channels or is too small, parameters are missing,
            unexpected or of another shape, numbers are NaN or infinite, or overflow on their way.

    >>> from hatnet import create_model, to_numpy
    >>> model = create_model("micro")
    >>> hat_net(np.zeros((3, 28, 36)), to_numpy(model), model.config).shape
    (10,)
    """
    trace = NO_TRACE if trace is None else trace
    x = check_image(image, config).transpose(1, 2, 0)  # (H, W, C_in)
    check_names(params, config)
    x = stem(x, within(params, "stem"), config.stem_strides)  # (H / 4, W / 4, C)
    trace["stem"] = x
    for s, stage in enumerate(config.stages):
        stage_params, stage_trace = within(params, f"stages.{s}"), scope(trace, f"stages.{s}")
        if s > 0:
            x = downsample(x, within(stage_params, "downsample"))  # half the size, the next C
            stage_trace["downsampled"] = x
        for b in range(stage.depth):
            x = block(x, within(stage_params, f"blocks.{b}"), stage, scope(stage_trace, f"blocks.{b}"))
        stage_trace["output"] = x
    logits = classifier(x, within(params, "classifier"))  # (classes,)
    trace["logits"] = logits
    return logits


def check_image(image: Array, config: Config) -> Array:
    """Check an image for `hat_net`, and return it in float64.

    Raises:
        TypeError, ValueError: as in `hat_net`.

    >>> from hatnet import get_config
    >>> check_image(np.zeros((3, 30, 64)), get_config("tiny"))
    Traceback (most recent call last):
    ValueError: image of 30 x 64 pixels is too small: both sides must be at least 32
    """
    require_config(config)
    image = np.asarray(image)
    if not np.issubdtype(image.dtype, np.floating):
        raise TypeError(f"image must hold floats, got {image.dtype}; scale and normalise pixel values first")
    if image.ndim != 3 or image.shape[0] != config.in_channels:
        batch = "; compute a batch image by image" if image.ndim == 4 else ""
        raise ValueError(f"image must have shape ({config.in_channels}, H, W), got {image.shape}{batch}")
    if min(image.shape[1:]) < config.min_image_size:
        raise ValueError(
            f"image of {image.shape[1]} x {image.shape[2]} pixels is too small: "
            f"both sides must be at least {config.min_image_size}"
        )
    bad = np.count_nonzero(~np.isfinite(image))
    if bad:
        raise ValueError(f"image holds {bad} NaN or infinite values of {image.size}")
    return np.asarray(image, np.float64)


def require_config(config: object) -> None:
    """Raise a TypeError unless `config` has the fields of a `Config`, and its stages those of a `Stage`."""
    if not isinstance(config, Config):
        raise TypeError(f"config must be a HATNetConfig or have its fields, got {type(config).__name__}")
    for stage in config.stages:
        require_stage(stage)


def require_stage(stage: object) -> None:
    """Raise a TypeError unless `stage` has the fields of a `Stage`."""
    if not isinstance(stage, Stage):
        raise TypeError(f"stage must have the fields depth, heads, grid_size, pool_size; got {type(stage).__name__}")


def check_names(params: Params, config: Config) -> None:
    """Raise a ValueError that lists missing and unexpected parameters, unless `params` are those of this network."""
    expected = list(parameter_names(config))
    missing = [name for name in expected if name not in params]
    unexpected = sorted(params.keys() - set(expected))
    if missing or unexpected:
        raise ValueError(
            "params are not those of the network in config: "
            f"missing ({len(missing)}): {', '.join(missing[:10]) or 'none'}; "
            f"unexpected ({len(unexpected)}): {', '.join(unexpected[:10]) or 'none'}"
        )


def number_of_classes(params: Params) -> int:
    """The number of classes of a network with these parameters; ValueError if its last matrix is no matrix."""
    weight = params["classifier.weight"]
    if weight.ndim != 2:
        raise ValueError(f"classifier.weight must have shape (classes, C), got {weight.shape}")
    return len(weight)


def parameter_names(config: Config) -> Iterator[str]:
    """The names of all parameters of a network, in the order of computation.

    >>> from hatnet import get_config
    >>> list(parameter_names(get_config("micro")))[:3]
    ['stem.conv1.weight', 'stem.conv1.bias', 'stem.norm.weight']
    """
    hierarchical = "norm local_attention.qkv local_norm merge.norm global_attention.q global_attention.kv projection"
    layers = ["stem.conv1", "stem.norm", "stem.conv2"]
    for s, stage in enumerate(config.stages):
        layers += [f"stages.{s}.downsample.{layer}" for layer in ("conv", "norm") if s > 0]
        plain = stage.grid_size is None or stage.pool_size is None
        for b in range(stage.depth):
            path = f"stages.{s}.blocks.{b}"
            layers += [
                f"{path}.attention.{layer}" for layer in ("norm qkv projection" if plain else hierarchical).split()
            ]
            layers += [f"{path}.mlp.{layer}" for layer in ("norm_in", "expand", "depthwise", "contract", "norm_out")]
    for layer in (*layers, "classifier"):
        yield f"{layer}.weight"
        if not layer.endswith((".expand", ".depthwise", ".contract")):  # the matrices of the MLP have no bias
            yield f"{layer}.bias"
