"""The architecture as data: Table 1 of the paper, and the size of an image at each stage."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from itertools import islice, pairwise
from math import prod
from typing import TypedDict, Unpack

from hatnet.checks import ALMOST_ONE, require_between, require_type, require_whole, shown

# The largest value of each field, far above any use: a damaged or hostile file is refused before memory is taken.
MOST = {
    "in_channels": 4096, "num_classes": 10_000_000, "stem_channels": 65_536, "stem_strides": 64, "channels": 65_536,
    "depths": 1000, "kernel_sizes": 255, "expansions": 1024, "head_dim": 65_536, "grid_sizes": 2**20,
    "pool_sizes": 2**20,
}  # fmt: skip
MOST_PARAMETERS = 2_000_000_000

# The tasks that need a class for each image, or maps of features, and the number of classes in the paper's data:
# ImageNet, ADE20K and COCO.
TASKS = {"classification": 1000, "segmentation": 150, "detection": 80, "instances": 80}


@dataclass(frozen=True)
class Stage:
    """One stage of a variant, a row of Table 1. The last has plain attention, so its G1 and G2 are None."""

    channels: int  # C
    depth: int  # L, the number of blocks
    heads: int  # C / d
    kernel_size: int  # K of the depthwise convolution in the MLP
    expansion: int  # E, the MLP is E C channels wide
    grid_size: int | None  # G1, the side of a window, in tokens
    pool_size: int | None  # G2, the side of a pooling cell, in tokens
    stride: int  # pixels from one token to the next


@dataclass(frozen=True)
class StageLayout:
    """The sizes at one stage for one image size; every field is (rows, columns)."""

    map: tuple[int, int]  # H, W, in tokens
    window: tuple[int, int] | None  # a full window in tokens: G1, or the whole map if that is smaller
    windows: tuple[int, int] | None  # the number of windows
    last_window: tuple[int, int] | None  # the bottom right window in tokens; smaller if G1 does not divide the map
    merged: tuple[int, int] | None  # the number of pooling cells, which is the number of merged tokens
    last_cell: tuple[int, int] | None  # the bottom right cell in tokens; smaller if G2 does not divide the map


@dataclass(frozen=True)
class HATNetConfig:
    """The architecture of one HAT-Net. Tuples have one entry per stage unless noted.

    Raises ValueError if the fields do not describe a network, or one of more than `MOST_PARAMETERS`.
    """

    name: str = "custom"
    in_channels: int = 3
    num_classes: int = 1000
    stem_channels: int = 16  # between the two convolutions of the stem
    stem_strides: tuple[int, int] = (2, 2)  # of its two convolutions
    channels: tuple[int, ...] = (64, 128, 320, 512)  # C
    depths: tuple[int, ...] = (2, 3, 8, 3)  # L
    kernel_sizes: tuple[int, ...] = (3, 3, 3, 3)  # K
    expansions: tuple[int, ...] = (8, 8, 4, 4)  # E
    head_dim: int = 64  # d
    grid_sizes: tuple[int, ...] = (8, 7, 7)  # G1; one entry fewer, since the last stage has none
    pool_sizes: tuple[int, ...] = (8, 4, 2)  # G2, likewise
    drop_rate: float = 0.0  # channel dropout after the output projection and in the MLP
    drop_path_rate: float = 0.0  # stochastic depth: 0 in the first block, rising linearly to this in the last
    classifier_drop_rate: float = 0.2

    def __post_init__(self) -> None:
        for field in fields(self):  # JSON and the command line give lists
            value = getattr(self, field.name)
            if isinstance(value, list):
                object.__setattr__(self, field.name, tuple(value))
        require_type("name", self.name, str, "a text")
        self._check_lengths()
        self._check_whole_numbers()
        if any(kernel_size % 2 == 0 for kernel_size in self.kernel_sizes):
            raise ValueError(f"kernel_sizes={self.kernel_sizes} must be odd, so that a map keeps its size")
        for channels in self.channels:
            if channels % self.head_dim:
                raise ValueError(
                    f"head_dim={self.head_dim} does not divide the {channels} channels of a stage "
                    f"(channels={self.channels}); a stage has channels / head_dim heads"
                )
        for name in ("drop_rate", "drop_path_rate", "classifier_drop_rate"):
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, require_between(name, value, 0, ALMOST_ONE))
            except ValueError:
                raise ValueError(f"{name}={shown(value)} must be a probability in [0, 1)") from None
        self._check_parameters()

    def _check_lengths(self) -> None:
        if not isinstance(self.channels, tuple):
            raise ValueError(f"channels={shown(self.channels)} must be a tuple with one entry per stage")
        stages = len(self.channels)
        if not stages:
            raise ValueError("channels is empty: a HAT-Net has at least one stage")
        lengths = {"stem_strides": 2, "grid_sizes": stages - 1, "pool_sizes": stages - 1}
        for name in ("stem_strides", "depths", "kernel_sizes", "expansions", "grid_sizes", "pool_sizes"):
            value, length = getattr(self, name), lengths.get(name, stages)
            if not isinstance(value, tuple) or len(value) != length:
                raise ValueError(f"{name}={shown(value)} must have {length} entries for {stages} stages")

    def _check_whole_numbers(self) -> None:
        for field in fields(self):
            if field.type in (str, float):
                continue
            value, most = getattr(self, field.name), MOST[field.name]
            several = isinstance(field.default, tuple)
            entries, kind = (value, "whole numbers") if several else ((value,), "a whole number")
            try:
                numbers = tuple(require_whole(field.name, entry, 1, most) for entry in entries)
            except ValueError:
                message = f"{field.name}={shown(value)} must be {kind} of at least 1 and at most {most}"
                raise ValueError(message) from None
            object.__setattr__(self, field.name, numbers if several else numbers[0])

    def _check_parameters(self) -> None:
        count = self.fewest_parameters
        if count > MOST_PARAMETERS:
            raise ValueError(
                f"the fields describe a network of {count:.2g} parameters; at most {MOST_PARAMETERS:.2g} are allowed, "
                f"thirty times as many as the largest published variant has"
            )

    @property
    def fewest_parameters(self) -> int:
        """A lower bound of the number of parameters: all matrices and kernels, without norms and biases."""
        blocks = zip(self.depths, self.channels, self.expansions, self.kernel_sizes, strict=True)
        before = (self.in_channels, self.stem_channels, *self.channels)
        return (
            sum(L * C * (E * (2 * C + K**2) + 4 * C) for L, C, E, K in blocks)
            + sum(9 * inputs * outputs for inputs, outputs in pairwise(before))
            + self.channels[-1] * self.num_classes
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order, the last one without windows."""
        grid_sizes, pool_sizes = (*self.grid_sizes, None), (*self.pool_sizes, None)
        rows = zip(self.channels, self.depths, self.kernel_sizes, self.expansions, grid_sizes, pool_sizes, strict=True)
        return tuple(
            Stage(C, L, C // self.head_dim, K, E, G1, G2, stride=prod(self.stem_strides) * 2**index)
            for index, (C, L, K, E, G1, G2) in enumerate(rows)
        )

    @property
    def min_image_size(self) -> int:
        """The smallest height and width in pixels, one token of the last stage; 32 for the published variants."""
        return self.stages[-1].stride

    def layout(self, height: int, width: int) -> tuple[StageLayout, ...]:
        """The sizes of maps, windows and cells at each stage, for an image of `height` x `width` pixels.

        Every stride-2 convolution rounds up. Windows and pooling cells start at the top left; those cut by the border
        are smaller. Raises ValueError if the image is smaller than `min_image_size`, or a side is not a whole number.

        >>> last = HATNetConfig(grid_sizes=(8, 8, 8), pool_sizes=(16, 8, 4)).layout(800, 1333)[0]
        >>> last.map, last.windows, last.last_window, last.merged, last.last_cell
        ((200, 334), (25, 42), (8, 6), (13, 21), (8, 14))
        """
        height, width = require_whole("height", height, 1), require_whole("width", width, 1)
        if min(height, width) < self.min_image_size:
            raise ValueError(
                f"image of {height} x {width} pixels is too small: the last stage of {self.name!r} has one token per "
                f"{self.min_image_size} x {self.min_image_size} pixels, so both sides must be at least "
                f"{self.min_image_size}; enlarge or pad the image"
            )
        layouts = []
        for stride in self.stem_strides:
            height, width = ceil_div(height, stride), ceil_div(width, stride)
        for index, stage in enumerate(self.stages):
            if index:
                height, width = ceil_div(height, 2), ceil_div(width, 2)
            window = windows = last_window = merged = last_cell = None
            if stage.grid_size is not None and stage.pool_size is not None:
                window = (min(stage.grid_size, height), min(stage.grid_size, width))
                windows, last_window = _tiles((height, width), window)
                merged, last_cell = _tiles((height, width), (stage.pool_size, stage.pool_size))
            layouts.append(StageLayout((height, width), window, windows, last_window, merged, last_cell))
        return tuple(layouts)

    def with_dense_windows(self) -> "HATNetConfig":
        """The same network with the windows of Table 1 for dense tasks: G1 = 8, and G2 = 16, 8, 4.

        With another number of stages G1 is 8 everywhere, and G2 is 4 in the last stage that has windows and doubles
        towards the first. Windows have no parameters, so the weights of a classification network fit.

        >>> get_config("small").with_dense_windows().pool_sizes
        (16, 8, 4)
        """
        count = len(self.grid_sizes)
        return replace(self, grid_sizes=(8,) * count, pool_sizes=tuple(4 * 2**k for k in reversed(range(count))))

    def drop_path_rates(self) -> tuple[tuple[float, ...], ...]:
        """The stochastic depth of every block, stage by stage: from 0 in the first, linearly to `drop_path_rate`."""
        last = max(sum(self.depths) - 1, 1)
        rates = (self.drop_path_rate * index / last for index in range(sum(self.depths)))
        return tuple(tuple(islice(rates, depth)) for depth in self.depths)


def ceil_div(length: int, step: int) -> int:
    """`length` / `step`, rounded up."""
    return (length + step - 1) // step


def _tiles(sizes: tuple[int, int], tile: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The number of tiles that cover a map, and the size of the bottom right one."""
    counts = (ceil_div(sizes[0], tile[0]), ceil_div(sizes[1], tile[1]))
    return counts, (sizes[0] - (counts[0] - 1) * tile[0], sizes[1] - (counts[1] - 1) * tile[1])


class Overrides(TypedDict, total=False):
    """The fields of `HATNetConfig` but its name, as keyword arguments: a type checker then finds a wrong one."""

    in_channels: int
    num_classes: int
    stem_channels: int
    stem_strides: tuple[int, int]
    channels: tuple[int, ...]
    depths: tuple[int, ...]
    kernel_sizes: tuple[int, ...]
    expansions: tuple[int, ...]
    head_dim: int
    grid_sizes: tuple[int, ...]
    pool_sizes: tuple[int, ...]
    drop_rate: float
    drop_path_rate: float
    classifier_drop_rate: float


def require_config(config: object) -> None:
    """Raise a TypeError unless `config` is a HATNetConfig."""
    require_type("config", config, HATNetConfig, "a HATNetConfig, such as get_config('tiny')")


# Table 1 of the paper; `micro` is ours, for images of 28 to 64 pixels a side.
VARIANTS: dict[str, HATNetConfig] = {
    config.name: config
    for config in (
        HATNetConfig("tiny", channels=(48, 96, 240, 384), depths=(2, 2, 6, 3), head_dim=48),
        HATNetConfig("small", channels=(64, 128, 320, 512), depths=(2, 3, 8, 3)),
        HATNetConfig("medium", channels=(64, 128, 320, 512), depths=(3, 6, 18, 3), kernel_sizes=(5, 3, 5, 3)),
        HATNetConfig("large", channels=(64, 128, 320, 640), depths=(3, 8, 27, 3)),
        HATNetConfig(
            "micro",
            num_classes=10,
            stem_strides=(1, 2),
            channels=(32, 64, 128),
            depths=(2, 2, 2),
            kernel_sizes=(3, 3, 3),
            expansions=(4, 4, 4),
            head_dim=32,
            grid_sizes=(8, 4),
            pool_sizes=(4, 2),
        ),
    )
}


def get_config(name: str, **overrides: Unpack[Overrides]) -> HATNetConfig:
    """The configuration of a variant, with some fields of `HATNetConfig` replaced.

    Raises ValueError for an unknown variant or impossible values, TypeError for an unknown field.

    >>> get_config("tiny", num_classes=10).num_classes
    10
    """
    if not isinstance(name, str) or name not in VARIANTS:
        raise ValueError(f"unknown variant {shown(name)}{nearest(name, VARIANTS)}; known: {', '.join(VARIANTS)}")
    known = [field.name for field in fields(HATNetConfig)]
    for key in overrides:
        if key not in known:
            raise TypeError(f"unknown override {key!r}{nearest(key, known)}; known: {', '.join(known)}")
    return replace(VARIANTS[name], **overrides)


def nearest(word: str, known: Iterable[str]) -> str:
    """`, did you mean ...?` with the known name closest to `word`, or nothing if none is close."""
    closest_first = difflib.get_close_matches(str(word), list(known), cutoff=0.5)
    return f", did you mean {closest_first[0]!r}?" if closest_first else ""
