"""Detectors that compute in 16 bits, as training on a GPU does: boxes, anchors and regions keep float32 precision."""

from collections import namedtuple

import pytest
import torch
from torch import nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import MultiScaleRoIAlign, roi_align

from hatnet.dense import MaskRCNN, RetinaNet
from hatnet.dense.coordinates import exact_coordinates, widened
from tests.dense.networks import FEW, THIN

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


@torch.inference_mode()
def test_parts_that_a_user_exchanges_keep_coordinates_too():
    """Exchanging the predictor is how torchvision's tutorials adapt a detector to other classes."""
    model = detector(MaskRCNN)
    model.rpn.head = RPNHead(16, 3)
    model.roi_heads.box_predictor = FastRCNNPredictor(64, 4)
    proposals = []
    model.roi_heads.register_forward_pre_hook(lambda _, given: proposals.extend(given[1]))
    (found,) = run(model, [torch.rand(3, *WIDE)], "autocast")
    for boxes in (proposals[0], found["boxes"]):
        assert boxes.dtype == torch.float32
        right = boxes[boxes[:, 0] > 520, 0]
        assert len(right) > 20
        assert (right % 4 != 0).all()
    assert found["scores"].dtype == torch.float32


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_poolings_that_a_user_gives_work_in_16_bits(mode):
    """One module may crop for both heads."""
    pooling = MultiScaleRoIAlign(list("0123"), 14, 2)
    model = MaskRCNN(THIN, width=16, min_size=64, max_size=64, **FEW, box_roi_pool=pooling, mask_roi_pool=pooling)
    (found,) = run(model.eval(), [torch.rand(3, 64, 64)], mode)
    assert found["boxes"].dtype == torch.float32
    assert found["masks"].shape[1:] == (1, 64, 64)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("levels", [1, 2])
def test_regions_are_cropped_at_the_exact_place(levels, dtype):
    """From maps whose values are whole numbers that are exact in 16 bits: the crops of float32."""
    maps = {str(k): torch.randint(0, 100, (1, 2, WIDE[0] >> k, WIDE[1] >> k)).to(dtype) for k in range(levels)}
    boxes = torch.tensor([[1003.25, 11.5, 1042.75, 37.25], [531.25, 3.5, 1042.75, 45.25]])
    pooling = MultiScaleRoIAlign(list(maps), 7, 2)
    exact = pooling({name: map.float() for name, map in maps.items()}, [boxes], [WIDE])
    with exact_coordinates(nn.Identity(), [], [pooling]):
        crops = pooling(maps, [boxes], [WIDE])
    assert crops.dtype is dtype
    assert torch.equal(crops, exact.to(dtype))
    rows = torch.cat([torch.zeros(2, 1), boxes], dim=1)
    if levels == 1:
        assert torch.equal(exact, roi_align(maps["0"].float(), rows, (7, 7), 1.0, 2))


def test_boxes_of_targets_in_16_bits_are_resized_in_float32():
    """403 and 407 are exact in float16; 3.27 times as large they are not."""
    model, seen = RetinaNet(THIN, width=16, min_size=160, max_size=1333).train(), []
    model.transform.register_forward_hook(lambda _, __, given: seen.append(given[1][0]["boxes"]))
    box = torch.tensor([[403.0, 5, 407, 9]])
    for boxes in (box, box.half()):
        model([torch.rand(3, 48, 407)], [{"boxes": boxes, "labels": torch.tensor([1])}])
    assert torch.equal(*seen)


@pytest.mark.parametrize("kind", DETECTORS)
def test_parts_are_as_before_after_a_pass(kind):
    """They may belong to other models, too. Errors leave nothing either."""
    model = detector(kind)
    run(model, [torch.rand(3, *WIDE)], "autocast")
    with pytest.raises(TypeError):
        model([torch.rand(3, *WIDE).double()])
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in model.modules())


def test_only_numbers_of_16_bits_are_widened():
    half, whole, double = (
        torch.zeros(2, dtype=torch.float16),
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2).double(),
    )
    pair = namedtuple("pair", "first second")(half, whole)
    found = widened({"a": [half, whole], "b": (double, half), "c": pair, "d": None, "e": "text"})
    assert [tensor.dtype for tensor in (*found["a"], *found["b"], *found["c"])] == [
        torch.float32, torch.int64, torch.float64, torch.float32, torch.float32, torch.int64,
    ]  # fmt: skip
    assert found["a"][1] is found["c"].second is whole
    assert found["b"][0] is double
    assert (found["d"], found["e"]) == (None, "text")
