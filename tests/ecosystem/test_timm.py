"""HAT-Net in timm is the network of this package, with the preprocessing of its weights."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("timm", reason="the extra `timm` is not installed: pip install -e '.[timm]'")

import timm
from timm.data import resolve_model_data_config
from timm.models import save_for_hf
from timm.models._manipulate import group_parameters
from timm.optim import param_groups_layer_decay, param_groups_weight_decay

import hatnet
import hatnet.timm as ours
from hatnet.weights.checkpoints import about
from tests.core.authors import state_dict

FASHION = {"input_size": (1, 28, 28), "mean": (0.286,), "std": (0.353,), "interpolation": "bicubic", "crop_pct": 1.0}
IMAGENET = {
    "input_size": (3, 224, 224), "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
    "interpolation": "bicubic", "crop_pct": 0.875,
}  # fmt: skip
RATES = replace(ours.BASES["micro"], classifier_drop_rate=0.5, drop_path_rate=0.2)
IMAGES = torch.randn(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def trained():
    return hatnet.create_model("micro", pretrained="fashion-mnist")


def preprocessing(model):
    found = {name: value for name, value in resolve_model_data_config(model).items() if name != "crop_mode"}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


@pytest.mark.parametrize("variant", ["tiny", *(pytest.param(v, marks=pytest.mark.long) for v in ("medium", "micro"))])
def test_parameters_have_the_names_and_shapes_of_hatnet(variant):
    """So state dicts fit both ways."""
    with torch.device("meta"):
        own = hatnet.HATNet(hatnet.VARIANTS[variant])
    given = {"in_chans": 3} if variant == "micro" else {}
    theirs = timm.create_model(f"hat_net_{variant}", device="meta", **given)
    assert {k: v.shape for k, v in theirs.state_dict().items()} == {k: v.shape for k, v in own.state_dict().items()}


def test_state_dicts_load_both_ways_and_compute_the_same(trained):
    theirs = timm.create_model("hat_net_micro").eval()
    theirs.load_state_dict(trained.state_dict())
    assert torch.equal(theirs(IMAGES), trained(IMAGES))
    assert theirs.config == trained.config
    back = hatnet.HATNet(trained.config).eval()
    back.load_state_dict(timm.create_model("hat_net_micro", pretrained=True).state_dict())
    assert torch.equal(back(IMAGES), trained(IMAGES))


def test_maps_are_those_of_hatnet(trained):
    """`forward_features` is the last of our maps, `forward_intermediates` and features_only give all."""
    model, want = timm.create_model("hat_net_micro", pretrained=True).eval(), trained.forward_features(IMAGES)
    assert torch.equal(model.forward_features(IMAGES), want[-1])
    features = timm.create_model("hat_net_micro", pretrained=True, features_only=True, out_indices=(0, -1)).eval()
    for got in (model.forward_intermediates(IMAGES, [0, 2], intermediates_only=True), features(IMAGES)):
        assert torch.equal(got[0], want[0])
        assert torch.equal(got[1], want[2])
    last, (first,) = model.forward_intermediates(IMAGES, [0], stop_early=True)
    assert torch.equal(first, last)
    assert torch.equal(first, want[0])
    assert len(model.forward_intermediates(IMAGES, 2)[1]) == 2


def test_pruned_layers_are_gone(trained):
    model = timm.create_model("hat_net_micro", pretrained=True).eval()
    assert model.prune_intermediate_layers([0, -2]) == [0, 1]
    assert [name for name in model.state_dict() if name.startswith(("stages.2", "classifier"))] == []
    assert (model.num_features, model.num_classes) == (64, 0)
    assert torch.equal(model(IMAGES), trained.forward_features(IMAGES)[1])
    with pytest.raises(hatnet.CheckpointError, match=r"missing.*stages\.2"):
        hatnet.save(model, "unused.safetensors")
    whole = timm.create_model("hat_net_micro")
    whole.prune_intermediate_layers(3, prune_head=False)
    assert isinstance(whole.get_classifier(), torch.nn.Linear)
    whole.prune_intermediate_layers([1], prune_head=False)  # the classifier has the channels of the last stage
    assert isinstance(whole.get_classifier(), torch.nn.Identity)


def test_preprocessing_is_that_of_the_weights(trained, tmp_path):
    """ImageNet's for the published variants, Fashion-MNIST's for micro, and for a file that of its facts."""
    assert preprocessing(timm.create_model("hat_net_tiny", device="meta")) == IMAGENET
    assert preprocessing(timm.create_model("hat_net_micro")) == FASHION
    assert preprocessing(timm.create_model("hat_net_micro", features_only=True)) == FASHION
    facts = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "image_size": 64, "classes": ["a", "b"]}
    hatnet.save(hatnet.create_model("micro", num_classes=2), tmp_path / "mine.safetensors", facts)
    mine = ours.load(tmp_path / "mine.safetensors")
    expected = {"input_size": (3, 64, 64), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "crop_pct": 0.875}
    assert preprocessing(mine) == IMAGENET | expected
    assert mine.pretrained_cfg["label_names"] == ("a", "b")
    assert mine.pretrained_cfg["pool_size"] == (8, 8)
    hatnet.save(hatnet.create_model("micro", in_channels=1), tmp_path / "grey.safetensors")  # without facts
    expected = {"input_size": (1, 64, 64), "mean": (0.5,), "std": (0.5,), "crop_pct": 0.875}
    assert preprocessing(ours.load(tmp_path / "grey.safetensors")) == IMAGENET | expected
    shipped = ours.load("fashion-mnist")
    assert preprocessing(shipped) == FASHION
    assert list(shipped.pretrained_cfg["label_names"]) == about(ours.SHIPPED_FILE)["classes"]
    assert torch.equal(shipped(IMAGES), trained(IMAGES))
    assert not shipped.training


@pytest.mark.long
def test_weights_of_the_authors_are_converted(tmp_path):
    weights = {name: tensor.float() for name, tensor in state_dict("tiny").items()}
    torch.save({"model": weights}, tmp_path / "HAT-Net_Tiny.pth")
    (tmp_path / "plain").mkdir()
    torch.save(weights, tmp_path / "plain/HAT-Net_Tiny.pth")
    want = hatnet.load_official(tmp_path / "HAT-Net_Tiny.pth").state_dict()
    for file in (tmp_path / "HAT-Net_Tiny.pth", tmp_path / "plain/HAT-Net_Tiny.pth"):
        model = timm.create_model("hat_net_tiny", pretrained=True, pretrained_cfg_overlay={"file": str(file)})
        assert all(torch.equal(tensor, want[name]) for name, tensor in model.state_dict().items())
    loaded = ours.load(tmp_path / "HAT-Net_Tiny.pth")
    assert all(torch.equal(tensor, want[name]) for name, tensor in loaded.state_dict().items())
    assert preprocessing(loaded) == IMAGENET


@pytest.mark.parametrize("variant", ["tiny", "small", "medium", "large"])
def test_pretrained_without_hosted_weights_explains_how_to_convert(variant):
    with pytest.raises(ValueError, match=f"hosts no weights.*yun-liu/HAT-Net.*HAT-Net_{variant.capitalize()}.pth"):
        timm.create_model(f"hat_net_{variant}", pretrained=True)


def test_a_replaced_classifier_is_described_by_the_configuration(tmp_path):
    model = ours.load("fashion-mnist")
    model.reset_classifier(3)
    assert not model.get_classifier().training
    assert model.get_classifier().weight.std() < 0.03  # as the authors draw it, not as PyTorch does
    hatnet.save(model, tmp_path / "mine.safetensors")
    assert torch.equal(hatnet.load(tmp_path / "mine.safetensors")(IMAGES), model(IMAGES))
    model.double().reset_classifier(2)
    assert model(IMAGES.double()).dtype == torch.float64


def test_drop_rates_have_the_names_of_timm():
    model = timm.create_model("hat_net_micro", drop_rate=0.3, proj_drop_rate=0.1, drop_path_rate=0.2)
    config = model.config
    assert (config.classifier_drop_rate, config.drop_rate, config.drop_path_rate) == (0.3, 0.1, 0.2)
    assert model.drop.p == 0.3
    assert model.stages[2].blocks[1].drop_path.rate == 0.2


def test_training_drops_what_hatnet_drops():
    logits = []
    for model in (timm.create_model("hat_net_micro", drop_rate=0.5, drop_path_rate=0.2), hatnet.HATNet(RATES)):
        model.load_state_dict(hatnet.create_model("micro", pretrained="fashion-mnist").state_dict())
        torch.manual_seed(1)
        logits.append(model.train()(IMAGES))
    assert torch.equal(*logits)
    assert not torch.equal(model(IMAGES), logits[0])


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"num_clases": 3}, TypeError, "unknown argument 'num_clases', did you mean 'num_classes'"),
        ({"in_channels": 3}, TypeError, "did you mean 'in_chans'"),
        ({"num_classes": -1}, ValueError, "num_classes=-1"),
        ({"global_pool": "max"}, ValueError, "global_pool='max' must be one of avg"),
        ({"grid_sizes": (0, 4)}, ValueError, "grid_sizes"),
        ({"features_only": True, "feature_cls": "hook"}, ValueError, "feature_cls='hook' must be one of getter"),
        ({"features_only": True, "feature_cfg": {"feature_cls": "fx"}}, ValueError, "feature_cls='fx' must be one of"),
    ],
)
def test_wrong_arguments_are_named(given, error, words):
    with pytest.raises(error, match=words):
        timm.create_model("hat_net_micro", **given)


def test_other_layouts_of_intermediates_are_refused():
    with pytest.raises(ValueError, match="output_fmt='NHWC' must be one of NCHW"):
        timm.create_model("hat_net_micro").forward_intermediates(IMAGES, output_fmt="NHWC")


def test_a_trace_has_the_names_of_hatnet(trained):
    """With checkpointing too."""
    got, want = {}, {}
    model = ours.load("fashion-mnist")
    model.set_grad_checkpointing()
    model(IMAGES, got)
    trained(IMAGES, want)
    assert got.keys() == want.keys()
    assert all(torch.equal(tensor, want[name]) for name, tensor in got.items())


def saved_elements(model, images):
    """The elements that the forward pass saves for the backward pass, and the gradients."""
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()) or tensor, lambda x: x):
        loss = model(images).square().mean()
    loss.backward()
    return sum(saved), [parameter.grad for parameter in model.parameters()]


def test_checkpointing_saves_less_and_gives_the_same_gradients():
    """Also with stochastic depth, whose random numbers are drawn again."""
    found = []
    for enable in (False, True):
        model = timm.create_model("hat_net_micro", pretrained=True, drop_path_rate=0.5).train()
        model.set_grad_checkpointing(enable)
        torch.manual_seed(1)
        found.append(saved_elements(model, IMAGES))
    (plain, gradients), (recomputed, same) = found
    assert recomputed < plain / 2
    assert all(torch.equal(a, b) for a, b in zip(gradients, same, strict=True))


def test_layer_groups_follow_the_order_of_the_layers():
    """The stem, each block with the downsampling before it, and the classifier; stages if coarse."""
    model = timm.create_model("hat_net_micro")
    groups = group_parameters(model, model.group_matcher())
    assert len(groups) == 1 + sum(model.config.depths) + 1
    assert all(name.startswith("stem.") for name in groups[0])
    assert {name.split(".blocks")[0] for name in groups[3]} == {
        "stages.1.downsample.conv.weight",
        "stages.1.downsample.conv.bias",
        "stages.1.downsample.norm.weight",
        "stages.1.downsample.norm.bias",
        "stages.1",
    }
    assert sorted(groups[7]) == ["classifier.bias", "classifier.weight"]
    assert [name for group in groups.values() for name in group] == list(model.state_dict())
    assert len(group_parameters(model, model.group_matcher(coarse=True))) == 1 + 3 + 1
    rates = [group["lr_scale"] for group in param_groups_layer_decay(model, 0.05, layer_decay=0.5)]
    assert min(rates) == 0.5**7


def test_norms_and_biases_do_not_decay():
    model = timm.create_model("hat_net_micro")
    groups = param_groups_weight_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay())
    without, decayed = sorted(groups, key=lambda group: group["weight_decay"])
    assert without["weight_decay"] == 0
    assert all(parameter.ndim == 1 for parameter in without["params"])
    assert all(parameter.ndim > 1 for parameter in decayed["params"])


def test_a_network_with_other_windows_survives_timms_hub_format(tmp_path):
    source = hatnet.create_model("micro", grid_sizes=(5, 3), num_classes=4)
    hatnet.save(source, tmp_path / "mine.safetensors", {"mean": [0.5] * 3, "std": [0.25] * 3, "image_size": 32})
    model = ours.load(tmp_path / "mine.safetensors")
    save_for_hf(model, tmp_path / "hub", safe_serialization=True)
    again = timm.create_model(f"local-dir:{tmp_path / 'hub'}", pretrained=True).eval()
    assert replace(again.config, classifier_drop_rate=0.2) == model.config  # timm keeps no drop rates
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(again(images), source.eval()(images))
    assert preprocessing(again) == preprocessing(model)
