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

    def gather(self, content: bytes) -> list[bytes]:
        """The bytes of every process, in the order of ranks, in every process."""
        if self.size == 1:
            return [content]
        sizes = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        sizes[self.rank] = len(content)
        ends = self.sum(sizes).cumsum(0).tolist()
        everything = torch.zeros(ends[-1], dtype=torch.uint8, device=self.device)
        if content:
            mine = torch.frombuffer(bytearray(content), dtype=torch.uint8)
            everything[ends[self.rank] - len(content) : ends[self.rank]] = mine.to(self.device)
        whole = self.sum(everything).cpu().numpy().tobytes()
        return [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def copy_from_first(self, model: nn.Module) -> None:
        """Give every process the weights and buffers of the first one."""
        if self.size == 1:
            return
        for weight in (*model.parameters(), *model.buffers()):
            mine = weight.detach().contiguous() if self.is_first else torch.zeros_like(weight.detach()).contiguous()
            weight.detach().copy_(self.sum(mine.clone()))

    def average_buffers(self, model: nn.Module) -> None:
        """Replace the statistics of batch normalisation by their mean over all processes."""
        buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        if self.size == 1 or not buffers:
            return
        sums = self.sum(torch.cat([buffer.flatten() for buffer in buffers])) / self.size
        for buffer, mean in zip(buffers, sums.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(mean.view_as(buffer))

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
