r"""The backward passes of `reference.network`, function by function in the same order, and `gradients` of the whole.

`dy` is the gradient of the loss with respect to an output y, and so on; see `reference.backward.layers`.
"""

import numpy as np

from reference.attention import mhsa
from reference.backward.attention import mhsa_vjp
from reference.backward.hierarchical_attention import h_mhsa_vjp
from reference.backward.layers import conv2d_vjp, depthwise_conv2d_vjp, group_norm_vjp, linear_vjp, silu_vjp
from reference.backward.loss import cross_entropy_vjp
from reference.checks import checked
from reference.hierarchical_attention import h_mhsa
from reference.layers import conv2d, depthwise_conv2d, group_norm, linear, silu
from reference.loss import Label, cross_entropy, target
from reference.names import Array, Gradients, Params, named, within
from reference.network import (
    Config,
    Stage,
    block,
    check_image,
    check_names,
    downsample,
    hat_net,
    number_of_classes,
    require_stage,
    stem,
)


@checked(image="H W C_in", params="conv1 norm conv2", strides=(1, 1), dy="H/strides W/strides C")
def stem_vjp(dy: Array, image: Array, params: Params, strides: tuple[int, int] = (2, 2)) -> tuple[Array, Gradients]:
    """Gradients of the two convolutions of the stem.

    Args:
        dy: (H / 4, W / 4, C) at the default strides, rounded up.
        image, params, strides: as in `stem`.

    Returns:
        dimage, (H, W, C_in), and the gradients of all `params`.

    Raises:
        ValueError: if `dy` has not the shape of the output.

    >>> params = {"conv1.weight": np.ones((4, 3, 3, 3)), "conv1.bias": np.zeros(4), "norm.weight": np.ones(4),
    ...     "norm.bias": np.zeros(4), "conv2.weight": np.ones((6, 4, 3, 3)), "conv2.bias": np.zeros(6)}
    >>> stem_vjp(np.ones((9, 10, 6)), np.ones((33, 40, 3)), params)[0].shape
    (33, 40, 3)
    """
    x = conv2d(image, **within(params, "conv1"), stride=strides[0])  # (H / 2, W / 2, 16)
    normed = group_norm(x, **within(params, "norm"))
    activated = silu(normed)

    dactivated, conv2 = conv2d_vjp(dy, activated, **within(params, "conv2"), stride=strides[1])  # (H / 2, W / 2, 16)
    dnormed = silu_vjp(dactivated, normed)
    dx, norm = group_norm_vjp(dnormed, x, **within(params, "norm"))
    dimage, conv1 = conv2d_vjp(dx, image, **within(params, "conv1"), stride=strides[0])  # (H, W, C_in)
    return dimage, named({"conv1": conv1, "norm": norm, "conv2": conv2})


@checked(x="H W C", params="conv norm", dy="H/2 W/2 C_out")
def downsample_vjp(dy: Array, x: Array, params: Params) -> tuple[Array, Gradients]:
    """Gradients of the convolution and the norm between two stages.

    Args:
        dy: (ceil(H / 2), ceil(W / 2), C').
        x, params: as in `downsample`.

    Returns:
        dx, (H, W, C), and the gradients of all `params`.

    Raises:
        ValueError: if `dy` has not the shape of the output.

    >>> params = {"conv.weight": np.ones((8, 6, 3, 3)), "conv.bias": np.zeros(8),
    ...     "norm.weight": np.ones(8), "norm.bias": np.zeros(8)}
    >>> downsample_vjp(np.ones((5, 5, 8)), np.ones((9, 10, 6)), params)[0].shape
    (9, 10, 6)
    """
    convolved = conv2d(x, **within(params, "conv"), stride=2)  # (H / 2, W / 2, C')

    dconvolved, norm = group_norm_vjp(dy, convolved, **within(params, "norm"))  # (H / 2, W / 2, C')
    dx, conv = conv2d_vjp(dconvolved, x, **within(params, "conv"), stride=2)  # (H, W, C)
    return dx, named({"conv": conv, "norm": norm})


