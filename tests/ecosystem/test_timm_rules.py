"""The rules that timm's own tests set for every model, checked on ours."""

import math

import pytest
import torch

pytest.importorskip("timm", reason="the extra `timm` is not installed: pip install -e '.[timm]'")

import timm
from timm.models import FeatureInfo, create_feature_extractor, get_graph_node_names

import hatnet.timm  # noqa: F401 (registers the models)

LONG = [pytest.param(name, marks=pytest.mark.long) for name in ("tiny", "small", "medium", "large")]
two_variants = pytest.mark.parametrize("variant", ["micro", LONG[0]])  # the others have the same layers
every_variant = pytest.mark.parametrize("variant", ["micro", *LONG])


def create(variant, **given):
    torch.manual_seed(0)
    return timm.create_model(f"hat_net_{variant}", **given)


def images(model, batch, most):
    channels, height, width = model.default_cfg["input_size"]
    return torch.randn(batch, channels, min(height, most), min(width, most))


def check_maps(maps, info, image):
    assert [len(info.channels()), info.channels()] == [len(maps), [map.shape[1] for map in maps]]
    assert len(maps) >= 3
    for map, stride in zip(maps, info.reduction(), strict=True):
        assert map.shape[2:] == tuple(math.ceil(side / stride) for side in image.shape[2:])
        assert map.isfinite().all()


@every_variant
@torch.no_grad
def test_forward_at_the_default_size_with_and_without_checkpointing(variant):
    model = create(variant).eval()
    image = images(model, 1, 384)
    logits = model(image)
    assert logits.shape == (1, model.num_classes)
    assert logits.isfinite().all()
    model.set_grad_checkpointing()
    assert torch.allclose(model(image), logits, rtol=1e-4, atol=1e-5)


@every_variant
def test_backward_reaches_every_parameter(variant):
    model = create(variant, num_classes=42).train()
    logits = model(images(model, 2, 64))
    logits.mean().backward()
    assert logits.shape == (2, 42)
    assert [name for name, parameter in model.named_parameters() if parameter.grad is None] == []


@every_variant
@torch.no_grad
def test_default_configuration_describes_the_model(variant):
    model = create(variant).eval()
    cfg, names = model.default_cfg, model.state_dict().keys()
    image = images(model, 1, 448)
    assert {f"{cfg['classifier']}.weight", f"{cfg['first_conv']}.weight"} <= names

    features = model.forward_features(image)
    assert features.shape == (1, model.num_features, *cfg["pool_size"])
    vector = model.forward_head(features, pre_logits=True)
    assert vector.shape == (1, model.head_hidden_size)

    model.reset_classifier(0)
    assert model.num_classes == 0
    assert torch.equal(model(image), vector)
    model.reset_classifier(0, "")
    assert torch.equal(model(image), features)
    without = create(variant, num_classes=0, global_pool="").eval()
    assert without(image).shape == features.shape


@two_variants
@torch.no_grad
def test_features_only_has_the_shapes_of_its_feature_info(variant):
    for given in ({}, {"feature_cls": "getter"}):
        model = create(variant, features_only=True, **given).eval()
        image = images(model, 1, 96)
        maps = model(image)
        check_maps(maps, model.feature_info, image)
        for of_channels_last, map in zip(model(image.contiguous(memory_format=torch.channels_last)), maps, strict=True):
            assert torch.allclose(of_channels_last, map, rtol=1e-4, atol=1e-4)


@two_variants
@torch.no_grad
def test_intermediates_end_in_the_features(variant):
    model = create(variant).eval()
    image = images(model, 1, 96)
    last, maps = model.forward_intermediates(image, output_fmt="NCHW")
    check_maps(maps, FeatureInfo(model.feature_info, len(model.feature_info)), image)
    assert torch.equal(last, model.forward_features(image))
    model.set_grad_checkpointing()
    assert torch.allclose(model.forward_intermediates(image)[0], last, rtol=1e-4, atol=1e-5)


@pytest.mark.long  # test_torchvision.py tests graphs of torch.fx by default
@two_variants
def test_a_graph_of_torch_fx_computes_the_same(variant):
    model = create(variant, num_classes=42).eval()
    (*_, last) = get_graph_node_names(model)[1]
    graph = create_feature_extractor(model, [last])
    image = images(model, 2, 64)
    with torch.inference_mode():
        assert torch.equal(graph(image)[last], model(image))
    graph.train()
    graph(image)[last].mean().backward()
    assert [name for name, parameter in graph.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    "given", [{}, {"num_classes": 5}, {"num_classes": 0}, {"in_chans": 3}, {"features_only": True}]
)
def test_trained_weights_load_for_other_classes_channels_and_features(given):
    model = create("micro", pretrained=True, **given).eval()
    out = model(torch.zeros(1, given.get("in_chans", 1), 28, 28))
    shapes = {"num_classes": (1, given.get("num_classes") or 128), "in_chans": (1, 10)}
    for name in given.keys() & shapes.keys():
        assert out.shape == shapes[name]
