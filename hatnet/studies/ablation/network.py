"""The network of an arm: HAT-Net, with the attention and the MLPs of its blocks replaced."""

from collections.abc import Callable

from hatnet.config import HATNetConfig
from hatnet.network import MLP, Block, HATNet, HATStage
from hatnet.studies.ablation.arms import Arm
from hatnet.studies.ablation.matching import MatchedArm, match_cost


def build(matched: MatchedArm) -> HATNet:
    """Build the network of an arm, with random weights."""
    model = HATNet(matched.config)
    for stage, module, width in zip(matched.config.stages, model.stages, matched.widths, strict=True):
        assert isinstance(module, HATStage)
        for block in module.blocks:
            assert isinstance(block, Block)
            block.attention = matched.arm.attention(stage)  # type: ignore[assignment]
            block.mlp = MLP(stage.channels, width, stage.kernel_size)
    return model


def builder(arm: Arm, image_size: int) -> Callable[[HATNetConfig], HATNet]:
    """A builder for `Training`, which takes the classes and the image channels from the recipe's configuration."""
    return lambda config: build(match_cost(arm, image_size, config.num_classes, config.in_channels))