@checked(x="H W C", params="norm_in expand depthwise contract norm_out", dy="H W C")
def mlp_vjp(dy: Array, x: Array, params: Params) -> tuple[Array, Gradients]:
    """Gradients of the MLP of Eq. 4, layer by layer from the last to the first.

    Args:
        dy: (H, W, C).
        x, params: as in `mlp`.

    Returns:
        dx, (H, W, C), and the gradients of all `params`.

    Raises:
        ValueError: if `dy` has not the shape of x.

    >>> C, E, K = 6, 4, 3
    >>> params = {"norm_in.weight": np.ones(C), "norm_in.bias": np.zeros(C), "expand.weight": np.ones((E * C, C)),
    ...     "depthwise.weight": np.ones((E * C, 1, K, K)), "contract.weight": np.ones((C, E * C)),
    ...     "norm_out.weight": np.ones(C), "norm_out.bias": np.zeros(C)}
    >>> mlp_vjp(np.ones((4, 5, C)), np.ones((4, 5, C)), params)[0].shape
    (4, 5, 6)
    """
    normed = group_norm(x, **within(params, "norm_in"))
    expanded = linear(normed, **within(params, "expand"))  # (H, W, E C)
    U = silu(expanded)
    mixed = depthwise_conv2d(U, **within(params, "depthwise"))  # (H, W, E C)
    Z = silu(mixed)
    contracted = linear(Z, **within(params, "contract"))  # (H, W, C)

    dcontracted, norm_out = group_norm_vjp(dy, contracted, **within(params, "norm_out"))  # (H, W, C)
    dZ, contract = linear_vjp(dcontracted, Z, **within(params, "contract"))  # (H, W, E C)
    dmixed = silu_vjp(dZ, mixed)
    dU, depthwise = depthwise_conv2d_vjp(dmixed, U, **within(params, "depthwise"))  # (H, W, E C)
    dexpanded = silu_vjp(dU, expanded)
    dnormed, expand = linear_vjp(dexpanded, normed, **within(params, "expand"))  # (H, W, C)
    dx, norm_in = group_norm_vjp(dnormed, x, **within(params, "norm_in"))
    layers = {"norm_in": norm_in, "expand": expand, "depthwise": depthwise, "contract": contract, "norm_out": norm_out}
    return dx, named(layers)


@checked(x="H W C", params="attention mlp", dy="H W C")
def block_vjp(dy: Array, x: Array, params: Params, stage: Stage) -> tuple[Array, Gradients]:
    r"""Gradients of a block. A residual connection passes its gradient on unchanged, beside that of its branch:

    $$Y = \operatorname{MLP}(A') + A' \qquad dA' = dY + \operatorname{MLP\_vjp}(dY)$$

    and in the same way dX from dA'. So a gradient reaches the first block, however small those of the branches.

    Args:
        dy: dY, (H, W, C).
        x, params, stage: as in `block`.

    Returns:
        dX, (H, W, C), and the gradients of all `params`.

    Raises:
        ValueError: if `dy` has not the shape of x.

    >>> from hatnet import create_model, to_numpy
    >>> model = create_model("micro")
    >>> params = within(to_numpy(model), "stages.0.blocks.1")
    >>> block_vjp(np.ones((9, 11, 32)), np.ones((9, 11, 32)), params, model.config.stages[0])[0].shape
    (9, 11, 32)
    """
    require_stage(stage)
    attention_params, mlp_params = within(params, "attention"), within(params, "mlp")
    if stage.grid_size is None or stage.pool_size is None:
        attended = mhsa(x, attention_params, stage.heads) + x  # (H, W, C), A'
    else:
        attended = h_mhsa(x, attention_params, stage.heads, stage.grid_size, stage.pool_size) + x  # (H, W, C)

    dmlp, of_mlp = mlp_vjp(dy, attended, mlp_params)
    dattended = dmlp + dy  # (H, W, C)
    if stage.grid_size is None or stage.pool_size is None:
        dattention, of_attention = mhsa_vjp(dattended, x, attention_params, stage.heads)
    else:
        dattention, of_attention = h_mhsa_vjp(
            dattended, x, attention_params, stage.heads, stage.grid_size, stage.pool_size
        )
    dx = dattention + dattended  # (H, W, C)
    return dx, named({"attention": of_attention, "mlp": of_mlp})


