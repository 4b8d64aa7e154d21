"""RetinaNet (Lin et al., 2017) and Mask R-CNN (He et al., 2017): torchvision's, on the maps of a HAT-Net.

Anchors follow the strides of the maps, so that at the strides of the paper they are those of its experiments. Labels
are 1 to `num_classes`, and 0 is the background, in both detectors, as in torchvision.
"""

from collections.abc import Iterator, Sequence
from inspect import signature
from math import inf, log2
from typing import Any

from torch import Tensor
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7
from torchvision.ops.poolers import initLevelMapper

from hatnet.config import HATNetConfig
from hatnet.dense.backbone import CHANNELS, pyramid, require_dense, require_width
from hatnet.dense.coordinates import exact_coordinates, widened
from hatnet.dense.inputs import Target, check_images, check_targets, statistics
from hatnet.dense.model import DenseModel, require_known

RATIOS = (0.5, 1.0, 2.0)  # height over width of the anchors


class RetinaNet(DenseModel, detection.RetinaNet):  # type: ignore[misc]  # torchvision has no types
    """Boxes of objects, in one stage, from a pyramid without the finest map.

    In training mode it takes images and targets and returns the losses by name. In evaluation mode it takes images and
    returns `boxes` (N, 4) as x1, y1, x2, y2 in pixels, `labels` (N,) and `scores` (N,) of each image.

    Args:
        config: the HAT-Net, with `num_classes` classes of objects, normally `with_dense_windows`.
        image_mean: mean of each channel; None is ImageNet's, or 0.5 for other than three channels.
        image_std: standard deviation of each channel, likewise.
        width: channels of the pyramid and of the head.
        settings: other arguments of `torchvision.models.detection.RetinaNet`, such as `min_size` and `max_size` (800
            and 1333 pixels, to which images are resized), or `score_thresh`.

    Parameters are named `backbone.body` (the HAT-Net), `backbone.fpn` and `head`. Raises ValueError for impossible
    values, TypeError for an unknown setting.
    """

    task = "detection"

    def __init__(
        self,
        config: HATNetConfig,
        image_mean: list[float] | None = None,
        image_std: list[float] | None = None,
        width: int = CHANNELS,
        **settings: Any,
    ) -> None:
        require_dense(config, fewest_stages=2)
        require_width(width)
        require_known(settings, _settings_of(detection.RetinaNet))
        given = dict(settings)
        extra = LastLevelP6P7(config.channels[-1], width)
        extra.use_P5 = False  # P6 is made from the last stage, also where that has as many channels as the pyramid
        backbone = pyramid(config, range(1, len(config.stages)), width, extra)
        sizes = tuple(
            tuple(int(4 * stride * 2 ** (third / 3)) for third in range(3)) for stride in _strides(config, 1, extra=2)
        )
        mean, std = statistics(config, image_mean, image_std)
        settings = {"anchor_generator": AnchorGenerator(sizes, (RATIOS,) * len(sizes))} | settings
        settings = {"size_divisible": max(32, config.min_image_size)} | settings
        super().__init__(backbone, config.num_classes + 1, image_mean=mean, image_std=std, **settings)
        self.config, self.width, self.settings = config, width, given

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None) -> Any:
        """Pixels (C_in, H, W) in [0, 1], each image of its own size -> losses, or the objects of each image."""
        check_images(images, self.config)
        if self.training:
            check_targets(targets, images, self.config, masks=False)
        with exact_coordinates(self.anchor_generator, [self.head]):
            return super().forward(images, _exact_boxes(targets))

    def postprocess_detections(
        self, head_outputs: dict[str, list[Tensor]], anchors: list[list[Tensor]], image_shapes: list[tuple[int, int]]
    ) -> Any:
        """Boxes above the thresholds. The output for the background, class 0, is never trained and does not count."""
        logits = [level.clone() for level in head_outputs["cls_logits"]]
        for level in logits:
            level[..., 0] = -inf
        return super().postprocess_detections({**head_outputs, "cls_logits": logits}, anchors, image_shapes)


