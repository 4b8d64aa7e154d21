"""The settings of a benchmark of networks; the options of `hatnet bench` are made from this class."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

from hatnet.checks import require_between, require_choice, require_kind, require_type
from hatnet.studies.bench.networks import DEFAULT, NETWORKS
from hatnet.studies.common.settings import require_known, require_whole_numbers

DType = Literal["float32", "bfloat16", "float16", "autocast"]
Allocator = Literal["default", "keep"]
MOST_WORKERS = 1024  # processes or threads


@dataclass(frozen=True)
class Layout:
    """Processes that run the network at the same time, each on batches of its own, and the threads of each."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes}x{self.threads}"

    @classmethod
    def parse(cls, text: str) -> Layout:
        """The layout of a text such as 2x1. Raises ValueError for any other text.

        >>> Layout.parse("2x1")
        Layout(processes=2, threads=1)
        """
        found = re.fullmatch(r"([1-9][0-9]{0,3})x([1-9][0-9]{0,3})", text) if isinstance(text, str) else None
        layout = cls(*map(int, found.groups())) if found else cls(0, 0)
        if not found or max(layout.processes, layout.threads) > MOST_WORKERS:
            raise ValueError(
                f"layout {text!r} must be PROCESSESxTHREADS, such as 2x1, with at most {MOST_WORKERS} of each"
            )
        return layout


@dataclass(frozen=True)
class Settings:
    """Settings of a benchmark. Raises ValueError, with the allowed values, for any other value."""

    networks: tuple[str, ...] = DEFAULT  # hat-nets by variant, authors-VARIANT, VARIANT-recompute, and models of timm
    training: bool = False  # time forward, backward and a step of AdamW, not inference
    compile: bool = False  # compile the networks with torch.compile
    dtype: DType = "float32"  # of weights and images; autocast: float32 weights, products in bfloat16
    device: str = "cpu"  # where to measure, such as cpu or cuda
    batch: int = 8  # images per batch and process
    size: int = 224  # height and width of the images in pixels
    rounds: int = 3  # how often each network is timed in its best layout
    seconds: float = 5.0  # that each visit times batches for, after the warm-up
    threads: int | None = None  # threads of all processes together; by default one per core
    layouts: tuple[str, ...] = ()  # PROCESSESxTHREADS to try, such as 1x2 2x1; by default all that use the threads
    allocator: Allocator = "default"  # of main memory; keep: freed memory stays with the process (glibc only)
    roofline: bool = True  # time the parts of each HAT-Net variant, and the peak rates of the machine
    seed: int = 0  # for the order, the weights and the images

    def __post_init__(self) -> None:
        for name in ("networks", "layouts"):
            require_kind(name, getattr(self, name), tuple[str, ...])
        require_known("network", self.networks, NETWORKS)
        require_whole_numbers(
            self, batch=(1, 65_536), size=(32, 4096), rounds=(1, 1000), threads=(1, MOST_WORKERS), seed=(0, 2**32 - 1)
        )
        require_between("seconds", self.seconds, 0.001, 3600)
        for name in ("training", "compile", "roofline"):
            require_type(name, getattr(self, name), bool, "True or False")
        require_choice("dtype", self.dtype, get_args(DType))
        require_choice("allocator", self.allocator, get_args(Allocator))
        require_type("device", self.device, str, "the name of a device, such as cpu")
        if len(set(self.layouts)) < len(self.layouts):
            raise ValueError(f"layouts={self.layouts} must hold none twice")
        if self.layouts and self.threads is not None:
            raise ValueError("give threads or layouts, not both: a layout names its threads")
        if self.device != "cpu" and (self.threads, self.layouts) not in ((None, ()), (1, ()), (None, ("1x1",))):
            raise ValueError(f"threads and layouts are for device='cpu'; on {self.device} one process runs with 1x1")
        if self.dtype == "float16" and self.device == "cpu":
            raise ValueError("dtype='float16' is for a GPU; on a CPU use float32 or bfloat16")
        if self.training and self.dtype in ("bfloat16", "float16"):
            raise ValueError(f"training with weights in {self.dtype} loses small steps; use dtype='autocast'")
        recomputing = [name for name in self.networks if NETWORKS[name].recompute]
        if recomputing and not self.training:
            raise ValueError(f"{', '.join(recomputing)} differs in training only: add --training, or leave it out")
        for layout in self.layouts:
            Layout.parse(layout)
        for name, kind in get_type_hints(Settings).items():
            require_kind(name, getattr(self, name), kind)

    def candidates(self) -> list[Layout]:
        """The layouts to try: those given, or all that divide the threads evenly among processes.

        >>> [str(layout) for layout in Settings(threads=4).candidates()]
        ['1x4', '2x2', '4x1']
        """
        if self.layouts:
            return [Layout.parse(layout) for layout in self.layouts]
        if self.device != "cpu":
            return [Layout(1, 1)]
        threads = self.threads or usable_cores()
        return [Layout(count, threads // count) for count in range(1, threads + 1) if threads % count == 0]

    def environment(self, threads: int) -> dict[str, str]:
        """The variables to set before a process with this number of threads starts."""
        variables = {f"{library}_NUM_THREADS": str(threads) for library in ("OMP", "MKL", "OPENBLAS")}
        if self.allocator == "keep":  # every block comes from the heap, and the heap never shrinks
            variables |= {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1"}
        return variables


def require_allocator(settings: Settings) -> None:
    """Raise a ValueError if this system's allocator has no setting to keep freed memory."""
    library = platform.libc_ver()[0]
    if settings.allocator == "keep" and library != "glibc":
        raise ValueError(
            f"allocator='keep' sets variables of glibc, and this system has {library or 'another C library'}; "
            "use allocator='default'"
        )


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
