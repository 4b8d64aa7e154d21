"""The width of a dense model: 256 is the paper's, and pyramid and heads scale along."""

import pytest
import torch
from torchvision.models import detection
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from hatnet import create_model
from hatnet.dense import SemanticFPNHead
from hatnet.dense.backbone import pyramid
from tests.comparing import assert_equal
from tests.dense.networks import MODELS, THIN, target, thin


def shapes(model):
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def retina_net(anchors):
    backbone = pyramid(THIN, range(1, 4), 256, LastLevelP6P7(12, 256))
    return detection.RetinaNet(backbone, 4, anchor_generator=anchors)


def mask_rcnn(anchors):
    return detection.MaskRCNN(pyramid(THIN, range(4), 256, LastLevelMaxPool()), 4, rpn_anchor_generator=anchors)


def test_width_256_is_torchvisions_detector_with_the_same_initial_draws():
    retina, mask = thin("detection"), thin("instances")
    torch.manual_seed(0)
    assert_equal(retina.state_dict(), retina_net(retina.anchor_generator).state_dict())
    torch.manual_seed(0)
    assert_equal(mask.state_dict(), mask_rcnn(mask.rpn.anchor_generator).state_dict())


def test_width_256_is_the_head_of_mmsegmentation():
    """128 channels in the head, drawn after the pyramid."""
    torch.manual_seed(0)
    pyramid(THIN, range(4), 256)
    head = SemanticFPNHead(4, 256, 3, channels=128)
    assert_equal(thin("segmentation").head.state_dict(), head.state_dict())


@pytest.mark.parametrize("task", MODELS)
def test_every_channel_of_pyramid_and_heads_scales(task):
    """Each side of a tensor that differs between widths 256 and 32 is 8 times as large."""
    wide, narrow = shapes(thin(task)), shapes(thin(task, width=32))
    assert wide.keys() == narrow.keys()
    scaled = {name for name, shape in wide.items() if shape != narrow[name]}
    for name in scaled:
        assert all(a in (b, 8 * b) for a, b in zip(wide[name], narrow[name], strict=True)), name
    fixed = {name for name in wide if not name.startswith("backbone.body")} - scaled
    outputs = ("classifier.bias", "num_batches_tracked", "cls_logits.bias", "bbox_reg.bias", "bbox_pred.bias")
    outputs += ("cls_score.bias", "mask_fcn_logits.bias")
    assert all(name.endswith(outputs) for name in fixed), fixed
    assert {name: wide[name] for name in wide if "backbone.body" in name}.items() <= narrow.items()


@pytest.mark.parametrize("task", MODELS)
def test_a_narrow_model_trains(task):
    model = create_model("micro", task=task, width=8, num_classes=3, depths=(1, 1, 1))
    assert model.width == model.backbone.out_channels == 8
    if task == "segmentation":
        loss = model(torch.rand(2, 3, 40, 48)).square().mean()
    else:
        model.transform.min_size = (48,)
        loss = sum(model([torch.rand(3, 64, 64)], [target((4, 4, 40, 50))]).values())
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("width", [0, 7, -2, 2.0, True, "8", 10**6])
@pytest.mark.parametrize("task", MODELS)
def test_impossible_widths_are_refused(task, width):
    with pytest.raises(ValueError, match=f"width={width!r} must be"):
        create_model("micro", task=task, width=width)
