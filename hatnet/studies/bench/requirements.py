"""What this machine must have for a benchmark; checked before any process starts."""

import platform

import torch

from hatnet.studies.bench.networks import require_timm
from hatnet.studies.bench.settings import Settings, require_allocator


def require_machine(settings: Settings) -> None:
    """Raise a ValueError if this machine cannot measure with these settings."""
    require_timm(settings.networks)
    require_allocator(settings)
    if settings.device == "cpu" and settings.dtype in ("bfloat16", "autocast") and not computes_bfloat16():
        raise ValueError(
            f"dtype={settings.dtype!r}: this processor has no instructions for bfloat16, so PyTorch would emulate it "
            "and the times would mean nothing; use dtype='float32'"
        )


def computes_bfloat16() -> bool:
    """Return whether the processor multiplies bfloat16 itself, with AVX-512 BF16, AMX or on ARM."""
    if platform.machine().lower() in ("arm64", "aarch64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
