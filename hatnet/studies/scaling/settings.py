"""The settings of a scaling measurement; the options of `hatnet scaling` are made from this class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from hatnet.checks import require_choice
from hatnet.config import VARIANTS, ceil_div
from hatnet.relatives import ATTENTIONS, Attention
from hatnet.relatives.registry import CLASSIFICATION_SIZES
from hatnet.studies.common.settings import require_known, require_whole_numbers

DType = Literal["float64", "float32", "bfloat16", "float16"]
SMALLEST, LARGEST = 32, 4096  # sides of an image in pixels


@dataclass(frozen=True)
class Settings:
    """Settings of a measurement. Raises ValueError, with the allowed values, for any other value."""

    modules: tuple[str, ...] = tuple(ATTENTIONS)  # attention modules to measure; mhsa is plain attention
    sizes: tuple[int, ...] = (224, 320, 448, 640, 896, 1280, 2048)  # sides of square images in pixels, 32 to 4096
    stage: int = 0  # 0, 1 or 2, counted as in the code: 4, 8 or 16 pixels per token, and the published sizes there
    channels: int | None = None  # C; by default that of HAT-Net Small at this stage
    heads: int | None = None  # by default one per 64 channels, as in HAT-Net Small
    batch: int = 1  # images per batch
    device: str = "cpu"  # where to measure, such as cpu or cuda
    dtype: DType = "float32"  # data type to compute in
    backward: bool = False  # time the forward and the backward pass, not the forward pass alone
    attention: Literal["fused", "explicit"] = "fused"  # PyTorch's fused kernels, or explicit: all scores in memory
    clock: Literal["wall", "cpu"] = "wall"  # wall-clock time, or cpu: processor time of one thread, without waiting
    rounds: int = 7  # how often each module is timed at each size
    longest: float = 10.0  # seconds; a size at which one call takes longer is left out
    threads: int = 1  # of the CPU
    seed: int = 0  # for the order of the measurements, the inputs and the weights

    def __post_init__(self) -> None:
        require_known("module", self.modules, ATTENTIONS)
        require_whole_numbers(
            self, sizes=(SMALLEST, LARGEST), stage=(0, len(CLASSIFICATION_SIZES) - 1), channels=(1, 4096),
            heads=(1, 4096), batch=(1, 4096), rounds=(1, 1000), threads=(1, 1024), seed=(0, 2**32 - 1),
        )  # fmt: skip
        if not self.sizes or len(set(self.sizes)) < len(self.sizes):
            raise ValueError(f"sizes={self.sizes} must hold at least one size, and none twice")
        if self.C % self.head_count:
            raise ValueError(f"heads={self.head_count} must divide channels={self.C}")
        require_choice("dtype", self.dtype, get_args(DType))
        require_choice("attention", self.attention, ("fused", "explicit"))
        require_choice("clock", self.clock, ("wall", "cpu"))
        if self.clock == "cpu" and (self.device != "cpu" or self.threads > 1):
            raise ValueError(
                "clock='cpu' needs one thread on the CPU: processor time misses work on a GPU and adds up threads"
            )
        if not self.longest > 0:
            raise ValueError(f"longest={self.longest!r} must be a number of seconds above 0")

    @property
    def C(self) -> int:  # noqa: N802
        """Channels: `channels`, or those of HAT-Net Small at this stage."""
        return VARIANTS["small"].channels[self.stage] if self.channels is None else self.channels

    @property
    def head_count(self) -> int:
        """Heads: `heads`, or one per 64 channels."""
        return max(self.C // 64, 1) if self.heads is None else self.heads

    @property
    def stride(self) -> int:
        """Pixels from one token to the next."""
        return 4 * 2**self.stage

    def side(self, size: int) -> int:
        """Tokens along one side of a square image."""
        return ceil_div(size, self.stride)

    def resolved(self) -> Settings:
        """These settings with channels and heads filled in, as records store them."""
        return replace(self, channels=self.C, heads=self.head_count)

    def attentions(self) -> dict[str, Attention]:
        """The modules to measure by name, in the order of the registry."""
        return {
            name: attention.at(self.stage, self.C, self.head_count)
            for name, attention in ATTENTIONS.items()
            if name in self.modules
        }
