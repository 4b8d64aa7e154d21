"""Choose a device by name, set its threads and precision, and recognise when its memory is full."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hatnet.checks import require_whole
from hatnet.environment import wait_policy

MOST_THREADS = 1024

# PyTorch has an error class for a full GPU. A full CPU, and some full GPUs, can only be recognised by these texts.
CPU_ALLOCATOR = "DefaultCPUAllocator: "
OUT_OF_MEMORY = (CPU_ALLOCATOR, "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")


def out_of_memory(error: RuntimeError) -> bool:
    """Return whether memory is full. Other errors, such as an illegal access, mention memory too."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in OUT_OF_MEMORY)


def out_of_memory_cause(error: RuntimeError) -> str:
    """PyTorch's explanation, without the line of its source code that raised the error."""
    return str(error).partition("\n")[0].rpartition(CPU_ALLOCATOR)[2]


def use_threads(threads: int | None) -> None:
    """Let PyTorch compute with `threads` threads on a CPU; None leaves the setting. ValueError outside 1 to 1024."""
    if threads is not None:
        require_whole("threads", threads, 1, MOST_THREADS)
        torch.set_num_threads(threads)


def thread_facts() -> dict[str, int | str]:
    """The number of threads that a process computes with on a CPU, and how they wait for each other."""
    return {"threads per process": torch.get_num_threads(), "threads wait": wait_policy()}


def default_device(name: str | None) -> str:
    """The device that was asked for, by default the GPU if there is one, else the CPU."""
    return name or ("cuda" if torch.cuda.is_available() else "cpu")


def usable_device(name: str) -> torch.device:
    """The device of that name, such as `cpu` or `cuda:1`; ValueError if it cannot hold a tensor."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # refuses `meta` too, which computes nothing
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} can't be used here: {str(error).splitlines()[0]}") from error
    if device.type == "meta":
        raise ValueError("device 'meta' can't be used here: its tensors hold no numbers")
    return device


@contextmanager
def full_precision() -> Iterator[None]:
    """Compute float32 with all of its digits: outside autocast, and on GPUs without TF32, which keeps ten bits.

    `torch.backends.cudnn.flags(allow_tf32=False)` would also switch cuDNN off, and leave matrix products unchanged.
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
