"""Every random draw of training has its own seed, derived from what it is for.

So no state of a random generator ever has to be saved, and a draw does not depend on which process
makes it, or on what was drawn before.
"""

from __future__ import annotations

from hashlib import blake2b

import torch


def derive(seed: int, *what: str | int) -> int:
    """A seed in [0, 2^63) for one purpose, such as `derive(0, "order", epoch)`; the same on every machine.

    >>> derive(0, "order", 1) == derive(0, "order", 1)
    True
    >>> derive(0, "order", 1) == derive(0, "order", 2)
    False
    """
    digest = blake2b(repr((seed, *what)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def seed_cpu(seed: int) -> None:
    """Seed PyTorch's generator of the CPU and no other: `torch.manual_seed` also queues a call for GPUs, every time."""
    torch.default_generator.manual_seed(seed)
