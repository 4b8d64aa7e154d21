"""Feature extraction and detectors of torchvision."""

import pytest
import torch

pytest.importorskip("torchvision", reason="the extra `train` is not installed: pip install -e '.[train]'")

from torch import nn
from torchvision.models.detection import FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

import hatnet
from hatnet.network import Backbone, initialise
from hatnet.torchvision import fpn_backbone

SIZES = [(28, 28), (37, 50), (8, 33)]  # windows that divide the maps, windows that do not, maps below a window

DETECTORS, LONG = ("Faster R-CNN", "RetinaNet"), pytest.mark.long


class Segmenter(Backbone):
    def __init__(self, config):
        super().__init__(config)
        self.head = nn.Conv2d(config.channels[-1], 5, kernel_size=1)
        self.apply(initialise)

    def forward(self, image):
        return self.head(self.forward_features(image)[-1])


@pytest.fixture(scope="module")
def extractor():
    torch.manual_seed(0)
    model = hatnet.create_model("micro", drop_path_rate=0.3)
    nodes = ["stages.0", "stages.1.blocks.1", "stages.2", "classifier"]
    return model, create_feature_extractor(model, nodes, suppress_diff_warning=True)


@pytest.mark.parametrize("size", SIZES)
def test_features_are_the_maps_of_the_network_at_any_size(extractor, size):
    """One graph for all sizes. The maps are channels last."""
    model, extract = extractor
    model.eval(), extract.eval()
    image = torch.randn(2, 3, *size)
    found, want = extract(image), model.forward_features(image)
    assert torch.equal(found["stages.0"], want[0].permute(0, 2, 3, 1))
    assert torch.equal(found["stages.1.blocks.1"], want[1].permute(0, 2, 3, 1))
    assert torch.equal(found["stages.2"], want[2].permute(0, 2, 3, 1))
    assert torch.equal(found["classifier"], model(image))


def test_features_in_training_have_the_same_dropout(extractor):
    model, extract = extractor
    model.train(), extract.train()
    image = torch.randn(4, 3, 16, 24)
    torch.manual_seed(3)
    want = model(image)
    torch.manual_seed(3)
    assert torch.equal(extract(image)["classifier"], want)
    assert not torch.equal(extract(image)["classifier"], want)


def detector(name):
    """A detector on small images, and the parameters of its backbone before training."""
    model = hatnet.create_model("micro")
    sizes = {"min_size": 64, "max_size": 64}
    if name == "Faster R-CNN":  # three stages and a pooled map
        anchors = AnchorGenerator(((8,), (16,), (32,), (64,)), ((0.5, 1.0, 2.0),) * 4)
        return FasterRCNN(fpn_backbone(model, 32), 3, rpn_anchor_generator=anchors, box_detections_per_img=5, **sizes)
    if name == "without the last stage":
        anchors = AnchorGenerator(((8,), (16,), (32,)), ((1.0,),) * 3)
        return FasterRCNN(fpn_backbone(model, 32, stages=(0, 1)), 3, rpn_anchor_generator=anchors, **sizes)
    anchors = AnchorGenerator(((8,), (16,), (32,), (64,)), ((1.0,),) * 4)
    backbone = fpn_backbone(Segmenter(model.config), 32, stages=[1, 2], extra_blocks=LastLevelP6P7(32, 32))
    return RetinaNet(backbone, 3, anchor_generator=anchors, **sizes)


@pytest.mark.parametrize("name", ["without the last stage", *(pytest.param(n, marks=LONG) for n in DETECTORS)])
def test_a_training_step_of_a_detector_changes_every_parameter(name):
    """Nothing is left without a gradient, which distributed training would refuse."""
    torch.manual_seed(0)
    model = detector(name).train()
    targets = [{"boxes": torch.tensor([[4.0, 6.0, 40.0, 50.0]]), "labels": torch.tensor([1])}]
    losses = model([torch.rand(3, 64, 64)], targets)
    sum(losses.values()).backward()
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []
    moved = [name for name, parameter in model.backbone.body.named_parameters() if parameter.grad.abs().max() > 0]
    assert len(moved) == len(list(model.backbone.body.parameters()))
    found = model.eval()([torch.rand(3, 50, 64)])
    assert found[0].keys() == {"boxes", "labels", "scores"}


def test_the_pyramid_has_the_maps_of_the_stages():
    """Compared with torchvision's pyramid on the maps of the network."""
    model = hatnet.create_model("micro").eval()
    backbone = fpn_backbone(model, out_channels=24, stages=(1, 2)).eval()
    image = torch.randn(1, 3, 40, 56)
    found = backbone(image)
    assert {name: tuple(map.shape) for name, map in found.items()} == {
        "0": (1, 24, 10, 14), "1": (1, 24, 5, 7), "pool": (1, 24, 3, 4),
    }  # fmt: skip
    want = backbone.fpn(dict(zip("01", model.forward_features(image)[1:], strict=True)))
    assert all(torch.equal(map, want[name]) for name, map in found.items())
    assert backbone.out_channels == 24


def test_the_parameters_are_shared_and_the_model_stays_whole():
    model = hatnet.create_model("micro")
    body = fpn_backbone(model.eval(), stages=(0,)).body
    assert not body.training
    own = dict(model.named_parameters())
    assert all(parameter is own[name] for name, parameter in body.named_parameters())
    assert {name.split(".")[1] for name, _ in body.named_parameters() if name.startswith("stages")} == {"0"}
    assert len(model.stages) == 3


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"model": nn.Linear(2, 2)}, TypeError, "a network on a Backbone"),
        ({"stages": (0, 3)}, ValueError, "stages=3 must be a whole number from 0 to 2"),
        ({"stages": (2, 1)}, ValueError, "must be rising"),
        ({"stages": (1, 1)}, ValueError, "must be rising"),
        ({"stages": ()}, ValueError, "must be rising"),
        ({"stages": 2}, TypeError, "a list of stages"),
        ({"out_channels": 0}, ValueError, "out_channels=0"),
        ({"extra_blocks": "pool"}, TypeError, "LastLevelMaxPool"),
    ],
)
def test_wrong_arguments_are_named(given, error, words):
    with pytest.raises(error, match=words):
        fpn_backbone(**({"model": hatnet.create_model("micro")} | given))
