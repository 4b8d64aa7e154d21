"""Peak memory of one call of an attention module: an upper estimate, to refuse a call before it fails."""

import torch

from hatnet.complexity import Cost
from hatnet.studies.scaling.settings import Settings

# Maps of (N, C) alive at the peak: the input, normalised and cut into windows; Q, K and V; the attended values, put
# back into a map, projected. With the backward pass each is kept and gets a gradient. The measured peak of the process
# was 0.35 to 0.95 of the prediction for the modules here, lowest for PVT and highest for Swin (CPU, PyTorch 2.13.0,
# 2026-11-21).
MAPS, MAPS_BACKWARD = 12, 28
# Copies of the scores where they are in memory: the scores, their softmax, and the kernel's copy or their gradient.
SCORES = 3


def predicted_bytes(settings: Settings, cost: Cost, tokens: int) -> int:
    """Peak memory of one call on a map of `tokens` tokens, in bytes.

    PyTorch's fused kernels store no scores. Without a fused kernel, or with explicit attention, the scores of all heads
    are in memory: one for each pair of a query and a key.
    """
    fused = settings.attention == "fused" and not (settings.device.startswith("cuda") and settings.dtype == "float64")
    elements = (MAPS_BACKWARD if settings.backward else MAPS) * tokens * settings.C
    if not fused:
        elements += SCORES * settings.head_count * (cost.attention_macs // (2 * settings.C))
    dtype: torch.dtype = getattr(torch, settings.dtype)
    return settings.batch * elements * dtype.itemsize
