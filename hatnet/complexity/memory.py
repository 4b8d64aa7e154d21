"""Memory for the activations of a HAT-Net, in elements: times 4 for bytes in float32, times 2 in bfloat16.

Inference and training differ. In inference a map is freed once nothing needs it, so the peak counts: the moment when
most maps are alive. In training nearly every map is kept until its gradient is computed, so the sum counts.

We count the tensors of `hatnet`, including the image, with fused attention kernels, which keep one number per query and
head instead of the attention weights. We do not count parameters, gradients and the optimiser's state, workspace inside
kernels, or statistics and masks of less than a thousandth. Windows that reach over the border count with their padding,
as PyTorch stores them. Lean inference (`hatnet.lean`), on a CPU, needs less than is counted here. Without fused
kernels, add the weights (`attention_weights`); the paper's claim about memory concerns these.
"""

from hatnet.checks import require_type
from hatnet.complexity.attention import window_tokens_and_pairs
from hatnet.complexity.cost import Cost, check_sizes
from hatnet.complexity.network import stem_sizes
from hatnet.config import HATNetConfig, Stage, StageLayout, ceil_div, require_config

LONGEST = 16_384  # pixels along one side, up to which `reference_memory` counts windows one by one


def inference_memory(config: HATNetConfig, height: int, width: int, batch: int = 1) -> int:
    """The most elements alive at once in a forward pass without gradients.

    >>> from hatnet.config import VARIANTS
    >>> inference_memory(VARIANTS["tiny"], 224, 224) * 4 / 1e6  # MB in float32
    16.859136
    """
    return max(inference_memory_by_part(config, height, width, batch).values())


def training_memory(config: HATNetConfig, height: int, width: int, batch: int = 1, recompute: bool = False) -> int:
    """The elements kept for the backward pass, also after `recompute_mlps`.

    >>> from hatnet.config import VARIANTS
    >>> kept, kept_less = (training_memory(VARIANTS["small"], 224, 224, recompute=choice) for choice in (False, True))
    >>> round(kept_less / kept, 2)
    0.36
    """
    return sum(training_memory_by_part(config, height, width, batch, recompute).values())


def attention_weights(cost: Cost, C: int, heads: int) -> int:
    """The number of attention weights of a module for one image: one per query, key and head.

    >>> from hatnet.complexity import h_mhsa_cost, mhsa_cost
    >>> plain, hierarchical = mhsa_cost(56, 56, 64), h_mhsa_cost(56, 56, 64, G1=8, G2=8)
    >>> attention_weights(plain, C=64, heads=1), attention_weights(hierarchical, C=64, heads=1)
    (9834496, 354368)
    """
    require_type("cost", cost, Cost, "a Cost, such as mhsa_cost(H, W, C)")
    C, heads = check_sizes(C=C, heads=heads)
    return sum(count for term, count in cost.macs.items() if term.endswith("^T")) // C * heads


def inference_memory_by_part(config: HATNetConfig, height: int, width: int, batch: int = 1) -> dict[str, int]:
    """The most elements alive at once in inference while each part runs: `stem`, `stages.0` and so on.

    The image and the outputs of all stages so far, which dense tasks need, stay alive and count in every part.
    """
    require_config(config)
    height, width, batch = check_sizes(height=height, width=width, batch=batch)
    layouts = config.layout(height, width)
    (H1, W1), (H2, W2) = stem_sizes(config, height, width)
    held = config.in_channels * height * width
    hidden, first = H1 * W1 * config.stem_channels, H2 * W2 * config.channels[0]
    peaks = {"stem": held + max(2 * hidden, hidden + first)}  # conv1 and its norm, or SiLU and conv2
    for index, (stage, layout) in enumerate(zip(config.stages, layouts, strict=True)):
        X = layout.map[0] * layout.map[1] * stage.channels  # one map
        in_attention = X + _attention_live(stage, layout)  # the block's input, for the residual
        in_mlp = 2 * X + 3 * stage.expansion * X  # it and A'; the depthwise input, its output, and their SiLU
        stage_input = first if index == 0 and stage.depth > 1 else 0  # later inputs are in `held`
        peaks[f"stages.{index}"] = held + stage_input + max(in_attention, in_mlp)
        held += X
    return {part: batch * peak for part, peak in peaks.items()}


def training_memory_by_part(
    config: HATNetConfig, height: int, width: int, batch: int = 1, recompute: bool = False
) -> dict[str, int]:
    """The elements that each part keeps for the backward pass; the parts have the names of `network_costs`."""
    require_config(config)
    height, width, batch = check_sizes(height=height, width=width, batch=batch)
    (H1, W1), _ = stem_sizes(config, height, width)
    # The image; conv1, normalised, after SiLU.
    parts = {"stem": config.in_channels * height * width + 3 * H1 * W1 * config.stem_channels}
    previous = 0
    for index, (stage, layout) in enumerate(zip(config.stages, config.layout(height, width), strict=True)):
        X = layout.map[0] * layout.map[1] * stage.channels
        if index:
            parts[f"stages.{index}.downsample"] = previous + X  # its input; the convolution's output
        for block in range(stage.depth):
            path = f"stages.{index}.blocks.{block}"
            parts[f"{path}.attention"] = _attention_saved(stage, layout)
            # A'; contract. Unless recomputed: A' normalised; expand and depthwise, E C wide, and both after SiLU.
            parts[f"{path}.mlp"] = 2 * X + (0 if recompute else X + 4 * stage.expansion * X)
        previous = X
    parts["classifier"] = config.channels[-1] * (2 if config.classifier_drop_rate else 1)  # 2: with dropout's mask
    return {part: batch * count for part, count in parts.items()}


