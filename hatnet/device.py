"""Devices by name."""

from __future__ import annotations

import torch


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