@checked(x="H W C", params="weight bias", dlogits="classes")
def classifier_vjp(dlogits: Array, x: Array, params: Params) -> tuple[Array, Gradients]:
    """Gradients of global average pooling and one matrix. Each of the HW tokens has the weight 1 / HW in the mean.

    Args:
        dlogits: (classes,).
        x, params: as in `classifier`.

    Returns:
        dx, (H, W, C), and the gradients of `weight` and `bias`.

    Raises:
        ValueError: if `dlogits` has not the shape of the logits.

    >>> dx, _ = classifier_vjp(np.ones(5), np.ones((2, 3, 4)), {"weight": np.ones((5, 4)), "bias": np.zeros(5)})
    >>> dx[0, 0]  # 5 logits, divided by 6 tokens
    array([0.83333333, 0.83333333, 0.83333333, 0.83333333])
    """
    H, W, _ = x.shape
    dmean, gradients = linear_vjp(dlogits, x.mean(axis=(0, 1)), **params)  # (C,)
    return np.full(x.shape, dmean / (H * W)), gradients  # (H, W, C)


@checked(dlogits="classes")
def hat_net_vjp(dlogits: Array, image: Array, params: Params, config: Config) -> tuple[Array, Gradients]:
    """Gradients of the network of Figure 1, for one image.

    The forward pass stores the input of every step; the backward pass visits the steps in reverse.

    Args:
        dlogits: (classes,).
        image, params, config: as in `hat_net`.

    Returns:
        dimage, (C_in, H, W), and the gradients of all parameters of the network.

    Raises:
        TypeError, ValueError: as in `hat_net`; ValueError if `dlogits` has not the shape of the logits.
    """
    x = check_image(image, config).transpose(1, 2, 0)  # (H, W, C_in)
    check_names(params, config)
    classes = number_of_classes(params)
    if len(dlogits) != classes:  # before the forward pass
        raise ValueError(f"dlogits must have shape (classes,) = ({classes},), got {dlogits.shape}")
    inputs = {"stem": x}  # of every step, by its name
    x = stem(x, within(params, "stem"), config.stem_strides)  # (H / 4, W / 4, C)
    for s, stage in enumerate(config.stages):
        if s > 0:
            inputs[f"stages.{s}.downsample"] = x
            x = downsample(x, within(params, f"stages.{s}.downsample"))  # half the size, the next C
        for b in range(stage.depth):
            inputs[f"stages.{s}.blocks.{b}"] = x
            x = block(x, within(params, f"stages.{s}.blocks.{b}"), stage)

    parts: dict[str, Gradients] = {}
    dx, parts["classifier"] = classifier_vjp(dlogits, x, within(params, "classifier"))  # (H, W, C) of the last stage
    for s, stage in reversed(list(enumerate(config.stages))):
        for b in reversed(range(stage.depth)):
            name = f"stages.{s}.blocks.{b}"
            dx, parts[name] = block_vjp(dx, inputs[name], within(params, name), stage)
        if s > 0:
            name = f"stages.{s}.downsample"
            dx, parts[name] = downsample_vjp(dx, inputs[name], within(params, name))  # twice the size, the C before
    dimage, parts["stem"] = stem_vjp(dx, inputs["stem"], within(params, "stem"), config.stem_strides)  # (H, W, C_in)
    return dimage.transpose(2, 0, 1), named(parts)


@checked()
def gradients(
    image: Array, label: Label, params: Params, config: Config, smoothing: float = 0.0
) -> tuple[float, Gradients, Array]:
    r"""The loss of one image, and its gradients with respect to every parameter and every pixel.

    Args:
        image: (C_in, H, W), floats, H and W at least `config.min_image_size`.
        label: the true class, counted from 0, or a distribution over the classes, (classes,).
        params: all parameters by name, and no others.
        config: the variant.
        smoothing: $\alpha$ of label smoothing, from 0 to 1.

    Returns:
        The loss, the gradients by the names and in the order of `params`, and the gradient of the image, (C_in, H, W).

    Raises:
        TypeError, ValueError: as in `hat_net` and `reference.loss.target`.

    >>> from hatnet import create_model, to_numpy
    >>> model = create_model("micro")
    >>> loss, of_params, of_image = gradients(np.ones((3, 28, 36)), 7, to_numpy(model), model.config)
    >>> of_image.shape, of_params["stages.1.blocks.0.attention.projection.bias"].shape
    ((3, 28, 36), (64,))
    """
    check_image(image, config)
    check_names(params, config)
    target(label, number_of_classes(params), smoothing)  # raises before the work
    logits = hat_net(image, params, config)  # (classes,)
    loss = cross_entropy(logits, label, smoothing)
    dlogits = cross_entropy_vjp(logits, label, smoothing)  # (classes,)
    dimage, by_name = hat_net_vjp(dlogits, image, params, config)
    return loss, {name: by_name[name] for name in params}, dimage
