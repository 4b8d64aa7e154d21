"""Machine and software details recorded with results; no names of hosts or people."""

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which

import torch

PACKAGE = Path(__file__).parent


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


def device_model(device: torch.device) -> str:
    """Model name of a GPU, or of the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_model()


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of this process on a GPU, or in main memory, in 10^6 bytes; NaN on Windows."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        import resource
    except ModuleNotFoundError:
        return float("nan")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def software() -> dict[str, str]:
    """Versions of this package, its libraries and the system, and in a git checkout the commit."""
    import safetensors
    import torchvision

    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "safetensors": safetensors.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "hatnet": _package_version(),
    }
    commit = git_commit(PACKAGE.parent)
    return versions | ({} if commit is None else {"commit": commit})


def git_commit(checkout: Path) -> str | None:
    """The commit that is checked out in a folder; None if the folder is no checkout, or git is not installed."""
    if not (checkout / ".git").exists() or which("git") is None:  # git would search the folders above, too
        return None
    command = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else None


def _package_version() -> str:
    try:
        return version("hatnet")
    except PackageNotFoundError:  # a source tree that was never installed
        return "unknown"