class MaskRCNN(DenseModel, detection.MaskRCNN):  # type: ignore[misc]
    """Boxes and masks of objects: regions are proposed first, then classified and outlined.

    In evaluation mode each image also has `masks` (N, 1, H, W), probabilities from 0 to 1; in training mode each target
    needs `masks` (N, H, W). The rest is as in `RetinaNet`. Parameters are named `backbone.body` (the HAT-Net),
    `backbone.fpn`, `rpn` and `roi_heads`.

    Args:
        config: the HAT-Net, with `num_classes` classes of objects, normally `with_dense_windows`.
        image_mean: mean of each channel; None is ImageNet's, or 0.5 for other than three channels.
        image_std: standard deviation of each channel, likewise.
        width: channels of the pyramid and in the heads of regions and masks; the head of boxes has four times as many.
        settings: other arguments of `torchvision.models.detection.MaskRCNN`, such as `min_size`, `max_size` or
            `box_score_thresh`.
    """

    task = "instances"

    def __init__(
        self,
        config: HATNetConfig,
        image_mean: list[float] | None = None,
        image_std: list[float] | None = None,
        width: int = CHANNELS,
        **settings: Any,
    ) -> None:
        require_dense(config, fewest_stages=2)
        require_width(width)
        require_known(settings, _settings_of(detection.MaskRCNN))
        backbone = pyramid(config, range(len(config.stages)), width, LastLevelMaxPool())
        sizes = tuple((8 * stride,) for stride in _strides(config, 0, extra=1))
        strides = list(_strides(config, 0, extra=0))
        mean, std = statistics(config, image_mean, image_std)
        defaults = {
            "rpn_anchor_generator": AnchorGenerator(sizes, (RATIOS,) * len(sizes)),
            "box_roi_pool": _region_pooling(strides, 7),
            "mask_roi_pool": _region_pooling(strides, 14),
            "size_divisible": max(32, config.min_image_size),
        }
        classes: int | None = config.num_classes + 1
        if width != CHANNELS:  # torchvision's own heads have 256 channels, whatever the pyramid has
            defaults, classes = defaults | _heads(width, config.num_classes + 1, defaults | settings), None
        super().__init__(backbone, classes, image_mean=mean, image_std=std, **defaults | settings)
        self.config, self.width, self.settings = config, width, settings

    def forward(self, images: Sequence[Tensor], targets: Sequence[Target] | None = None) -> Any:
        """Pixels (C_in, H, W) in [0, 1], each image of its own size -> losses, or the objects of each image."""
        check_images(images, self.config)
        if self.training:
            check_targets(targets, images, self.config, masks=True)
        heads = [self.rpn.head, self.roi_heads.box_predictor]
        poolings = {self.roi_heads.box_roi_pool, self.roi_heads.mask_roi_pool} - {None}  # one module may be both
        with exact_coordinates(self.rpn.anchor_generator, heads, [*poolings]):
            return super().forward(images, _exact_boxes(targets))


def _exact_boxes(targets: Sequence[Target] | None) -> list[Target] | None:
    """The same targets; boxes of 16 bits would be rounded again when images are resized."""
    return None if targets is None else [{**target, "boxes": widened(target["boxes"])} for target in targets]


def _strides(config: HATNetConfig, first: int, extra: int) -> Iterator[int]:
    """The strides of the maps from the stage `first` on, in pixels, and of `extra` coarser maps."""
    yield from (stage.stride for stage in config.stages[first:])
    yield from (config.stages[-1].stride * 2**step for step in range(1, extra + 1))


def _region_pooling(strides: list[int], side: int) -> MultiScaleRoIAlign:
    """Crop regions from maps of these strides to `side` x `side`.

    torchvision guesses the strides from the rows of the first image that a model sees, and keeps them. The guess is
    wrong for some images of fewer than 68 rows, and results would then depend on the order of images.
    """
    pooling = MultiScaleRoIAlign([str(stage) for stage in range(len(strides))], output_size=side, sampling_ratio=2)
    pooling.scales = [1 / stride for stride in strides]
    first, last = (int(log2(stride)) for stride in (strides[0], strides[-1]))
    pooling.map_levels = initLevelMapper(first, last, pooling.canonical_scale, pooling.canonical_level)
    return pooling


def _heads(width: int, classes: int, settings: dict[str, Any]) -> dict[str, Any]:
    """The heads of Mask R-CNN at another width, in torchvision's proportions: 4 x `width` outputs per region."""
    side = settings["box_roi_pool"].output_size[0]
    return {
        "mask_head": MaskRCNNHeads(width, (width,) * 4, 1),
        "mask_predictor": MaskRCNNPredictor(width, width, classes),
        "box_head": TwoMLPHead(width * side**2, 4 * width),
        "box_predictor": FastRCNNPredictor(4 * width, classes),
    }


def _settings_of(detector: type) -> set[str]:
    names = {*signature(detector).parameters, "size_divisible", "fixed_size"}
    return names - {"backbone", "num_classes", "kwargs"}
