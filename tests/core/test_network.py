"""The whole network: PyTorch equals the reference, intermediate by intermediate, at every image size."""

import shutil

import numpy as np
import pytest
import torch

import hatnet.attention
import reference
from hatnet import VARIANTS, create_model, get_config, to_numpy
from hatnet.config import ceil_div
from hatnet.equivalence import compare, randomise
from tests.cases import NETWORK_MUST_HIT, for_networks
from tests.comparing import assert_agree, assert_same

SMALL = NETWORK_MUST_HIT[0]
SIZES = [(32, 32), (32, 61), (33, 224), (97, 40)]


@for_networks
def test_every_intermediate_of_a_random_network_equals_the_references(case):
    """Eq. 1-4, 6-14, Figure 1, D6: for any stages and image size, with the same names in the same order."""
    assert_agree(compare(case.model(), case.images()), case)


@pytest.mark.parametrize(
    ("variant", "height", "width", "sizes"),
    [(variant, 75, 106, {}) for variant in VARIANTS]
    + [("tiny", *size, {"grid_sizes": (8, 8, 8), "pool_sizes": (16, 8, 4)}) for size in SIZES],
)
def test_every_variant_equals_the_reference_at_any_size_from_32_pixels(variant, height, width, sizes):
    """Table 1, D6."""
    model = create_model(variant, **sizes).double()
    randomise(model)
    image = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, height, width)))
    assert_agree(compare(model, image), (variant, height, width))


@for_networks
def test_the_layout_predicts_the_sizes_in_the_network(case):
    """Eq. 6, 10: maps, windows and merged tokens of every stage."""
    trace = {}
    case.model()(case.images(), trace)
    for index, layout in enumerate(case.config.layout(case.height, case.width)):
        assert trace[f"stages.{index}.output"].shape[1:3] == layout.map
        if layout.windows is not None:
            block = f"stages.{index}.blocks.0.attention."
            assert trace[block + "local_weights"].shape[1:3] == layout.windows
            assert trace[block + "local_weights"].shape[-1] == layout.window[0] * layout.window[1]
            assert trace[block + "merged"].shape[1:3] == layout.merged
            tiles = zip(layout.map, layout.windows, layout.window, layout.last_window, strict=True)
            assert all((count - 1) * full + last == side for side, count, full, last in tiles)


def test_features_are_the_stage_outputs_at_strides_4_8_16_32():
    """Sec. 4.2: features for dense tasks."""
    model = create_model("tiny").eval()
    trace, image = {}, torch.randn(1, 3, 100, 132)
    features = model.forward_features(image, trace)
    for index, (feature, C, stride) in enumerate(zip(features, (48, 96, 240, 384), (4, 8, 16, 32), strict=True)):
        assert feature.shape == (1, C, ceil_div(100, stride), ceil_div(132, stride))
        assert torch.equal(feature, trace[f"stages.{index}.output"].permute(0, 3, 1, 2))
    without_trace = model.forward_features(image)
    assert all(map(torch.equal, without_trace, features))


def test_every_parameter_matters_to_the_reference():
    """Changing any entry of the state dict changes the logits."""
    model = SMALL.model()
    image, params = SMALL.images()[0].numpy(), to_numpy(model)
    assert list(params) == list(model.state_dict())
    logits = reference.hat_net(image, params, SMALL.config)
    for name, value in params.items():
        noise = np.random.default_rng(0).standard_normal(value.shape)
        assert not np.allclose(reference.hat_net(image, params | {name: value + noise}, SMALL.config), logits), name


def test_every_parameter_gets_a_gradient():
    """In the authors' network, proj_norm gets none (D5)."""
    model = SMALL.model().train()
    model(SMALL.images()).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_images_of_a_batch_do_not_affect_each_other():
    """Eq. 6-14: the logits of an image depend neither on the other images nor on its position."""
    model, images = SMALL.model(), SMALL.images()
    assert_same(model(images.flip(0)), model(images).flip(0).detach().numpy(), SMALL)
    assert_same(model(images[:1]), model(images)[:1].detach().numpy(), SMALL)


def test_without_a_trace_no_weights_are_formed(monkeypatch):
    def fail(*_):
        raise AssertionError("attention weights were formed")

    monkeypatch.setattr(hatnet.attention, "attention_weights", fail)
    monkeypatch.setattr("hatnet.hierarchical_attention.attention_weights", fail)
    SMALL.model()(SMALL.images())
    with pytest.raises(AssertionError, match="were formed"):
        SMALL.model()(SMALL.images(), {})


def test_drop_path_rates_rise_linearly_and_can_be_set_later():
    """Sec. 4.1, D9."""
    model = create_model("micro", drop_path_rate=0.5)
    rates = [module.rate for name, module in model.named_modules() if name.endswith("drop_path")]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    model.set_drop_path_rate(0.0)
    image = torch.randn(4, 3, 32, 32)
    model.drop.p = 0.0
    assert torch.equal(model(image), model(image, None))  # as older programs ask for no trace
    model.set_drop_path_rate(0.9)
    assert model.config.drop_path_rate == 0.9
    torch.manual_seed(0)
    assert not torch.equal(model(image), model(image))


def test_channels_of_the_image_are_configurable():
    """D8: the authors' stem always takes three."""
    assert create_model("micro", in_channels=5)(torch.zeros(1, 5, 28, 28)).shape == (1, 10)


def test_fresh_weights_are_truncated_normal_and_follow_from_the_seed():
    torch.manual_seed(3)
    one = create_model("micro")
    torch.manual_seed(3)
    two = create_model("micro")
    for (name, parameter), other in zip(one.named_parameters(), two.parameters(), strict=True):
        assert torch.equal(parameter, other)
        if parameter.ndim > 1:
            assert abs(parameter.std() - 0.02) < 0.005, name
        else:
            assert (parameter == (1 if "norm" in name and name.endswith("weight") else 0)).all(), name


def test_configurations_are_frozen_and_equal_by_value():
    config = get_config("tiny", grid_sizes=[8, 8, 8])
    assert config == get_config("tiny", grid_sizes=(8, 8, 8))
    with pytest.raises(AttributeError):
        config.num_classes = 3
    with pytest.raises(AttributeError):
        config.stages[0].depth = 3
    with pytest.raises(AttributeError):
        config.layout(32, 32)[0].map = (1, 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch.compile
@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_torch_compile_finds_no_graph_break(training):
    """`fullgraph` raises at a break; with partial windows, dropout and drop path."""
    torch._dynamo.reset()
    model = create_model("micro", depths=(1, 1, 1), drop_rate=0.1, drop_path_rate=0.1).train(training)
    torch.compile(model, fullgraph=True, backend="eager")(torch.randn(2, 3, 27, 35))
    with torch.autocast("cpu", torch.bfloat16):
        torch.compile(model, fullgraph=True, backend="eager")(torch.randn(2, 3, 27, 35))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch.compile
@pytest.mark.long
@pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++"))), reason="torch.compile needs a C++ compiler on the CPU"
)
def test_the_compiled_network_gives_the_same_logits():
    """Eq. 6-14 in the code that torch.compile generates, with partial windows (D6)."""
    torch._dynamo.reset()
    model = create_model("micro", channels=(8, 16), head_dim=8, depths=(1, 1), kernel_sizes=(3, 3), expansions=(2, 2),
                         grid_sizes=(4,), pool_sizes=(4,))  # fmt: skip
    randomise(model)
    model, images = model.double().eval(), torch.randn(2, 3, 27, 35, dtype=torch.float64)
    with torch.inference_mode():
        assert_same(torch.compile(model, fullgraph=True)(images), model(images).numpy(), (27, 35))
