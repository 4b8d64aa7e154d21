"""Every random draw has a seed derived from its purpose, whatever process draws it: no generator state to save."""

from hashlib import blake2b

import torch

from hatnet.checks import require_type, require_whole


def derive(seed: int, *purpose: str | int) -> int:
    """A seed in [0, 2^63) for one purpose, such as `derive(0, "order", epoch)`; the same on every machine.

    Raises ValueError unless the seed is a whole number, TypeError for a purpose that is neither a text nor one.

    >>> derive(0, "order", 1) == derive(0, "order", 1)
    True
    >>> derive(0, "order", 1) == derive(0, "order", 2)
    False
    """
    seed = require_whole("seed", seed, 0)
    for part in purpose:
        require_type("purpose", part, (str, int), "texts and whole numbers")
    digest = blake2b(repr((seed, *purpose)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_cpu(seed: int) -> None:
    """Seed PyTorch's CPU generator only: `torch.manual_seed` also queues a call for GPUs, every time."""
    torch.default_generator.manual_seed(seed)
