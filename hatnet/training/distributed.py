"""The processes that train one model together under `torchrun`, or the only one."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, distributed, nn

from hatnet.device import usable_device


@dataclass(frozen=True)
class Processes:
    """The place of this process among those that train together."""

    rank: int
    size: int
    device: torch.device
    patient_group: distributed.ProcessGroup | None = None  # the same processes, with a timeout of a day

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes, in place; every process gets the result."""
        if self.size > 1:
            distributed.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        if self.size == 1:
            return flag  # without waiting for a GPU
        return bool(self.sum(torch.tensor(float(flag), device=self.device)))

    def from_first(self, numbers: Sequence[int]) -> list[int]:
        """The whole numbers that the first process has, in every process."""
        if self.size == 1:
            return list(numbers)
        count = int(self.sum(torch.tensor(len(numbers) if self.is_first else 0, device=self.device)))
        mine = numbers if self.is_first else [0] * count
        return [int(number) for number in self.sum(torch.tensor(mine, dtype=torch.int64, device=self.device))]

    def copy_from_first(self, model: nn.Module) -> None:
        """Give every process the weights of the first one."""
        if self.size == 1:
            return
        for weight in model.parameters():
            mine = weight.detach().contiguous() if self.is_first else torch.zeros(weight.shape, device=self.device)
            weight.detach().copy_(self.sum(mine.clone()))

    def differ(self, number: int) -> bool:
        """Whether any process has another whole number than the first."""
        return self.any([number] != self.from_first([number]))

    def wait(self) -> None:
        """Wait until all processes are here, up to a day: the first one may decode a million images."""
        if self.size > 1:
            distributed.barrier(group=self.patient_group)


def connection_lost(error: RuntimeError) -> bool:
    """Return whether another process cannot be reached. Gloo has no error class, only these texts."""
    lost = ("Connection closed by peer", "Connection reset by peer", "gloo/transport")
    return isinstance(error, distributed.DistError) or any(text in str(error) for text in lost)


@contextmanager
def join(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` started, or be the only one. With `cuda`, each takes its own GPU.

    Raises ValueError if the device cannot be used, or there are several processes but no `torchrun` or too few GPUs.
    """
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise ValueError(f"device={device!r} must be cpu, cuda or one GPU such as cuda:1")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        target = usable_device(device)
        if target.index is not None and target.type == "cuda":
            torch.cuda.set_device(target)  # memory statistics, for example, are of the current GPU
        yield Processes(0, 1, target)
        return
    rank, target = _place_of_this(device, size)
    distributed.init_process_group("nccl" if target.type == "cuda" else "gloo", timeout=timedelta(minutes=30))
    patient = distributed.new_group(backend="gloo", timeout=timedelta(days=1))
    try:
        yield Processes(rank, size, target, patient)  # type: ignore[arg-type]  # a group, since every process is in it
    finally:
        distributed.destroy_process_group()


def _place_of_this(device: str, size: int) -> tuple[int, torch.device]:
    missing = [name for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE") if name not in os.environ]
    if missing:
        names = ", ".join(missing)
        raise ValueError(f"WORLD_SIZE={size} is set but not {names}: start several processes with torchrun")
    rank, local, here = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"))
    if not device.startswith("cuda"):
        return rank, usable_device(device)
    gpus = torch.cuda.device_count()
    if here > gpus:
        raise ValueError(
            f"{here} processes on this machine, but {gpus} GPUs: "
            f"start torchrun with --nproc-per-node {max(gpus, 1)} or train with --device cpu"
        )
    torch.cuda.set_device(local)
    return rank, usable_device(f"cuda:{local}")
