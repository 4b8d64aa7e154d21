"""The smallest network with every kind of layer, for fuzzing."""

from hatnet.config import HATNetConfig

SMALL = HATNetConfig(
    in_channels=3, num_classes=3, stem_channels=2, channels=(2, 4), depths=(1, 1), kernel_sizes=(3, 3),
    expansions=(2, 2), head_dim=2, grid_sizes=(2,), pool_sizes=(2,),
)  # fmt: skip
