"""H-MHSA in lower precision, beside the float64 reference on the very same numbers."""

import torch

import reference
from hatnet import HMHSA, to_numpy
from hatnet.attention import attention_weights, join_heads, split_heads
from tests.cases import stack

LOW = [torch.float32, torch.bfloat16]


def in_dtype(case, dtype):
    """An H-MHSA and maps rounded to `dtype`, and the reference's output for them."""
    layer = HMHSA(case.channels, case.heads, case.grid_size, case.pool_size)
    case.filled(layer)
    layer = layer.to(dtype)
    x = torch.from_numpy(case.maps()).to(dtype)
    params = to_numpy(layer)
    want = stack(
        lambda image: reference.h_mhsa(image, params, case.heads, case.grid_size, case.pool_size), x.double().numpy()
    )
    return layer, x, want


def well_conditioned(case, dtype):
    """Whether norms do not amplify rounding: statistics over few numbers may divide by a deviation near zero."""
    return dtype == torch.float64 or case.height * case.width * case.channels >= 64


def formula(Q, K, V, heads, mask, name):
    """Eq. 2 as it is written, each step rounded to the dtype: a kernel to compare the fused ones with."""
    return join_heads(attention_weights(Q, K, heads, mask) @ split_heads(V, heads))
