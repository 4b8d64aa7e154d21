"""Timing in turns: random orders, and waiting for a GPU."""

import random

import torch


def schedule(count: int, rounds: int, seed: int) -> list[list[int]]:
    """One random permutation of `range(count)` per round.

    >>> schedule(3, rounds=2, seed=1)
    [[0, 2, 1], [0, 1, 2]]
    """
    generator = random.Random(seed)
    return [generator.sample(range(count), count) for _ in range(rounds)]


def synchronise(device: torch.device) -> None:
    """Wait until the device is done; a GPU returns from a call before it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type != "cpu":
        torch.accelerator.synchronize()
