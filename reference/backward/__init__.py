r"""The backward pass of HAT-Net in NumPy, derived by hand: one vector-Jacobian product per function.

Each file has the name of the forward file, and the same functions in the same order: `linear_vjp` belongs to `linear`.
A function `y = f(x, ...)` has the Jacobian $\partial y_i / \partial x_j$; `f_vjp(dy, x, ...)` returns the product
$dx_j = \sum_i dy_i\, \partial y_i / \partial x_j$ for each input. It computes what it needs from the forward inputs
again, so that nothing has to be stored: first the lines of the forward pass, then the same lines in reverse.

`gradients` puts all together: the loss of one image, and the gradient of every parameter and every pixel.
"""

from reference.backward.attention import attention_weights_vjp, mhsa_vjp, multi_head_attention_vjp, softmax_vjp
from reference.backward.hierarchical_attention import (
    aggregate_vjp,
    global_attention_vjp,
    h_mhsa_vjp,
    local_attention_vjp,
    merge_vjp,
)
from reference.backward.layers import (
    average_pool_vjp,
    conv2d_vjp,
    depthwise_conv2d_vjp,
    group_norm_vjp,
    linear_vjp,
    silu_vjp,
)
from reference.backward.loss import cross_entropy_vjp
from reference.backward.network import (
    block_vjp,
    classifier_vjp,
    downsample_vjp,
    gradients,
    hat_net_vjp,
    mlp_vjp,
    stem_vjp,
)

__all__ = [
    "aggregate_vjp",
    "attention_weights_vjp",
    "average_pool_vjp",
    "block_vjp",
    "classifier_vjp",
    "conv2d_vjp",
    "cross_entropy_vjp",
    "depthwise_conv2d_vjp",
    "downsample_vjp",
    "global_attention_vjp",
    "gradients",
    "group_norm_vjp",
    "h_mhsa_vjp",
    "hat_net_vjp",
    "linear_vjp",
    "local_attention_vjp",
    "merge_vjp",
    "mhsa_vjp",
    "mlp_vjp",
    "multi_head_attention_vjp",
    "silu_vjp",
    "softmax_vjp",
    "stem_vjp",
]
