"""Detectors that compute in 16 bits, as training on a GPU does: boxes, anchors and regions keep float32 precision."""

import pytest
import torch
from torch import nn
from torchvision.ops import roi_align

from hatnet.dense import MaskRCNN, RetinaNet
from hatnet.dense.coordinates import widened
from hatnet.dense.detectors import RegionPooling
from tests.dense.networks import THIN

WIDE = (48, 1072)  # height and width: bfloat16 rounds coordinates near its right border to multiples of 8
DETECTORS = [RetinaNet, MaskRCNN]
MODES = ["autocast", torch.bfloat16, torch.float16]


def detector(kind):
    """A detector whose boxes are its anchors: it moves none, and keeps as many as possible."""
    torch.manual_seed(0)
    keep = {"score_thresh": 0.0, "nms_thresh": 1.0} if kind is RetinaNet else {"box_score_thresh": 0.0}
    model = kind(THIN, width=16, min_size=WIDE[0], max_size=WIDE[1], **keep).eval()
    if kind is RetinaNet:
        layers = [model.head.regression_head.bbox_reg]
    else:
        layers = [model.rpn.head.bbox_pred, model.roi_heads.box_predictor.bbox_pred]
    for layer in layers:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return model


def run(model, images, mode):
    if mode == "autocast":
        with torch.autocast("cpu", torch.bfloat16):
            return model(images)
    return model.to(mode)([image.to(mode) for image in images])


def exact_anchors(model, image):
    """The anchors of a float32 model, clipped to the image."""
    generator, found = (model.anchor_generator if isinstance(model, RetinaNet) else model.rpn.anchor_generator), []
    handle = generator.register_forward_hook(lambda _, __, anchors: found.append(anchors[0]))
    model([image])
    handle.remove()
    height, width = image.shape[1:]
    limits = torch.tensor([width, height, width, height])
    return {tuple(anchor) for anchor in found[0].clamp(min=0).minimum(limits).tolist()}


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("kind", DETECTORS)
@torch.inference_mode()
def test_boxes_in_16_bits_are_the_anchors_of_float32(kind, mode):
    model, image = detector(kind), torch.rand(3, *WIDE)
    expected = exact_anchors(model, image)
    (found,) = run(model, [image], mode)
    assert found["boxes"].dtype == found["scores"].dtype == torch.float32
    boxes = {tuple(box) for box in found["boxes"].tolist()}
    assert len(boxes) > 20
    assert any(box[0] > 520 for box in boxes), "far enough right for rounding to show"
    assert boxes <= expected


@pytest.mark.parametrize("kind", DETECTORS)
@torch.inference_mode()
def test_a_pass_in_16_bits_leaves_the_anchors_as_they_were(kind):
    model, image = detector(kind), torch.rand(3, *WIDE)
    before = exact_anchors(model, image)
    run(model, [image], "autocast")
    assert exact_anchors(model, image) == before


@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("kind", DETECTORS)
def test_losses_in_16_bits_are_those_of_float32_within_its_rounding(kind, mode):
    """With a box near the right border. Rounded to multiples of 8, it would be another box, with another loss."""
    model = kind(THIN, width=16, min_size=WIDE[0], max_size=WIDE[1]).train()
    masks = torch.zeros(1, *WIDE, dtype=torch.uint8)
    masks[:, 11:37, 1003:1042] = 1
    targets = [{"boxes": torch.tensor([[1003.0, 11, 1042, 37]]), "labels": torch.tensor([2]), "masks": masks}]
    image = torch.rand(3, *WIDE)

    def losses(mode):
        torch.manual_seed(1)  # training regions are sampled at random
        if mode == "autocast":
            with torch.autocast("cpu", torch.bfloat16):
                return model([image], targets)
        return model.to(mode)([image.to(mode)], targets)

    exact = losses(torch.float32)
    found = losses(mode)
    for name in ("bbox_regression", "loss_rpn_box_reg"):
        if name in exact:
            assert found[name].dtype == torch.float32
            torch.testing.assert_close(found[name], exact[name], rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_regions_are_cropped_at_the_exact_place(dtype):
    """From one map of stride 1, whose values are whole numbers that are exact in 16 bits: the crop of float32."""
    map = torch.randint(0, 100, (1, 2, *WIDE)).to(dtype)
    box = torch.tensor([[1003.25, 11.5, 1042.75, 37.25]])
    crop = RegionPooling([1], 7)({"0": map}, [box], [WIDE])
    rows = torch.cat([torch.zeros(1, 1), box], dim=1)
    expected = roi_align(map.float(), rows, output_size=(7, 7), spatial_scale=1.0, sampling_ratio=2)
    assert crop.dtype is dtype
    assert torch.equal(crop, expected.to(dtype))


def test_only_numbers_of_16_bits_are_widened():
    half, whole, double = (
        torch.zeros(2, dtype=torch.float16),
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2).double(),
    )
    found = widened({"a": [half, whole], "b": (double, half)})
    assert [tensor.dtype for tensor in (*found["a"], *found["b"])] == [
        torch.float32, torch.int64, torch.float64, torch.float32,
    ]  # fmt: skip
    assert found["a"][1] is whole
    assert found["b"][0] is double
