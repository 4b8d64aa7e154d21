"""One process, or several that train one model together under `torchrun`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed

from hatnet.device import usable_device


@dataclass(frozen=True)
class World:
    """Who this process is among how many, and what it computes on."""

    rank: int
    size: int
    device: torch.device
    patient: distributed.ProcessGroup | None = None  # the same processes, for what may take one of them hours

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, in place and in all of them."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether any process says yes."""
        if self.size == 1:
            return flag  # to ask a GPU is to wait for it
        return bool(self.sum(torch.tensor(float(flag), device=self.device)))

    def of_first(self, number: int) -> int:
        """The number that the first process has."""
        if self.size == 1:
            return number
        return int(self.sum(torch.tensor(number if self.first else 0, device=self.device)))

    def of_first_all(self, numbers: Sequence[int]) -> list[int]:
        """The numbers that the first process has."""
        if self.size == 1:
            return list(numbers)
        count = self.of_first(len(numbers))
        mine = numbers if self.first else [0] * count
        return [int(number) for number in self.sum(torch.tensor(mine, dtype=torch.int64, device=self.device))]

    def wait(self) -> None:
        """Go on when all processes are here, be it tomorrow: the first one may decode a million images."""
        if self.size > 1:
            distributed.barrier(group=self.patient)


@contextmanager
def join(device: str) -> Iterator[World]:
    """Join the processes that `torchrun` started, or be alone where it did not.

    Args:
        device: `cpu`, `cuda` (each process of a machine takes its own GPU) or one GPU such as `cuda:1`.

    Raises:
        ValueError: if the device can't be used, a machine has fewer GPUs than processes, or it was not `torchrun` that
            started them.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"device={device!r} must be cpu, cuda or one GPU such as cuda:1")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        target = usable_device(device)
        if target.index is not None and target.type == "cuda":
            torch.cuda.set_device(target)  # what PyTorch says of "the" GPU is said of this one
        yield World(0, 1, target)
        return
    missing = [name for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE") if name not in os.environ]
    if missing:
        raise ValueError(
            f"WORLD_SIZE={size} is set but not {', '.join(missing)}: start several processes with torchrun"
        )
    rank, local = int(os.environ["RANK"]), int(os.environ["LOCAL_RANK"])
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    if device.startswith("cuda"):
        if here > torch.cuda.device_count():
            raise ValueError(
                f"{here} processes on this machine, but {torch.cuda.device_count()} GPUs: "
                f"start torchrun with --nproc-per-node {max(torch.cuda.device_count(), 1)} or train with --device cpu"
            )
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    target = usable_device(device)
    distributed.init_process_group("nccl" if target.type == "cuda" else "gloo", timeout=timedelta(minutes=30))
    patient = distributed.new_group(backend="gloo", timeout=timedelta(days=1))
    try:
        yield World(rank, size, target, patient)  # type: ignore[arg-type]  # no number: every process is in it
    finally:
        distributed.destroy_process_group()
