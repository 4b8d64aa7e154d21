"""Devices by name."""

from __future__ import annotations

import torch


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
