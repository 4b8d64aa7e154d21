"""How many activations a HAT-Net holds, in elements: times 4 for bytes in float32, times 2 in bfloat16.

Two questions have two answers. In inference a map is freed once nothing needs it: what counts is the moment when most
are alive. In training nearly every map is kept until its gradient is due: what counts is their sum.

Counted are the tensors of `hatnet`, the image among them, with attention in a fused kernel, which keeps one number a
query and head instead of the weights. Not counted: parameters, gradients and the optimiser's state, workspace inside
kernels, and statistics and masks of less than a thousandth. Windows over the border count with their padding, as
PyTorch holds them. Where attention is not fused, add its weights (`attention_weights`): the paper's claim on memory is
about these.
"""

from __future__ import annotations

from hatnet.complexity.attention import windows
from hatnet.complexity.cost import Cost, check_sizes
from hatnet.complexity.network import stem_sizes
from hatnet.config import HATNetConfig, Stage, StageLayout, ceil_div


def inference_memory(config: HATNetConfig, height: int, width: int, batch: int = 1) -> int:
    """The most elements alive at once in a forward pass without gradients: the peak, over the parts, of `live`.

    >>> from hatnet.config import VARIANTS
    >>> inference_memory(VARIANTS["tiny"], 224, 224) * 4 / 1e6  # MB in float32
    16.859136
    """
    return max(live(config, height, width, batch).values())


def training_memory(config: HATNetConfig, height: int, width: int, batch: int = 1) -> int:
    """The elements kept for the backward pass: the sum, over the parts, of `saved`.

    >>> from hatnet.config import VARIANTS
    >>> training_memory(VARIANTS["tiny"], 224, 224, batch=2) == 2 * training_memory(VARIANTS["tiny"], 224, 224)
    True
    """
    return sum(saved(config, height, width, batch).values())


def attention_weights(cost: Cost, C: int, heads: int) -> int:
    """How many weights the softmax of a module makes, for one image: one a query, key and head.

    >>> from hatnet.complexity import h_mhsa, mhsa
    >>> attention_weights(mhsa(56, 56, 64), C=64, heads=1), attention_weights(h_mhsa(56, 56, 64, 8, 8), C=64, heads=1)
    (9834496, 354368)
    """
    check_sizes(C=C, heads=heads)
    return sum(count for term, count in cost.macs.items() if term.endswith("^T")) // C * heads


def live(config: HATNetConfig, height: int, width: int, batch: int = 1) -> dict[str, int]:
    """The most elements alive at once while each part runs in inference, those held for others included.

    Parts are `stem`, `stages.0`, `stages.1`, ... Held are the image and, for dense tasks, the outputs of all stages
    so far.
    """
    check_sizes(height=height, width=width, batch=batch)
    layouts = config.layout(height, width)
    (H1, W1), (H2, W2) = stem_sizes(config, height, width)
    held = config.in_channels * height * width
    hidden, first = H1 * W1 * config.stem_channels, H2 * W2 * config.channels[0]
    peaks = {"stem": held + max(3 * hidden, hidden + first)}  # conv1, its norm in two steps; or SiLU and conv2
    for index, (stage, layout) in enumerate(zip(config.stages, layouts, strict=True)):
        X = layout.map[0] * layout.map[1] * stage.channels  # one map
        in_attention = X + _attention_live(stage, layout)  # the block's input, for the residual
        in_mlp = 2 * X + 3 * stage.expansion * X  # that and A'; in the MLP the depthwise input, its output, their SiLU
        stage_input = first if index == 0 and stage.depth > 1 else 0  # later ones are outputs of a stage, so held
        peaks[f"stages.{index}"] = held + stage_input + max(in_attention, in_mlp)
        held += X
    return {part: batch * peak for part, peak in peaks.items()}


def saved(config: HATNetConfig, height: int, width: int, batch: int = 1) -> dict[str, int]:
    """The elements each part keeps for the backward pass, by the parts' names in `network`."""
    check_sizes(height=height, width=width, batch=batch)
    (H1, W1), _ = stem_sizes(config, height, width)
    # The image; conv1, normalised, scaled, SiLU.
    parts = {"stem": config.in_channels * height * width + 4 * H1 * W1 * config.stem_channels}
    previous = 0
    for index, (stage, layout) in enumerate(zip(config.stages, config.layout(height, width), strict=True)):
        X = layout.map[0] * layout.map[1] * stage.channels
        if index:
            parts[f"stages.{index}.downsample"] = previous + 2 * X  # its input; the convolution, normalised
        for block in range(stage.depth):
            path = f"stages.{index}.blocks.{block}"
            parts[f"{path}.attention"] = _attention_saved(stage, layout)
            # A', normalised, scaled; expand, SiLU, depthwise, SiLU, all E C wide; contract, normalised.
            parts[f"{path}.mlp"] = 5 * X + 4 * stage.expansion * X
        previous = X
    parts["classifier"] = config.channels[-1] * (2 if config.classifier_drop_rate else 1)  # and what dropout drew
    return {part: batch * count for part, count in parts.items()}


