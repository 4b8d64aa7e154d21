"""Machine details recorded with measurements; no names of hosts or people."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def cpu_model() -> str:
    """CPU model name."""
    if platform.system() == "Linux" and Path("/proc/cpuinfo").is_file():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return platform.processor() or platform.machine()


def free_memory() -> int:
    """Bytes of main memory that are free: as Linux says, half of all elsewhere; within the limit of a container."""
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


def format_gib(count: int) -> str:
    """Format bytes as GiB."""
    return f"{count / 2**30:.3g} GiB"


def load_average() -> str:
    """How busy the machine was: processes ready to run, over the last minute."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"