def _attention_saved(stage: Stage, layout: StageLayout) -> int:
    (H, W), C, heads = layout.map, stage.channels, stage.heads
    X = H * W * C
    if stage.grid_size is None or stage.pool_size is None:
        return 6 * X + heads * H * W  # X, normalised; Q, K, V; A; one number per query and head
    tokens, _ = window_tokens_and_pairs(H, W, stage.grid_size, padded=True)
    merged = ceil_div(H, stage.pool_size) * ceil_div(W, stage.pool_size)
    near = X + 5 * tokens * C + heads * tokens  # X; X1; Q1, K1, V1; A1 in windows
    near += 2 * X  # A1 + X, normalised
    far = 2 * X + 4 * merged * C + heads * H * W  # Q2, A2; merged, normalised, K2, V2
    return near + far + X  # A1 + A2


def _attention_live(stage: Stage, layout: StageLayout) -> int:
    (H, W), C, heads = layout.map, stage.channels, stage.heads
    X = H * W * C
    if stage.grid_size is None or stage.pool_size is None:
        return 6 * X  # normed; Q, K, V; A; A W^p
    G1, G2 = stage.grid_size, stage.pool_size
    tokens, _ = window_tokens_and_pairs(H, W, G1, padded=True)
    X1 = tokens * C
    merged = ceil_div(H, G2) * ceil_div(W, G2) * C
    cut = G1 < W and min(G1, H) > 1  # else windows have the memory layout of the map, and cutting is a view
    copies = int(cut or X1 != X) * X1
    return max(
        X + int(X1 != X) * X1 + int(cut) * X1,  # normed; padded; cut
        X + copies + 4 * X1 + heads * tokens,  # normed; X1; Q1, K1, V1; A1 and one number per query and head
        X + copies + 4 * X1 + int(cut) * X1,  # the same; A1 as a map again
        2 * X + X1,  # A1; A1 + X, normalised
        3 * X + 3 * merged + heads * H * W,  # A1, Q2, A2; merged tokens, K2, V2
        4 * X + merged,  # A1, A2, A1 + A2, (A1 + A2) W^p; merged tokens
    )


def reference_memory(config: HATNetConfig, height: int, width: int) -> int:
    """The most elements alive at once in `reference.hat_net`: times 8 for bytes, since it computes in float64.

    The reference is written for readers: all attention weights exist at once, and SiLU takes five maps. The image and
    the parameters, which the caller holds, and the trace do not count. We assume that NumPy reuses the memory of large
    temporaries, as it does on Linux.

    >>> from hatnet.config import VARIANTS
    >>> reference_memory(VARIANTS["tiny"], 224, 224) / inference_memory(VARIANTS["tiny"], 224, 224)  # elements
    1.5357142857142858
    """
    require_config(config)
    height, width = check_sizes(height=height, width=width)
    if max(height, width) > LONGEST:
        raise ValueError(f"an image of {height} x {width} pixels is too large to count its windows: at most {LONGEST}")
    (H1, W1), _ = stem_sizes(config, height, width)
    peaks = [5 * H1 * W1 * config.stem_channels]  # conv1; in SiLU its normed input, e^-|x|, x e^-|x|, 1 + e^-|x|
    for stage, layout in zip(config.stages, config.layout(height, width), strict=True):
        (H, W), C, E = layout.map, stage.channels, stage.expansion
        X, padded = H * W * C, (H + stage.kernel_size - 1) * (W + stage.kernel_size - 1)
        peaks += [
            3 * X + 5 * E * X,  # X, A, A + X; the depthwise input, and SiLU as above
            3 * X + E * C * (3 * H * W + padded),  # X, A, A + X; the depthwise input, also padded; one tap; their sum
            _reference_attention(stage, layout),
        ]
    return max(peaks)


def _reference_attention(stage: Stage, layout: StageLayout) -> int:
    """Maps, the attention weights of all heads, and of one head the scores, shifted, and exponentiated."""
    (H, W), C, heads = layout.map, stage.channels, stage.heads
    X = H * W * C
    if stage.grid_size is None or stage.pool_size is None:
        return 6 * X + (heads + 3) * (H * W) ** 2  # X, normed, Q, K, V, A
    merged = ceil_div(H, stage.pool_size) * ceil_div(W, stage.pool_size)
    peaks = [5 * X + 3 * merged * C + (heads + 3) * H * W * merged]  # X, normed, A1, Q2, A2; merged tokens, K2, V2
    G1, before = stage.grid_size, 0
    rows, columns = ([min(G1, side - start) for start in range(0, side, G1)] for side in (H, W))  # sides of the windows
    for window in (g * h for g in rows for h in columns):
        own = 5 * window * C + (heads + 3) * window**2  # X1, Q1, K1, V1, A1, weights
        peaks.append(3 * X + own + before)  # X, normed, A1
        before = window * C + heads * window**2  # A1 and weights, alive until the next window replaces them
    return max(peaks)
