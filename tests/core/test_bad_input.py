"""Wrong input raises an error, before any work, with what was given, what was expected and what to do."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import hatnet.data
import hatnet.equivalence
import reference
from hatnet import HMHSA, MHSA, HATNetConfig, create_model, get_config, to_numpy
from hatnet.hierarchical_attention import GlobalAttention, LocalAttention
from hatnet.layers import DropPath
from hatnet.maps.maps import attention_maps
from hatnet.network import HATNet
from hatnet.studies.common.statistics import schedule
from hatnet.studies.faithfulness.curves import patch_counts

MODEL = create_model("micro").eval()
PARAMS = to_numpy(MODEL)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.zeros(3, 32, 32), ValueError, r"must have shape \(B, 3, H, W\), got \(3, 32, 32\)"),
        (torch.zeros(1, 32, 32, 3), ValueError, r"got \(1, 32, 32, 3\); .*permute\(0, 3, 1, 2\) puts channels first"),
        (np.zeros((1, 3, 32, 32)), TypeError, "must be a tensor, got ndarray; for an array use torch.from_numpy"),
        (torch.zeros(1, 1, 32, 32), ValueError, r"must have shape \(B, 3, H, W\), got \(1, 1, 32, 32\)"),
        (torch.zeros(1, 3, 7, 32), ValueError, "7 x 32 pixels is too small.*at least 8; enlarge or pad"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), TypeError, "must hold floats, got torch.uint8; scale"),
        (torch.zeros(1, 3, 32, 32, dtype=torch.float64), TypeError, r"torch.float64, the parameters are torch.float32"),
        (torch.zeros(1, 3, 32, 32, device="meta"), ValueError, "torch.strided tensor on meta; a dense one on cpu"),
        (torch.zeros(1, 3, 32, 32).to_sparse(), ValueError, "torch.sparse_coo tensor on cpu; a dense one on cpu"),
    ],
    ids=["rank", "channels last", "array", "channels", "size", "integers", "dtype", "device", "layout"],
)
def test_the_model_checks_shapes_and_dtypes(image, error, message):
    with pytest.raises(error, match=message):
        MODEL(image)
    with pytest.raises(error, match=message):
        MODEL.forward_features(image)


@pytest.mark.parametrize("layer", [MHSA(6, 2), HMHSA(6, 2, 3, 2)], ids=["plain", "hierarchical"])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.zeros((1, 4, 5, 6)), TypeError, "must be a tensor, got ndarray; for an array use torch.from_numpy"),
        (torch.zeros(4, 5, 6), ValueError, r"shape \(B, H, W, 6\), H and W at least 1, got \(4, 5, 6\)"),
        (torch.zeros(1, 4, 5, 3), ValueError, r"shape \(B, H, W, 6\), H and W at least 1, got \(1, 4, 5, 3\)"),
        (torch.zeros(1, 0, 5, 6), ValueError, r"at least 1, got \(1, 0, 5, 6\)"),
        (torch.zeros(1, 4, 0, 6), ValueError, r"at least 1, got \(1, 4, 0, 6\)"),
        (torch.zeros(1, 4, 5, 6, dtype=torch.int64), TypeError, "x is torch.int64, the parameters are torch.float32"),
        (torch.zeros(1, 4, 5, 6, dtype=torch.float64), TypeError, "x is torch.float64, .* or torch.autocast"),
        (torch.zeros(1, 4, 5, 6, device="meta"), ValueError, "torch.strided tensor on meta; a dense one on cpu"),
        (torch.zeros(1, 4, 5, 6).to_sparse(), ValueError, "torch.sparse_coo tensor on cpu; a dense one on cpu"),
    ],
    ids=["array", "rank", "channels", "no rows", "no columns", "integers", "dtype", "device", "layout"],
)
def test_attention_checks_shapes_and_dtypes(layer, x, error, message):
    with pytest.raises(error, match=message):
        layer(x)


def test_under_autocast_other_floats_are_accepted_and_integers_are_not():
    half = torch.zeros(1, 3, 32, 32, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert MODEL(half).shape == (1, 10)
        assert MHSA(3, 1)(half.permute(0, 2, 3, 1)).shape == (1, 32, 32, 3)
        with pytest.raises(TypeError, match="image must hold floats, got torch.int64"):
            MODEL(half.long())
        with pytest.raises(TypeError, match="x is torch.int64"):
            MHSA(3, 1)(half.permute(0, 2, 3, 1).long())


@pytest.mark.parametrize("config", ["tiny", None, {"name": "tiny"}, HATNetConfig])
def test_a_network_needs_a_configuration(config):
    with pytest.raises(TypeError, match=r"must be a HATNetConfig, such as get_config\('tiny'\)"):
        HATNet(config)


@pytest.mark.parametrize("model", [torch.nn.Linear(1, 1), SimpleNamespace(config=MODEL.config), MODEL.config, None])
def test_weights_are_changed_and_saved_of_networks_only(model, tmp_path):
    for call in (lambda: hatnet.change_windows(model), lambda: hatnet.save(model, tmp_path / "a.safetensors")):
        with pytest.raises(TypeError, match=f"model must be a HATNet, got {type(model).__name__}"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hatnet.equivalence.compare(MODEL, torch.ones(1, 3, 32, 32, device="meta")), "a dense one with data"),
        (lambda: schedule(10**12, rounds=1, seed=0), "more than 10 million entries"),
        (lambda: patch_counts(49, 10**12), "steps=1000000000000 must be a whole number from 1 to 1000000"),
        (lambda: attention_maps(MODEL, torch.ones(3, 32, 32), "8"), "limit='8' must be a whole number"),
        (
            lambda: attention_maps(MODEL, torch.ones(3, 32, 32)).local(0, 0.5, (0, 0)),
            "block=0.5 must be a whole",
        ),
        (lambda: attention_maps(MODEL, torch.ones(3, 32, 32)).local(0, 0, (0.5, 0)), "must be a token"),
        (lambda: hatnet.data.absolute(None), "name=None must be a text"),
        (lambda: create_model("micro", pretrained=np.zeros(0)), "must be a text"),
        (lambda: reference.cross_entropy(np.ones(3, complex), 1), "logits must be a NumPy array of floats"),
        (lambda: reference.cross_entropy(np.ones(3), 1, smoothing=None), "smoothing=None must be a number"),
    ],
)
def test_other_functions_name_what_is_wrong(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_the_model_does_not_check_values():
    """That would cost time in every forward pass; values are checked where data is read."""
    assert MODEL(torch.full((1, 3, 32, 32), torch.nan)).isnan().all()


@pytest.mark.parametrize("variant", ["tiny", "small", "medium", "large"])
def test_published_variants_accept_images_from_32_pixels(variant):
    with pytest.raises(ValueError, match="31 x 40 pixels is too small.*at least 32"):
        get_config(variant).layout(31, 40)
    assert get_config(variant).layout(32, 32)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (np.zeros((1, 3, 32, 32)), ValueError, r"must have shape \(3, H, W\), got \(1, 3, 32, 32\)"),
        (np.zeros((4, 32, 32)), ValueError, r"must have shape \(3, H, W\), got \(4, 32, 32\)"),
        (np.zeros((3, 32, 7)), ValueError, "32 x 7 pixels is too small: both sides must be at least 8"),
        (np.zeros((3, 32, 32), dtype=np.uint8), TypeError, "must hold floats, got uint8; scale"),
        (np.full((3, 32, 32), np.nan), ValueError, "holds 3072 NaN or infinite values of 3072"),
        (np.where(np.eye(32) + np.zeros((3, 1, 1)), np.inf, 0), ValueError, "holds 96 NaN or infinite values"),
    ],
    ids=["rank", "channels", "size", "integers", "nan", "infinite"],
)
def test_the_reference_checks_values_too(image, error, message):
    with pytest.raises(error, match=message):
        reference.hat_net(image, PARAMS, MODEL.config)


def test_the_reference_computes_float32_images_in_float64():
    image = np.random.default_rng(0).standard_normal((3, 32, 32)).astype(np.float32)
    logits = reference.hat_net(image, PARAMS, MODEL.config)
    assert logits.dtype == np.float64
    assert np.array_equal(logits, reference.hat_net(image.astype(np.float64), PARAMS, MODEL.config, None))


def test_missing_parameters_are_named():
    params = {name: value for name, value in PARAMS.items() if not name.startswith("stages.1.blocks.0.mlp")}
    with pytest.raises(
        ValueError, match=r"missing \(7\): stages.1.blocks.0.mlp.norm_in.weight.*unexpected \(0\): none"
    ):
        reference.hat_net(np.zeros((3, 32, 32)), params, MODEL.config)
    with pytest.raises(ValueError, match="no parameter below 'mlp'; given: attention.global_attention.kv.bias"):
        reference.block(np.zeros((4, 4, 64)), reference.within(params, "stages.1.blocks.0"), MODEL.config.stages[1])


def test_layers_check_their_sizes():
    with pytest.raises(ValueError, match="4 heads do not divide 6 channels"):
        reference.multi_head_attention(np.ones((2, 6)), np.ones((2, 6)), np.ones((2, 6)), heads=4)
    for layer in (
        lambda: MHSA(6, 4), lambda: HMHSA(6, 4, 2, 2), lambda: LocalAttention(6, 4), lambda: GlobalAttention(6, 4)
    ):  # fmt: skip
        with pytest.raises(ValueError, match="heads do not divide 6 channels"):
            layer()
    for bad in (0, -1, 1.0, "1", True, None):
        for layer, name in (
            (lambda bad: MHSA(bad, 1), "channels"),
            (lambda bad: HMHSA(bad, 1, 1, 1), "channels"),
            (lambda bad: LocalAttention(bad, 1), "channels"),
            (lambda bad: GlobalAttention(bad, 1), "channels"),
            (lambda bad: MHSA(6, bad), "heads"),
            (lambda bad: HMHSA(6, bad, 1, 1), "heads"),
            (lambda bad: LocalAttention(6, bad), "heads"),
            (lambda bad: GlobalAttention(6, bad), "heads"),
            (lambda bad: HMHSA(6, 3, bad, 2), "grid_size"),
            (lambda bad: HMHSA(6, 3, 2, bad), "pool_size"),
        ):
            with pytest.raises(ValueError, match=re.escape(f"{name}={bad!r} must be a whole number")):
                layer(bad)
    for bad in (-0.1, 1.1, np.nan, "much", True):
        with pytest.raises(ValueError, match=f"drop_rate={bad!r} must be from 0 to 1"):
            MHSA(6, 3, drop_rate=bad)
    for bad in (-0.1, 1.0, np.nan, "much", True):
        with pytest.raises(ValueError, match=f"rate={bad!r} must be from 0 to 1"):
            DropPath(bad)
    assert (MHSA(6, 3, drop_rate=1.0)(torch.ones(1, 2, 2, 6)) == 0).all()
    with pytest.raises(ValueError, match="drop_path_rate=-0.1 must be a probability"):
        create_model("micro").set_drop_path_rate(-0.1)


@pytest.mark.parametrize(
    ("name", "overrides", "error", "message"),
    [
        ("tny", {}, ValueError, "unknown variant 'tny', did you mean 'tiny'.*known: tiny, small, medium, large, micro"),
        ("resnet50", {}, ValueError, "unknown variant 'resnet50'; known"),
        ("tiny", {"num_clases": 3}, TypeError, "unknown override 'num_clases', did you mean 'num_classes'"),
        ("tiny", {"num_classes": 0}, ValueError, "num_classes=0 must be a whole number of at least 1"),
        ("tiny", {"num_classes": 2.5}, ValueError, "num_classes=2.5 must be a whole number"),
        ("tiny", {"grid_sizes": (8, 8)}, ValueError, r"grid_sizes=\(8, 8\) must have 3 entries for 4 stages"),
        ("tiny", {"grid_sizes": 8}, ValueError, "grid_sizes=8 must have 3 entries"),
        ("tiny", {"pool_sizes": (8, 0, 2)}, ValueError, r"pool_sizes=\(8, 0, 2\) must be whole numbers of at least"),
        ("tiny", {"kernel_sizes": (3, 4, 3, 3)}, ValueError, "must be odd"),
        ("tiny", {"channels": 64}, ValueError, "channels=64 must be a tuple with one entry per stage"),
        ("tiny", {"channels": ()}, ValueError, "channels is empty"),
        ("tiny", {"drop_path_rate": 1.0}, ValueError, r"drop_path_rate=1.0 must be a probability in \[0, 1\)"),
        ("tiny", {"drop_rate": "much"}, ValueError, "drop_rate='much' must be a probability"),
        ("small", {"head_dim": 48}, ValueError, "head_dim=48 does not divide the 64 channels of a stage"),
    ],
)
def test_unknown_names_and_impossible_values_are_refused(name, overrides, error, message):
    with pytest.raises(error, match=message):
        create_model(name, **overrides)
