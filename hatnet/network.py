"""HAT-Net: the stem, downsampling, the MLP, the block, and the network of Figure 1.

Tags such as D7 are explained in docs/paper-vs-code.md.
"""

import dataclasses
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.fx import Proxy
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hatnet.attention import MHSA
from hatnet.config import HATNetConfig, Stage, require_config
from hatnet.hierarchical_attention import HMHSA
from hatnet.layers import ChannelDropout, Conv2d, DropPath, GroupNorm
from hatnet.lean import by_hidden_channels, by_images, can_split, is_lean
from hatnet.trace import NO_TRACE, Place, Trace, given_or_none, records, scope


class Stem(nn.Module):
    """The convolution block of Figure 1: two 3x3 convolutions, (B, H, W, 3) -> (B, H / 4, W / 4, C), rounded up."""

    def __init__(self, in_channels: int, hidden: int, channels: int, strides: tuple[int, int]) -> None:
        super().__init__()
        self.conv1 = Conv2d(in_channels, hidden, 3, strides[0])  # D8
        self.norm = GroupNorm(hidden)
        self.conv2 = Conv2d(hidden, channels, 3, strides[1])

    def forward(self, image: Tensor) -> Tensor:
        return self.conv2(F.silu(self.norm(self.conv1(image))))


class Downsample(nn.Module):
    """Between two stages: (B, H, W, C) -> (B, H / 2, W / 2, C'), rounded up."""

    def __init__(self, channels: int, next_channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, next_channels, 3, stride=2)
        self.norm = GroupNorm(next_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class MLP(nn.Module):
    """The MLP of Eq. 4: two matrices with a depthwise convolution between them, which mixes neighbouring tokens.

    The paper has no equation for it; the layers and their order are those of the authors' code. If `recompute` is True,
    the backward pass computes the maps of E C channels again instead of keeping them. Where no gradient is needed, they
    may be computed in pieces (`hatnet.lean`).
    """

    recompute = False

    def __init__(self, channels: int, hidden: int, kernel_size: int, drop_rate: float = 0.0) -> None:
        super().__init__()
        self.norm_in = GroupNorm(channels)
        self.expand = nn.Linear(channels, hidden, bias=False)
        self.depthwise = Conv2d(hidden, hidden, kernel_size, groups=hidden, bias=False)
        self.contract = nn.Linear(hidden, channels, bias=False)
        self.norm_out = GroupNorm(channels)
        self.drop = ChannelDropout(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        if is_lean(self, x) and can_split(self.expand, self.depthwise, self.contract):
            x = by_hidden_channels(self.norm_in(x), self.expand, self.depthwise, self.contract)
        elif self.recompute and torch.is_grad_enabled():
            x = checkpoint(self.mix, x, use_reentrant=False)
        else:
            x = self.mix(x)
        return self.drop(self.norm_out(x))

    def mix(self, x: Tensor) -> Tensor:
        """All but the last norm, (B, H, W, C) -> (B, H, W, C)."""
        x = F.silu(self.expand(self.norm_in(x)))  # (B, H, W, E C)  D7
        x = F.silu(self.depthwise(x))  # (B, H, W, E C)
        return self.contract(self.drop(x))  # (B, H, W, C)


class Block(nn.Module):
    """One transformer block: attention and MLP, each with a residual connection."""

    def __init__(self, stage: Stage, drop_rate: float = 0.0, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        if stage.grid_size is None or stage.pool_size is None:
            self.attention: MHSA | HMHSA = MHSA(stage.channels, stage.heads, drop_rate)
        else:
            self.attention = HMHSA(stage.channels, stage.heads, stage.grid_size, stage.pool_size, drop_rate)
        self.mlp = MLP(stage.channels, stage.expansion * stage.channels, stage.kernel_size, drop_rate)  # E C wide
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = self.drop_path(self.attention(x, scope(trace, "attention"))) + x  # Eq. 14, Eq. 3
        trace["attended"] = x
        x = self.drop_path(self.mlp(x)) + x  # Eq. 4
        trace["output"] = x
        return x


class HATStage(nn.Module):
    """One stage of Figure 1: downsampling, except in the first, then the blocks."""

    def __init__(
        self, stage: Stage, previous_channels: int | None, drop_rate: float, drop_path_rates: tuple[float, ...]
    ) -> None:
        super().__init__()
        self.downsample = None if previous_channels is None else Downsample(previous_channels, stage.channels)
        self.blocks = nn.ModuleList(Block(stage, drop_rate, rate) for rate in drop_path_rates)
        self.hidden = stage.expansion * stage.channels  # channels of the widest maps

    def forward(self, x: Tensor, trace: Trace = NO_TRACE) -> Tensor:
        if self.downsample is not None:
            x = self.downsample(x)
            trace["downsampled"] = x
        for index, block in enumerate(self.blocks):
            if is_lean(block, x) and not records(trace):
                x = by_images(block, x, self.hidden)
            else:
                x = block(x, scope(trace, f"blocks.{index}"))
        trace["output"] = x
        return x


class Backbone(nn.Module):
    """The stem and the stages of Figure 1: images in, one map of features per stage out.

    A task adds its head in a subclass, as `HATNet` does for classification, and then draws the weights of all layers:

    >>> from hatnet import get_config
    >>> class Segmenter(Backbone):
    ...     def __init__(self, config, classes):
    ...         super().__init__(config)
    ...         self.head = nn.Conv2d(config.channels[-1], classes, kernel_size=1)
    ...         self.apply(initialise)
    ...
    ...     def forward(self, image):
    ...         return self.head(self.forward_features(image)[-1])
    >>> Segmenter(get_config("micro"), classes=5)(torch.zeros(2, 3, 64, 96)).shape
    torch.Size([2, 5, 8, 12])
    """

    def __init__(self, config: HATNetConfig) -> None:
        super().__init__()
        require_config(config)
        self.config = config
        self.stem = Stem(config.in_channels, config.stem_channels, config.channels[0], config.stem_strides)
        self.stages = nn.ModuleList(
            HATStage(stage, previous, config.drop_rate, rates)
            for stage, previous, rates in zip(
                config.stages, (None, *config.channels), config.drop_path_rates(), strict=False
            )
        )

    def forward_features(self, image: Tensor, trace: Trace | None = None) -> list[Tensor]:
        """The outputs of all stages: maps (B, C, H / s, W / s), rounded up, with strides s = 4, 8, 16, 32 in Table 1.

        `image` is (B, C_in, H, W), at least `config.min_image_size` high and wide, in the dtype of the parameters
        unless autocast is on; raises TypeError for another dtype, ValueError for another shape. `trace` is a dictionary
        that receives every named intermediate, maps as (B, H, W, C).
        """
        trace = given_or_none(trace)
        self._check(image)
        x = self.stem(image.permute(0, 2, 3, 1))  # (B, H / 4, W / 4, C)
        trace["stem"] = x
        features = []
        for index, stage in enumerate(self.stages):
            x = stage(x, scope(trace, f"stages.{index}"))  # (B, H / s, W / s, C)
            features.append(x.permute(0, 3, 1, 2))
        return features

    def reset_parameters(self) -> None:
        """Draw all weights anew, as `initialise` does; for a network built on the meta device, after `to_empty`."""
        self.apply(initialise)

    def recompute_mlps(self, enable: bool = True) -> None:
        """Let the backward pass compute the widest maps of all MLPs again, instead of keeping them.

        HAT-Net Small then keeps 0.4 times as much at 224 x 224 pixels, and takes a little longer (docs/speed.md).
        """
        for module in self.modules():
            if isinstance(module, MLP):
                module.recompute = enable

    def set_drop_path_rate(self, rate: float) -> None:
        """Set the stochastic depth of all blocks: 0 in the first, rising linearly to `rate`, in [0, 1), in the last."""
        self.config = dataclasses.replace(self.config, drop_path_rate=rate)
        blocks = [module for module in self.modules() if isinstance(module, Block)]
        for block, block_rate in zip(blocks, chain.from_iterable(self.config.drop_path_rates()), strict=True):
            block.drop_path.rate = block_rate

    def _check(self, image: Tensor) -> None:
        """Check shape and dtype only, which costs a compiled model nothing. Values are checked where data is read."""
        if isinstance(image, Proxy):  # torch.fx records the operations, and there is no image yet
            return
        if not isinstance(image, Tensor):
            raise TypeError(f"image must be a tensor, got {type(image).__name__}; for an array use torch.from_numpy")
        if image.ndim != 4 or image.shape[1] != self.config.in_channels:
            raise ValueError(
                f"image must have shape (B, {self.config.in_channels}, H, W), got {tuple(image.shape)}; "
                "image[None] makes a batch of one, image.permute(0, 3, 1, 2) puts channels first"
            )
        if min(image.shape[2:]) < self.config.min_image_size:
            self.config.layout(image.shape[2], image.shape[3])  # raises the error
        dtype = self.stem.conv1.weight.dtype
        if not image.is_floating_point():
            raise TypeError(f"image must hold floats, got {image.dtype}; scale and normalise pixel values first")
        weight = self.stem.conv1.weight
        if image.device != weight.device or image.layout != torch.strided:
            raise ValueError(
                f"image is a {image.layout} tensor on {image.device}; a dense one on {weight.device} is expected"
            )
        if image.dtype != dtype and not torch.is_autocast_enabled(image.device.type):
            raise TypeError(
                f"image is {image.dtype}, the parameters are {dtype}; use image.to({dtype}), model.to({image.dtype}) "
                f"or torch.autocast"
            )


class HATNet(Backbone):
    """The network of Figure 1: stem, stages, global average pooling, classifier. `create_model` builds one."""

    def __init__(self, config: HATNetConfig) -> None:
        super().__init__(config)
        self.drop = nn.Dropout(config.classifier_drop_rate)
        self.classifier = nn.Linear(config.channels[-1], config.num_classes)
        self.reset_parameters()

    if TYPE_CHECKING:  # the type of `model(image)`, which nn.Module gives as Any

        def __call__(self, image: Tensor, trace: Trace | None = None) -> Tensor: ...

    def forward(self, image: Tensor, trace: Trace | None = None) -> Tensor:
        """Images (B, C_in, H, W) -> logits (B, classes). Arguments and errors as in `forward_features`."""
        trace = given_or_none(trace)
        x = self.forward_features(image, trace)[-1].mean(dim=(2, 3))  # (B, C)
        logits = self.classifier(self.drop(x))  # (B, classes)
        trace["logits"] = logits
        return logits


def initialise(module: nn.Module) -> None:
    """Draw the weights of one layer as the authors do: truncated normal of standard deviation 0.02, biases zero.

    Norms start with weights of 1.
    """
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, GroupNorm):
        module.reset_parameters()


def require_network(model: object) -> None:
    """Raise a TypeError unless `model` is a network with a configuration: a `Backbone`, also compiled."""
    if not isinstance(model, nn.Module) or not isinstance(getattr(model, "config", None), HATNetConfig):
        raise TypeError(f"model must be a HATNet, got {type(model).__name__}; create_model builds one")


def require_windows(model: Backbone) -> None:
    """Raise a ValueError if a block's G1 and G2 are no longer those of its stage in `model.config`."""
    for name, module in model.named_modules():
        if isinstance(module, HMHSA):
            place = Place.parse(name.removeprefix("_orig_mod."))  # of a compiled model
            assert place.stage is not None
            stage = model.config.stages[place.stage]
            expected = (stage.grid_size, stage.pool_size)
            if (module.grid_size, module.pool_size) != expected:
                raise ValueError(
                    f"{place} has G1, G2 = {(module.grid_size, module.pool_size)}, but the model's configuration has "
                    f"{expected}: build the model anew with create_model(..., grid_sizes=, pool_sizes=), and copy the "
                    "weights with load_state_dict(model.state_dict())"
                )
