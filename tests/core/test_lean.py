"""Lean inference: pieces of any size give the reference's results, in less memory, and nobody is left out."""

import copy
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import hatnet.network
import reference
from hatnet import create_model, to_numpy
from hatnet.attention import MHSA, attention_kernel, fused_attention, is_fused
from hatnet.layers import Conv2d
from hatnet.lean import LARGEST, lean_inference
from hatnet.network import MLP, Block
from tests.cases import NETWORK_MUST_HIT, map_cases, network_cases, stack
from tests.comparing import assert_same

SMALL = NETWORK_MUST_HIT[0]


class Operations(TorchDispatchMode):
    """Count the operations of PyTorch, and note the bytes of the largest tensor that one returns."""

    bytes = 0

    def __init__(self):
        super().__init__()
        self.calls = Counter()  # of each operation

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        self.calls[function] += 1
        self.bytes = max(self.bytes, *(leaf.nbytes for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)), 0)
        return made


def calls_of(monkeypatch, name):
    """A list that receives the arguments of every call of a function that `hatnet.network` uses."""
    calls, function = [], getattr(hatnet.network, name)
    monkeypatch.setattr(hatnet.network, name, lambda *args: (calls.append(args), function(*args))[1])
    return calls


# -- the results


@settings(max_examples=40)
@given(case=map_cases, fewest=st.integers(1, 5), largest=st.sampled_from([1, 1000, LARGEST]))
def test_an_mlp_in_groups_of_channels_equals_the_reference(case, fewest, largest):
    """Eq. 4, D7: for any kernel, expansion and number of groups, the last of which may be smaller."""
    layer, params = case.filled(MLP(case.channels, case.expansion * case.channels, case.kernel_size))
    maps = case.maps()
    with torch.inference_mode(), lean_inference(largest, fewest):
        got = layer(torch.from_numpy(maps))
    assert_same(got, stack(lambda image: reference.mlp(image, params), maps), (case, largest, fewest))


@settings(max_examples=25)
@given(case=network_cases(), fewest=st.integers(1, 5), largest=st.sampled_from([1, 1000, 20_000, LARGEST]))
def test_a_network_in_pieces_equals_the_reference(case, fewest, largest):
    """Eq. 1-14, Figure 1: logits and the features of all stages."""
    model, images = case.model(), case.images()
    params, traces = to_numpy(model), [{} for _ in images]
    logits = np.stack(
        [
            reference.hat_net(image.numpy(), params, case.config, trace)
            for image, trace in zip(images, traces, strict=True)
        ]
    )
    with torch.inference_mode(), lean_inference(largest, fewest):
        assert_same(model(images), logits, (case, largest, fewest))
        for index, features in enumerate(model.forward_features(images)):
            want = np.stack([trace[f"stages.{index}.output"] for trace in traces])
            assert_same(features.permute(0, 2, 3, 1), want, (case, index, largest, fewest))


