"""HAT-Net in NumPy, to read beside the paper.

It computes one image in float64, with explicit loops over windows and heads. Maps have the paper's order (H, W, C), so
that `X @ W` in the code is X W in the equation. Read the files in this order: `layers`, `attention` (Eq. 1-3),
`hierarchical_attention` (Eq. 6-14), `network`; then `loss`, `backward` (the gradients, derived by hand) and `learning`.

Parameters are one flat dictionary with the names of `hatnet`'s state dict; see `names`. Tags such as D1 mark departures
from the paper and are explained in docs/paper-vs-code.md.
"""

from reference.attention import attention_weights, mhsa, multi_head_attention, softmax
from reference.backward import gradients
from reference.hierarchical_attention import aggregate, global_attention, h_mhsa, local_attention, merge, windows
from reference.layers import average_pool, conv2d, depthwise_conv2d, group_norm, linear, silu
from reference.loss import cross_entropy
from reference.names import scope, within
from reference.network import block, classifier, downsample, hat_net, mlp, stem

__all__ = [
    "aggregate",
    "attention_weights",
    "average_pool",
    "block",
    "classifier",
    "conv2d",
    "cross_entropy",
    "depthwise_conv2d",
    "downsample",
    "global_attention",
    "gradients",
    "group_norm",
    "h_mhsa",
    "hat_net",
    "linear",
    "local_attention",
    "merge",
    "mhsa",
    "mlp",
    "multi_head_attention",
    "scope",
    "silu",
    "softmax",
    "stem",
    "windows",
    "within",
]
