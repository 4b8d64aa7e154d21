"""Build the network of an arm: HAT-Net with other attentions and MLP widths in its blocks."""

from __future__ import annotations

from collections.abc import Callable

from hatnet.config import HATNetConfig
from hatnet.network import MLP, Block, HATNet, HATStage
from hatnet.studies.ablation.arms import Arm
from hatnet.studies.ablation.matching import Fitted, fit


def build(fitted: Fitted) -> HATNet:
    """The network of an arm, with fresh weights."""
    model = HATNet(fitted.config)
    for stage, module, width in zip(fitted.config.stages, model.stages, fitted.widths, strict=True):
        assert isinstance(module, HATStage)
        for block in module.blocks:
            assert isinstance(block, Block)
            block.attention = fitted.arm.attention(stage)  # type: ignore[assignment]
            block.mlp = MLP(stage.channels, width, stage.kernel_size)
    return model


def builder(arm: Arm, image_size: int) -> Callable[[HATNetConfig], HATNet]:
    """A function for `Training` that builds an arm's network for the classes and channels of a configuration."""
    return lambda config: build(fit(arm, image_size, config.num_classes, config.in_channels))