@pytest.mark.parametrize("images", [0, 1, 2, 3, 5, 7])
@pytest.mark.parametrize("at_once", [1, 2, 3])
def test_every_image_is_computed_once_and_in_its_place(monkeypatch, images, at_once):
    """As many at a time as fit, in pieces that differ by at most one image."""
    model, x = create_model("micro").eval(), torch.randn(images, 3, 32, 48)
    stage = model.config.stages[0]
    image = 16 * 24 * stage.expansion * stage.channels * 4  # bytes of its hidden map in stage 0
    seen = []
    original = Block.forward
    monkeypatch.setattr(Block, "forward", lambda block, x, *rest: (seen.append(len(x)), original(block, x, *rest))[1])
    with torch.inference_mode(), lean_inference(at_once * image + image - 1):
        got = model(x)
    first = seen[: -(-images // at_once) or 1]
    assert sum(first) == images
    assert max(first) <= at_once
    assert max(first) - min(first) <= 1
    assert torch.allclose(got, model(x), atol=1e-6)


def test_the_input_and_the_weights_are_not_overwritten():
    """SiLU overwrites its input, which must be nobody else's."""
    model, images = create_model("micro").eval(), torch.randn(3, 3, 32, 32)
    before, weights = images.clone(), copy.deepcopy(model.state_dict())
    features = {}
    with torch.inference_mode(), lean_inference(1):
        model(images)
        x = torch.randn(2, 8, 8, model.config.channels[0])
        copied = x.clone()
        model.stages[0].blocks[0].mlp(x)
        features = model.forward_features(images)
        again = model.forward_features(images)
    assert torch.equal(x, copied)
    assert torch.equal(images, before)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in weights.items())
    assert all(map(torch.equal, features, again))


# -- the memory


@pytest.mark.parametrize(("batch", "height", "width"), [(7, 64, 64), (1, 160, 200)])
def test_no_hidden_map_is_larger_than_allowed(batch, height, width):
    """Neither of many images nor of a large one."""
    model, images = create_model("micro").eval(), torch.zeros(batch, 3, height, width)
    stage, (H, W) = model.config.stages[0], model.config.layout(height, width)[0].map
    maps = batch * H * W * stage.channels * 4  # bytes of a stage's output
    with torch.no_grad(), Operations() as whole, lean_inference(None):
        model(images)
    with torch.no_grad(), Operations() as lean, lean_inference(largest=maps, fewest=8):
        model(images)
    assert whole.bytes == stage.expansion * maps
    assert lean.bytes <= 3.5 * maps  # Q, K and V, with the padding of windows


def test_images_are_divided_by_their_widest_maps(monkeypatch):
    """Those of the MLP, which expands the channels differently in each stage."""
    calls, model = calls_of(monkeypatch, "by_images"), create_model("tiny").eval()
    with torch.inference_mode():
        model(torch.zeros(1, 3, 32, 32))
    planned = [hidden for _, _, hidden in calls]
    assert planned == [len(block.mlp.expand.weight) for stage in model.stages for block in stage.blocks]
    assert len(set(planned)) == len(model.stages)


@pytest.mark.parametrize(("largest", "groups"), [(1, 8), (30_000, 6), (60_000, 3), (LARGEST, 1)])
def test_an_mlp_has_as_few_groups_as_fit_and_makes_no_other_wide_maps(largest, groups):
    """256 channels of two images of 5 x 8 tokens have 81,920 bytes, and two such maps are alive."""
    mlp, x, operations = MLP(64, 256, kernel_size=3).eval(), torch.randn(2, 5, 8, 64), Operations()
    with torch.no_grad(), lean_inference(largest, fewest=32), operations:
        mlp(x)
    assert operations.calls[torch.ops.aten.convolution.default] == groups
    assert operations.calls[torch.ops.aten.silu_.default] == 2 * groups
    assert operations.calls[torch.ops.aten.silu.default] == 0


# -- where whole maps are computed


class Adapted(nn.Module):
    """A matrix with something added to it, as adapters for fine-tuning do it, which offers the weight of its base."""

    def __init__(self, base):
        super().__init__()
        self.base = base

    @property
    def weight(self):
        return self.base.weight

    bias = None

    def forward(self, x):
        return self.base(x) + 1


def with_bias(mlp):
    mlp.expand = nn.Linear(mlp.expand.in_features, mlp.expand.out_features)
    nn.init.ones_(mlp.expand.bias)


def with_another_convolution(mlp):
    hidden = mlp.expand.out_features
    mlp.depthwise = Conv2d(hidden, hidden, 3, groups=hidden // 2, bias=False)


def with_dilation(mlp):
    mlp.depthwise.dilation = mlp.depthwise.padding = (2, 2)


def with_adapter(mlp):
    mlp.contract = Adapted(mlp.contract)


def with_quantised_weights(mlp):
    """As PyTorch's dynamic quantisation leaves it: a module whose weight is a method."""
    linear = mlp.expand
    mlp.expand = nn.Module()
    mlp.expand.weight = lambda: linear.weight
    mlp.expand.forward = linear.forward


def with_parametrised_weights(mlp):
    nn.utils.parametrizations.spectral_norm(mlp.contract)


def with_another_forward(mlp):
    forward = mlp.depthwise.forward
    mlp.depthwise.forward = lambda x: forward(x) + 1


def with_a_hook(mlp):
    mlp.expand.register_forward_hook(lambda module, args, output: output + 1)


def with_a_hook_before(mlp):
    mlp.depthwise.register_forward_pre_hook(lambda module, args: (args[0] + 1,))


@pytest.mark.parametrize(
    "change",
    [
        with_bias, with_another_convolution, with_dilation, with_adapter, with_quantised_weights,
        with_parametrised_weights, with_another_forward, with_a_hook, with_a_hook_before,
    ],
    ids=lambda change: change.__name__,
)  # fmt: skip
def test_changed_layers_are_called_as_they_are(change):
    """An MLP whose layers were replaced, adapted or watched gives what its layers give."""
    model = create_model("micro")
    mlp = model.stages[1].blocks[0].mlp
    change(mlp)
    model.eval()
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad(), lean_inference(None):
        want = model(images)
    with torch.no_grad(), lean_inference(1, 8):
        assert torch.allclose(model(images), want, atol=1e-5)
    with torch.no_grad():
        x = torch.randn(2, 8, 8, model.config.channels[1])
        by_hand = mlp.contract(F.silu(mlp.depthwise(F.silu(mlp.expand(mlp.norm_in(x))))))
        assert torch.allclose(mlp(x), mlp.norm_out(by_hand), atol=1e-5)


def test_a_hook_sees_whole_batches_that_stay_as_they_were():
    model, images = create_model("micro").eval(), torch.randn(3, 3, 32, 32)
    seen = []
    for name, module in model.named_modules():
        if name.endswith(("mlp", "expand", "depthwise")):
            module.register_forward_hook(lambda _, args, output: seen.append((output, output.clone())))
    with torch.inference_mode(), lean_inference(1):
        model(images)
    assert len(seen) == 3 * 6
    assert all(len(output) == 3 and torch.equal(output, kept) for output, kept in seen)


def test_a_global_hook_sees_whole_batches():
    batches = set()
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, args, output: batches.add(len(output)) if isinstance(module, Block) else None
    )
    try:
        with torch.inference_mode(), lean_inference(1):
            create_model("micro").eval()(torch.zeros(3, 3, 32, 32))
    finally:
        handle.remove()
    assert batches == {3}


def in_half_precision(model, images):
    return model.bfloat16()(images.bfloat16())


def in_training(model, images):
    return model.train()(images)


def with_one_part_in_training(model, images):
    for block in model.modules():
        if isinstance(block, Block):
            block.mlp.drop.train()
    return model(images)


def with_gradients(model, images):
    with torch.enable_grad():
        return model(images)


def within_autocast(model, images):
    with torch.autocast("cpu", torch.bfloat16):
        return model(images)


def with_another_kernel(model, images):
    with attention_kernel(fused_attention):
        return model(images)


def of_a_subclass(model, images):
    class Tagged(torch.Tensor):
        pass

    return model(images.as_subclass(Tagged))


def compiled(model, images):
    return torch.compile(model, backend="eager", fullgraph=True)(images)


def traced_by_jit(model, images):
    with warnings.catch_warnings(action="ignore"):  # it is deprecated, and warns of the checks of sizes
        return torch.jit.trace(model, images, check_trace=False)


@pytest.mark.parametrize(
    "run",
    [
        in_half_precision, in_training, with_one_part_in_training, with_gradients, within_autocast,
        with_another_kernel, of_a_subclass, compiled, traced_by_jit,
    ],
    ids=lambda run: run.__name__,
)  # fmt: skip
def test_whole_maps_are_computed_where_pieces_could_be_noticed(monkeypatch, run):
    by_images, by_channels = calls_of(monkeypatch, "by_images"), calls_of(monkeypatch, "by_hidden_channels")
    images = torch.randn(3, 3, 32, 32)
    with torch.no_grad(), lean_inference(1):
        run(create_model("micro", drop_rate=0.1).eval(), images)
    assert not by_images
    assert not by_channels


def test_a_trace_receives_whole_batches():
    trace = {}
    with torch.no_grad(), lean_inference(1):
        create_model("micro").eval()(torch.randn(3, 3, 32, 32), trace)
    assert all(len(value) == 3 for value in trace.values())


def test_whole_maps_end_with_the_last_of_nested_kernels():
    def other(Q, K, V, heads, mask, name):
        return 2 * fused_attention(Q, K, V, heads, mask, name)

    layer, x = MHSA(6, heads=2), torch.randn(1, 4, 5, 6)
    plain = layer(x)
    with attention_kernel(other):
        doubled = layer(x)
        with attention_kernel(fused_attention):
            assert torch.equal(layer(x), plain)
        assert not is_fused()
        assert torch.equal(layer(x), doubled)
    assert is_fused()
    assert torch.equal(layer(x), plain)
    assert not torch.equal(doubled, plain)


def test_pieces_are_computed_otherwise(monkeypatch):
    """Also without a network's classifier around it, and in float64; the test above could not fail else."""
    by_images, by_channels = calls_of(monkeypatch, "by_images"), calls_of(monkeypatch, "by_hidden_channels")
    with torch.no_grad(), lean_inference(1):
        create_model("micro").eval().double().forward_features(torch.randn(3, 3, 32, 32, dtype=torch.float64))
    assert len(by_images) == 6
    assert len(by_channels) == 3 * 6


@pytest.mark.parametrize(
    "limits", [{"largest": 0}, {"largest": 1.5}, {"largest": True}, {"fewest": 0}, {"fewest": None}], ids=str
)
def test_limits_must_be_positive_whole_numbers(limits):
    (name, _), *_ = limits.items()
    with pytest.raises(ValueError, match=f"{name}=.* must be a whole number of at least 1"), lean_inference(**limits):
        pass


def test_limits_return_to_what_they_were_after_an_error(monkeypatch):
    calls = calls_of(monkeypatch, "by_images")
    with pytest.raises(RuntimeError, match="stop"), lean_inference(None):
        raise RuntimeError("stop")
    with torch.no_grad():
        create_model("micro").eval()(torch.zeros(1, 3, 32, 32))
    assert calls
