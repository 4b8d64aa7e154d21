"""How much memory one call of an attention module takes at its peak: an upper estimate, to refuse before it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from hatnet.complexity import Cost
    from hatnet.studies.scaling.record import Settings

# Maps of (N, C) alive at the peak: the input, normalised and cut into windows, Q, K and V, what is attended, laid back,
# projected; with the backward pass each is kept, and gets a gradient. The peak of the process was 0.35 to 0.95 of the
# prediction for the modules here (CPU, PyTorch 2.13.0, 2026-11-21): Swin needs the most, PVT the least.
MAPS, MAPS_BACKWARD = 12, 28
# Copies of the scores where they are formed: themselves, their softmax, and what the kernels add; or its gradient.
SCORES = 3


def predicted_bytes(settings: Settings, cost: Cost, tokens: int) -> int:
    """Bytes at the peak of one call on a map of `tokens` tokens.

    PyTorch's fused kernels keep no scores. Where there is none, or explicit attention is asked for, the scores of all
    heads are in memory, one a pair of tokens that meet.
    """
    fused = settings.attention == "fused" and not (settings.device.startswith("cuda") and settings.dtype == "float64")
    elements = (MAPS_BACKWARD if settings.backward else MAPS) * tokens * settings.channels
    if not fused:
        elements += SCORES * settings.heads * (cost.attention_macs // (2 * settings.channels))
    dtype: torch.dtype = getattr(torch, settings.dtype)
    return settings.batch * elements * dtype.itemsize
