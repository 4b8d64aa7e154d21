"""Devices by name, and what they compute with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

CPU_ALLOCATOR = "DefaultCPUAllocator: "  # how PyTorch says that a CPU's memory is full; for GPUs it has a class


def out_of_memory(error: RuntimeError) -> bool:
    """Whether it says that memory is full. Other errors speak of memory too: of an illegal access, say."""
    said = (CPU_ALLOCATOR, "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in said)


def use_threads(threads: int | None) -> None:
    """Let PyTorch compute on a CPU with that many threads; None leaves it as it is.

    Raises:
        ValueError: for fewer than one.
    """
    if threads is None:
        return
    if threads < 1:
        raise ValueError(f"threads={threads} must be at least 1")
    torch.set_num_threads(threads)


def usable_device(name: str) -> torch.device:
    """The device of that name, such as `cpu` or `cuda:1`.

    Raises:
        ValueError: if there is none here.

    >>> usable_device("cpu")
    device(type='cpu')
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} can't be used here: {str(error).splitlines()[0]}") from error
    return device


@contextmanager
def full_precision() -> Iterator[None]:
    """float32 with all of its digits: outside autocast, and on GPUs without TF32, which has ten bits of them.

    `torch.backends.cudnn.flags(allow_tf32=False)` would not do: it switches cuDNN off, and leaves matrices as they are.
    """
    parts = (torch.backends.cudnn.conv, torch.backends.cuda.matmul)  # type: ignore[attr-defined]
    before = [part.fp32_precision for part in parts]
    try:
        for part in parts:
            part.fp32_precision = "ieee"
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            yield
    finally:
        for part, precision in zip(parts, before, strict=True):
            part.fp32_precision = precision
