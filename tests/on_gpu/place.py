"""Where a run happens: its folders, its device, its data, and the facts about its machine."""

import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shutil import which

import torch

from hatnet.machine import git_commit
from hatnet.studies.common.machine import machine_details

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Place:
    """Folders and device of a run."""

    out: Path  # records, which the site shows
    runs: Path  # states of trainings, logs and prepared data, which only this command needs
    fashion: Path | None = None  # folder of Fashion-MNIST, as the user gave it
    miniature: bool = False  # tiny sizes on the CPU

    @property
    def device(self) -> str:
        return "cpu" if self.miniature else "cuda"

    def show(self, text: str) -> str:
        """Text without the paths of this machine."""
        return text.replace(f"{ROOT}/", "").replace(f"{self.out}/", "OUT/").replace(f"{self.runs}/", "RUNS/")

    def log(self, name: str) -> Path:
        return self.runs / f"{name}.log"


def machine_facts(device: str) -> dict[str, str | int]:
    """The machine and all versions that a measurement depends on; no name of a host or a person."""
    facts = machine_details(device)
    for package in ("torchvision", "timm"):
        try:
            facts[package] = version(package)
        except PackageNotFoundError:
            continue
    if device != "cpu":
        facts |= {"cuda": str(torch.version.cuda), "driver": driver()}
    commit = git_commit(ROOT)
    return facts if commit is None else facts | {"commit": commit}


def driver() -> str:
    """Version of the GPU's driver."""
    if which("nvidia-smi") is None:
        return "unknown"
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = found.stdout.split()
    return lines[0] if found.returncode == 0 and lines else "unknown"
