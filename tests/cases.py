"""Cases for the property tests: sizes, a scale and a seed, from which all values follow.

Weights are fan-in scaled, norms and biases are random (`hatnet.equivalence.randomise`), and sizes differ wherever they
can, so that no term cancels and no swap of axes goes unnoticed.
"""

from dataclasses import dataclass

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from hatnet.config import HATNetConfig
from hatnet.equivalence import randomise, to_numpy
from hatnet.network import HATNet

seeds = st.integers(0, 2**16)
scales = st.sampled_from([1e-3, 1.0, 30.0])  # 1e-3 reveals a wrong eps, 30 an overflow


@dataclass(frozen=True)
class MapCase:
    """Maps (batch, height, width, heads x head_dim), and the sizes of windows and cells."""

    batch: int
    height: int
    width: int
    heads: int
    head_dim: int
    grid_size: int
    pool_size: int
    scale: float
    seed: int
    kernel_size: int = 3
    expansion: int = 2

    @property
    def channels(self) -> int:
        return self.heads * self.head_dim

    def maps(self) -> NDArray[np.float64]:
        """Float64 maps, (B, H, W, C)."""
        shape = (self.batch, self.height, self.width, self.channels)
        return self.scale * np.random.default_rng(self.seed).standard_normal(shape)

    def filled(self, layer: nn.Module) -> tuple[nn.Module, dict[str, NDArray[np.float64]]]:
        """The layer in float64 with random parameters, and the same parameters for the reference."""
        randomise(layer, self.seed)
        layer = layer.double().eval()
        return layer, to_numpy(layer)


map_cases = st.builds(
    MapCase,
    batch=st.integers(1, 3),
    height=st.integers(2, 13),
    width=st.integers(2, 13),
    heads=st.integers(1, 3),
    head_dim=st.integers(2, 5),
    grid_size=st.integers(1, 8),
    pool_size=st.integers(1, 6),
    scale=scales,
    seed=seeds,
    kernel_size=st.sampled_from([1, 3, 5]),
    expansion=st.integers(1, 4),
)

# Every test of `for_maps` runs on these, whatever else is drawn.
MUST_HIT = (
    # two images, three heads, 2 x 3 whole windows, 4 x 6 whole cells
    MapCase(2, 8, 12, 3, 4, grid_size=4, pool_size=2, scale=1.0, seed=1),
    # windows and cells cut by both borders
    MapCase(2, 7, 10, 2, 3, grid_size=4, pool_size=3, scale=1.0, seed=2, kernel_size=5),
    # windows divide the map and cells do not, and the reverse
    MapCase(1, 6, 9, 2, 3, grid_size=3, pool_size=4, scale=30.0, seed=3),
    MapCase(1, 6, 9, 1, 4, grid_size=4, pool_size=3, scale=1e-3, seed=4, expansion=4),
    # a window and a cell larger than the map
    MapCase(2, 5, 3, 2, 3, grid_size=8, pool_size=6, scale=1.0, seed=5),
    # windows and cells of one token
    MapCase(1, 4, 6, 2, 2, grid_size=1, pool_size=1, scale=1.0, seed=6),
    # a window and a cell wider than the map, but not higher, and the reverse
    MapCase(1, 10, 2, 1, 3, grid_size=4, pool_size=5, scale=1.0, seed=7),
    MapCase(2, 2, 10, 2, 2, grid_size=4, pool_size=5, scale=1.0, seed=8),
)


def also(cases):
    """Run a `@given` test on each of `cases`, too."""

    def decorate(test):
        for case in reversed(cases):
            test = example(case=case)(test)
        return test

    return decorate


def for_maps(test):
    """Run a test on drawn maps, and always on `MUST_HIT`."""
    half = settings(max_examples=settings.default.max_examples // 2)  # enough, since MUST_HIT has the risky sizes
    return also(MUST_HIT)(half(given(case=map_cases)(test)))


def stack(function, maps: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([function(image) for image in maps])


@dataclass(frozen=True)
class NetworkCase:
    config: HATNetConfig
    batch: int
    height: int
    width: int
    scale: float
    seed: int

    def model(self) -> HATNet:
        model = HATNet(self.config)
        randomise(model, self.seed)
        return model.double().eval()

    def images(self) -> Tensor:
        """Float64 images, (B, C_in, H, W)."""
        shape = (self.batch, self.config.in_channels, self.height, self.width)
        return torch.from_numpy(self.scale * np.random.default_rng(self.seed).standard_normal(shape))


@st.composite
def network_cases(draw: st.DrawFn) -> NetworkCase:
    stages = draw(st.integers(2, 4))
    head_dim = draw(st.integers(2, 4))

    def each(strategy: st.SearchStrategy[int], count: int) -> tuple[int, ...]:
        return tuple(draw(st.lists(strategy, min_size=count, max_size=count)))

    config = HATNetConfig(
        in_channels=draw(st.integers(1, 4)),
        num_classes=draw(st.integers(1, 7)),
        stem_channels=draw(st.integers(2, 5)),
        stem_strides=draw(st.sampled_from([(2, 2), (1, 2), (2, 1), (1, 1)])),
        channels=tuple(head_dim * heads for heads in each(st.integers(1, 3), stages)),
        depths=each(st.integers(1, 2), stages),
        kernel_sizes=each(st.sampled_from([1, 3, 5]), stages),
        expansions=each(st.integers(1, 3), stages),
        head_dim=head_dim,
        grid_sizes=each(st.integers(1, 8), stages - 1),
        pool_sizes=each(st.integers(1, 6), stages - 1),
    )
    side = st.integers(config.min_image_size, config.min_image_size + 30)
    return NetworkCase(config, draw(st.integers(1, 2)), draw(side), draw(side), draw(scales), draw(seeds))


NETWORK_MUST_HIT = (
    NetworkCase(
        HATNetConfig(
            channels=(4, 8, 8, 12), depths=(1, 2, 1, 1), kernel_sizes=(3, 5, 3, 3), expansions=(2, 3, 2, 2),
            head_dim=4, grid_sizes=(4, 3, 2), pool_sizes=(4, 2, 2), stem_channels=5, num_classes=7,
        ),
        batch=2, height=67, width=50, scale=1.0, seed=7,
    ),
    NetworkCase(
        HATNetConfig(
            channels=(4, 8, 12, 16), depths=(1, 1, 1, 1), expansions=(2, 2, 2, 2), head_dim=4,
            grid_sizes=(4, 2, 2), pool_sizes=(4, 2, 1), stem_channels=4, num_classes=3, in_channels=1,
        ),
        batch=2, height=64, width=96, scale=1.0, seed=8,
    ),
)  # fmt: skip


def for_networks(test):
    return also(NETWORK_MUST_HIT)(settings(max_examples=25)(given(case=network_cases())(test)))
