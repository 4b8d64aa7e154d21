"""Semantic FPN: a class for every pixel, from a feature pyramid (Kirillov et al., Panoptic FPN, 2019, Sec. 3).

The head is that of the paper's experiments, `fpn_r50` of mmsegmentation: 256 channels in the pyramid, 128 in the head,
batch normalisation, dropout of 0.1 before the classifier.
"""

from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import Conv2dNormActivation

from hatnet.checks import ALMOST_ONE, require_between, require_type, require_whole
from hatnet.config import MOST, HATNetConfig
from hatnet.dense.backbone import CHANNELS, MOST_CLASSES, pyramid, require_dense, require_width
from hatnet.dense.inputs import Normalise, statistics
from hatnet.dense.model import DenseModel

HEAD_CHANNELS = 128


class SemanticFPNHead(nn.Module):
    """The maps of a pyramid, the finest first, to logits at the resolution of the finest.

    Map i is doubled i times, each time after a 3x3 convolution; the finest has one convolution and is not doubled. Then
    the maps are added, and a 1x1 convolution gives the logits.

    Args:
        levels: the number of maps.
        in_channels: their channels.
        num_classes: channels of the logits.
        channels: channels inside the head.
        drop_rate: channels dropped before the classifier, in training.
    """

    def __init__(
        self,
        levels: int,
        in_channels: int,
        num_classes: int,
        channels: int = HEAD_CHANNELS,
        drop_rate: float = 0.1,
    ) -> None:
        require_whole("levels", levels, 1, 16)
        require_whole("in_channels", in_channels, 1, MOST["channels"])
        require_whole("num_classes", num_classes, 1, MOST_CLASSES)
        require_whole("channels", channels, 1, MOST["channels"])
        super().__init__()
        self.levels = nn.ModuleList(
            nn.ModuleList(
                Conv2dNormActivation(channels if step else in_channels, channels, 3, norm_layer=nn.BatchNorm2d)
                for step in range(max(level, 1))
            )
            for level in range(levels)
        )
        self.drop = nn.Dropout2d(require_between("drop_rate", drop_rate, 0, ALMOST_ONE))
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all weights anew, as mmsegmentation does: He normal, and standard deviation 0.01 in the classifier."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()  # 1 and 0
        nn.init.normal_(self.classifier.weight, std=0.01)
        if self.classifier.bias is not None:
            nn.init.zeros_(self.classifier.bias)

    def forward(self, maps: list[Tensor]) -> Tensor:
        """Maps (B, C, H / s, W / s) -> logits (B, classes, H / s, W / s) with the s of the first."""
        sizes = [map.shape[2:] for map in maps]
        sums = []
        for level, convolutions in enumerate(self.levels):
            assert isinstance(convolutions, nn.ModuleList)
            x = maps[level]
            for step, convolution in enumerate(convolutions, 1):
                x = convolution(x)
                if level:  # to the size of the next finer map: twice as large, or one less where a stride rounded up
                    x = F.interpolate(x, size=sizes[level - step], mode="bilinear", align_corners=False)
            sums.append(x)
        return self.classifier(self.drop(sum(sums[1:], sums[0])))


class SemanticFPN(DenseModel, nn.Module):
    """A HAT-Net, a feature pyramid on its maps, and the head of Semantic FPN.

    Parameters are named `backbone.body` (the HAT-Net, as in a classification network), `backbone.fpn` and `head`.

    Args:
        config: the HAT-Net, with `num_classes` classes for pixels, normally `with_dense_windows`.
        image_mean: mean of each channel; None is ImageNet's, or 0.5 for other than three channels.
        image_std: standard deviation of each channel, likewise.
        width: channels of the pyramid, an even number; the head has half as many.

    Raises ValueError for impossible values.

    >>> import torch
    >>> from hatnet import get_config
    >>> model = SemanticFPN(get_config("micro", num_classes=5).with_dense_windows())
    >>> model(torch.zeros(2, 3, 50, 70)).shape
    torch.Size([2, 5, 50, 70])
    """

    task = "segmentation"

    def __init__(
        self,
        config: HATNetConfig,
        image_mean: list[float] | None = None,
        image_std: list[float] | None = None,
        width: int = CHANNELS,
    ) -> None:
        require_dense(config)
        require_width(width)
        mean, std = statistics(config, image_mean, image_std)
        super().__init__()
        self.config, self.width, self.settings = config, width, {}
        self.transform = Normalise(mean, std)
        self.backbone = pyramid(config, range(len(config.stages)), width)
        self.head = SemanticFPNHead(len(config.stages), width, config.num_classes, width // 2)

    if TYPE_CHECKING:  # the type of `model(image)`, which nn.Module gives as Any

        def __call__(self, image: Tensor) -> Tensor: ...

    def forward(self, image: Tensor) -> Tensor:
        """Pixels (B, C_in, H, W) in [0, 1] -> logits (B, classes, H, W).

        Raises TypeError or ValueError for another shape or dtype, as `Backbone.forward_features` does. Training with
        one image needs a coarsest map of more than one token, since batch normalisation has no variance otherwise.
        """
        require_type("image", image, Tensor, "a tensor (B, C, H, W) of pixels in [0, 1]")
        if not image.is_floating_point():
            raise TypeError(f"image must hold floats in [0, 1], got {image.dtype}; divide bytes by 255")
        self.backbone.body._check(image)  # first: normalisation would turn a grey image into a colour image
        maps = list(self.backbone(self.transform(image)).values())
        if self.training and maps[-1][:, 0].numel() == 1:
            raise ValueError(
                f"one image of {image.shape[2]} x {image.shape[3]} pixels has one token in the coarsest map, too few "
                "for batch normalisation in training: use more or larger images"
            )
        return F.interpolate(self.head(maps), size=image.shape[2:], mode="bilinear", align_corners=False)
