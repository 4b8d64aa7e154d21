"""The authors' formulation computes the same function of the same weights as our network, forward and backward."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hatnet.config import get_config
from hatnet.equivalence import randomise, relative_error
from hatnet.network import MLP, HATNet
from hatnet.studies.bench.authors import AuthorsFormulation
from hatnet.studies.bench.networks import NETWORKS, PUBLISHED


def pair(variant, **changes):
    model = HATNet(get_config(variant, **changes))
    randomise(model)
    model = model.double().eval()
    return model, AuthorsFormulation(model)


@pytest.mark.parametrize(
    ("variant", "size"), [("micro", (32, 64)), pytest.param("tiny", (224, 224), marks=pytest.mark.long)]
)
def test_outputs_are_those_of_our_network_in_float64(variant, size):
    model, other = pair(variant)
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.inference_mode():
        assert relative_error(other(image).numpy(), model(image).numpy()) < 1e-12


@settings(max_examples=8)
@given(
    G1=st.sampled_from([1, 2, 4, 8]),
    G2=st.sampled_from([1, 2, 4]),
    heads=st.sampled_from([1, 2, 4]),
    K=st.sampled_from([3, 5]),
)
def test_outputs_are_equal_for_any_windows_that_cover_the_map(G1, G2, heads, K):
    changes = {"grid_sizes": (G1, 4), "pool_sizes": (G2, 2), "head_dim": 32 // heads, "kernel_sizes": (K, 3, 3)}
    model, other = pair("micro", **changes)
    image = torch.randn(1, 3, 16, 32, dtype=torch.float64)
    with torch.inference_mode():
        assert relative_error(other(image).numpy(), model(image).numpy()) < 1e-12


def test_gradients_are_those_of_our_network_in_float64():
    model, other = pair("micro")
    image = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    found = []
    for network in (model, other):
        network(image).square().mean().backward()
        found.append({name: parameter.grad.numpy().copy() for name, parameter in model.named_parameters()})
        model.zero_grad()
    ours, theirs = found
    assert all(relative_error(theirs[name], ours[name]) < 1e-10 for name in ours)


@pytest.mark.long
def test_formulation_runs_convolutions_and_forms_the_scores():
    """Neither linear layers nor fused attention, and maps with the channels first."""
    _, other = pair("micro")

    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            names.add(function.name().removeprefix("aten::"))
            return function(*args, **(kwargs or {}))

    names = set()
    with torch.no_grad(), Names():
        other(torch.randn(1, 3, 32, 32, dtype=torch.float64))
    assert {"convolution", "native_group_norm", "_softmax", "bmm", "silu_", "avg_pool2d"} <= names
    assert not any("scaled_dot_product" in name or "layer_norm" in name for name in names)


def test_windows_that_do_not_cover_the_map_are_refused_as_by_the_authors():
    _, other = pair("micro")
    with pytest.raises(ValueError, match="must cover the map of 18x18 tokens evenly"):
        other(torch.randn(1, 3, 36, 36, dtype=torch.float64))


def test_registry_has_every_variant_in_both_formulations_and_seven_networks_of_timm():
    families = [network.family for network in NETWORKS.values()]
    assert families.count("timm") == 7
    assert {name for name in NETWORKS if NETWORKS[name].family == "authors"} == {
        f"authors-{variant}" for variant in ("tiny", "small", "medium", "large", "micro")
    }
    for name, network in NETWORKS.items():
        assert (network.accuracy is None) == ("micro" in name)
        assert bool(network.source) == (network.accuracy is not None), "an accuracy has a source"
    assert {NETWORKS[f"authors-{name}"].accuracy for name in PUBLISHED} == set(PUBLISHED.values())


def test_networks_of_a_seed_are_equal_and_recompute_all_mlps_if_their_name_says_so():
    first, second = (NETWORKS["micro"].build(32, seed=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    for name, recomputes in (("micro", False), ("micro-recompute", True)):
        mlps = [module for module in NETWORKS[name].build(32).modules() if isinstance(module, MLP)]
        assert [mlp.recompute for mlp in mlps] == [recomputes] * 6


@pytest.mark.long
@pytest.mark.parametrize("name", [name for name, network in NETWORKS.items() if network.family == "timm"])
def test_networks_of_timm_have_the_published_number_of_parameters(name):
    """In millions, by Table 2 of the HAT-Net paper, or by the paper of the network."""
    pytest.importorskip("timm")
    millions = {
        "resnet50": 25.6, "convnext_tiny": 28.6, "swin_tiny_patch4_window7_224": 28.3, "hiera_tiny_224": 27.9,
        "pvt_v2_b1": 14.0, "pvt_v2_b2": 25.4, "twins_svt_small": 24.1,
    }  # fmt: skip
    model = NETWORKS[name].build(224)
    assert round(sum(parameter.numel() for parameter in model.parameters()) / 1e6, 1) == millions[name]


@pytest.mark.long
def test_size_is_passed_to_timm_where_a_network_needs_it(monkeypatch):
    timm, calls = pytest.importorskip("timm"), []

    def create_model(name, **sizes):
        calls.append((name, sizes))
        if name == "resnet50" and sizes:
            raise TypeError("ResNet has no argument img_size")
        if sizes == {"img_size": 40}:
            raise AssertionError("40 pixels do not divide")
        return nn.Identity()

    monkeypatch.setattr(timm, "create_model", create_model)
    for name in ("hiera_tiny_224", "resnet50"):
        for size in (224, 64):
            NETWORKS[name].build(size)
    sized = {"img_size": 64}
    hiera, resnet = "hiera_tiny_224", "resnet50"
    assert calls == [(hiera, {}), (hiera, sized), (resnet, {}), (resnet, sized), (resnet, {})]
    with pytest.raises(ValueError, match="timm cannot build hiera_tiny_224 for 40 pixels: 40 pixels do not divide"):
        NETWORKS[hiera].build(40)
