"""HAT-Net in torchvision's detectors: a feature pyramid on its maps.

`torchvision.models.feature_extraction.create_feature_extractor` accepts our networks as they are. Its nodes `stages.0`
to `stages.3` are maps (B, H, W, C), channels last.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

try:
    from torchvision.ops import FeaturePyramidNetwork
    from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelMaxPool
except ModuleNotFoundError as error:
    raise ImportError(
        "hatnet.torchvision needs torchvision: python -m pip install 'hatnet[train]', or pip install torchvision"
    ) from error

from hatnet.checks import require_type, require_whole
from hatnet.config import MOST
from hatnet.network import Backbone

__all__ = ["FPNBackbone", "fpn_backbone"]


class FPNBackbone(nn.Module):
    """The stages of a HAT-Net and a feature pyramid on their maps: the interface of torchvision's backbones.

    `body` is the network without its head, `fpn` the pyramid, `out_channels` the number of its channels.
    """

    def __init__(
        self, body: Backbone, stages: Sequence[int], out_channels: int, extra_blocks: ExtraFPNBlock | None
    ) -> None:
        super().__init__()
        self.body = body
        self.stages = tuple(stages)
        self.out_channels = out_channels
        channels = [body.config.channels[stage] for stage in stages]
        self.fpn = FeaturePyramidNetwork(channels, out_channels, extra_blocks)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Images (B, C_in, H, W) -> maps (B, `out_channels`, H / s, W / s), named 0, 1, ... and as the extra blocks."""
        maps = self.body.forward_features(image)
        return self.fpn(OrderedDict((str(index), maps[stage]) for index, stage in enumerate(self.stages)))


def fpn_backbone(
    model: Backbone,
    out_channels: int = 256,
    stages: Sequence[int] | None = None,
    extra_blocks: ExtraFPNBlock | None = None,
) -> FPNBackbone:
    """A backbone for torchvision's detectors that shares the parameters of `model`.

    The head of `model` and the stages after the last of `stages` are left out, so that every parameter gets a gradient.

    Args:
        model: any network on a `Backbone`, such as those of `create_model` and `load`. It is not changed, but training
            the detector changes the weights of both.
        out_channels: channels of every map of the pyramid.
        stages: the stages whose maps it gets, counted from 0 and rising; None for all.
        extra_blocks: makes further maps, for instance torchvision's `LastLevelP6P7` for RetinaNet. None is
            `LastLevelMaxPool`, as in torchvision's Faster R-CNN and Mask R-CNN.

    Images are normalised by the detector: give it the mean and std of the weights as `image_mean` and `image_std`. Its
    default anchors are for five maps, those of four stages and `LastLevelMaxPool`; for others give it anchors, too.
    Raises TypeError for another `model`, ValueError for `stages` that it does not have or `out_channels` below 1.

    >>> import torch
    >>> from hatnet import create_model
    >>> backbone = fpn_backbone(create_model("tiny"))
    >>> {name: tuple(map.shape) for name, map in backbone(torch.zeros(1, 3, 64, 96)).items()}["3"]
    (1, 256, 2, 3)
    """
    require_type("model", model, Backbone, "a network on a Backbone, such as create_model('tiny')")
    require_whole("out_channels", out_channels, 1, MOST["channels"])
    require_type("stages", stages, (list, tuple, type(None)), "a list of stages, such as [1, 2, 3]")
    count = len(model.stages)
    chosen = (
        list(range(count)) if stages is None else [require_whole("stages", stage, 0, count - 1) for stage in stages]
    )
    if not chosen or chosen != sorted(set(chosen)):
        raise ValueError(f"stages={stages} must be rising numbers of stages, from 0 to {count - 1}")
    if extra_blocks is None:
        extra_blocks = LastLevelMaxPool()
    require_type("extra_blocks", extra_blocks, ExtraFPNBlock, "one of torchvision's, such as LastLevelMaxPool()")
    return FPNBackbone(_body(model, chosen[-1] + 1), chosen, out_channels, extra_blocks)


def _body(model: Backbone, stages: int) -> Backbone:
    """The stem and the first stages of `model`, with the same parameters."""
    with torch.device("meta"):
        body = Backbone(model.config)
    body.stem, body.stages = model.stem, model.stages[:stages]
    return body.train(model.training)