def _attention_saved(stage: Stage, layout: StageLayout) -> int:
    (H, W), C, heads = layout.map, stage.channels, stage.heads
    X = H * W * C
    if stage.grid_size is None or stage.pool_size is None:
        return 7 * X + heads * H * W  # X, normalised, scaled; Q, K, V; A; and a number a query and head
    tokens, _ = windows(H, W, stage.grid_size, padded=True)
    merged = ceil_div(H, stage.pool_size) * ceil_div(W, stage.pool_size)
    near = 2 * X + 5 * tokens * C + heads * tokens  # X, normalised; X1; Q1, K1, V1; A1 in windows
    near += 3 * X  # A1 + X, normalised, scaled
    far = 2 * X + 5 * merged * C + heads * H * W  # Q2, A2; merged, normalised, scaled, K2, V2
    return near + far + X  # A1 + A2


def _attention_live(stage: Stage, layout: StageLayout) -> int:
    """The most elements alive in a block's attention, its input left out."""
    (H, W), C, heads = layout.map, stage.channels, stage.heads
    X = H * W * C
    if stage.grid_size is None or stage.pool_size is None:
        return 6 * X  # normed; Q, K, V; A; A W^p
    G1, G2 = stage.grid_size, stage.pool_size
    tokens, _ = windows(H, W, G1, padded=True)
    X1 = tokens * C
    merged = ceil_div(H, G2) * ceil_div(W, G2) * C
    cut = G1 < W and min(G1, H) > 1  # else the windows lie in memory as the map does, and cutting is a view
    copies = int(cut or X1 != X) * X1
    return max(
        X + int(X1 != X) * X1 + int(cut) * X1,  # normed; padded; cut
        X + copies + 4 * X1 + heads * tokens,  # normed; X1; Q1, K1, V1; A1 and a number a query and head
        X + copies + 4 * X1 + int(cut) * X1,  # the same; A1 back in a map
        3 * X + X1,  # A1; A1 + X, normalised, scaled
        3 * X + 3 * merged + heads * H * W,  # A1, Q2, A2; merged tokens, K2, V2
        4 * X + merged,  # A1, A2, A1 + A2, (A1 + A2) W^p; merged tokens
    )


def reference_memory(config: HATNetConfig, height: int, width: int) -> int:
    """The most elements alive at once in `reference.hat_net`: times 8 for bytes, as it computes in float64.

    It is written to be read: every attention weight exists at once, and SiLU is five maps. Image and parameters, which
    the caller has, and the trace are left out. NumPy is taken to reuse the memory of large temporaries, as it does on
    Linux.

    >>> from hatnet.config import VARIANTS
    >>> reference_memory(VARIANTS["tiny"], 224, 224) / inference_memory(VARIANTS["tiny"], 224, 224)  # elements
    1.5357142857142858
    """
    check_sizes(height=height, width=width)
    (H1, W1), _ = stem_sizes(config, height, width)
    peaks = [5 * H1 * W1 * config.stem_channels]  # conv1; in SiLU its normed input, e^-|x|, x times that, 1 plus that
    for stage, layout in zip(config.stages, config.layout(height, width), strict=True):
        (H, W), C, E, border = layout.map, stage.channels, stage.expansion, stage.kernel_size - 1
        X = H * W * C
        peaks += [
            3 * X + 5 * E * X,  # X, A, A + X; the depthwise input, and SiLU as above
            3 * X + E * C * (3 * H * W + (H + border) * (W + border)),  # its input, padded; a tap; the sum of taps
            _reference_attention(stage, layout),
        ]
    return max(peaks)


def _reference_attention(stage: Stage, layout: StageLayout) -> int:
    """Maps, and weights: those of all heads, and for one head its scores, shifted scores and their exponential."""
    (H, W), C, heads = layout.map, stage.channels, stage.heads
    X = H * W * C
    if stage.grid_size is None or stage.pool_size is None:
        return 6 * X + (heads + 3) * (H * W) ** 2  # X, normed, Q, K, V, A
    merged = ceil_div(H, stage.pool_size) * ceil_div(W, stage.pool_size)
    peaks = [5 * X + 3 * merged * C + (heads + 3) * H * W * merged]  # X, normed, A1, Q2, A2; merged tokens, K2, V2
    before = 0
    for g in _pieces(H, stage.grid_size):
        for h in _pieces(W, stage.grid_size):
            window = g * h
            own = 5 * window * C + (heads + 3) * window**2  # X1, Q1, K1, V1, A1, weights
            peaks.append(3 * X + own + before)  # X, normed, A1
            before = window * C + heads * window**2  # A1 and weights, until the next ones take their names
    return max(peaks)


def _pieces(length: int, size: int) -> list[int]:
    """The sides of windows along one axis.

    >>> _pieces(14, 4)
    [4, 4, 4, 2]
    """
    return [min(size, length - start) for start in range(0, length, size)]
