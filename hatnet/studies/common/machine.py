"""The machine under a measurement: its details, never with the name of a host or a person; its memory and load."""

import os
import platform
from pathlib import Path

import torch

from hatnet.machine import cpu_model


def machine_details(device: torch.device | str = "cpu") -> dict[str, str | int]:
    """The system, the processor and the versions that a measurement on `device` depends on."""
    details: dict[str, str | int] = {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores": os.cpu_count() or 1,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.device(device).type == "cuda":
        details["gpu"] = torch.cuda.get_device_name(device)
    return details


def free_memory(device: torch.device | str = "cpu") -> int:
    """Bytes of free memory on a GPU, or of main memory in a container's limit; half of all where free is unknown."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    limits = []
    if Path("/proc/meminfo").is_file():
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        limits += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")]
    group = Path("/sys/fs/cgroup")
    if (group / "memory.max").is_file() and (group / "memory.current").is_file():
        maximum, current = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
        limits += [int(maximum) - int(current)] if maximum.isdigit() else []
    if not limits and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return min(limits, default=4 * 2**30)


def synchronise(device: torch.device) -> None:
    """Wait until the device is done; a GPU returns from a call before it is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type != "cpu":
        torch.accelerator.synchronize()


def format_gib(count: int) -> str:
    """Format bytes as GiB."""
    return f"{count / 2**30:.3g} GiB"


def load_average() -> str:
    """The average number of processes that were ready to run during the last minute."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
