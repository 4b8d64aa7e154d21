"""Every vector-Jacobian product of the reference, derived by hand, equals what autograd computes, in float64."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch.func import functional_call
from torch.nn import functional as F

from hatnet.attention import MHSA
from hatnet.config import Stage
from hatnet.hierarchical_attention import HMHSA
from hatnet.network import MLP, Block, Downsample, Stem
from reference import backward
from reference.loss import target
from tests.cases import MUST_HIT, also, map_cases

RELATIVE = 2e-13  # measured: largest 1.1e-14


def for_gradients(test):
    """Run a test on a few drawn maps, and on `MUST_HIT`, which has the risky sizes."""
    return also(MUST_HIT)(settings(max_examples=10)(given(case=map_cases)(test)))


def assert_vjp(case, function, vjp, inputs, params=None):
    """Compare `vjp(dy, *inputs, params)` with autograd's gradients of `function(*inputs, params)`, for a random dy."""
    params = params or {}
    tensors = [torch.from_numpy(x.copy()).requires_grad_() for x in inputs]
    parameters = {name: torch.from_numpy(value.copy()).requires_grad_() for name, value in params.items()}
    y = function(*tensors, parameters) if params else function(*tensors)
    dy = np.random.default_rng(case.seed + 1).standard_normal(tuple(y.shape))
    wants = torch.autograd.grad(y, [*tensors, *parameters.values()], torch.from_numpy(dy))
    got = vjp(dy, *inputs, params) if params else vjp(dy, *inputs)
    got = got if isinstance(got, tuple) else (got,)
    if params:
        assert got[-1].keys() == params.keys(), case
        got = (*got[:-1], *(got[-1][name] for name in params))
    names = [*(f"input {index}" for index in range(len(inputs))), *params]
    floor = 1e-3 * max(want.norm().item() for want in wants)  # the gradient of the keys' biases is zero
    for name, one, want in zip(names, got, wants, strict=True):
        assert one.shape == tuple(want.shape), (name, case)
        assert one.dtype == np.float64
        error = np.linalg.norm(one - want.numpy()) / max(want.norm().item(), floor, 1e-300)
        assert error <= RELATIVE, f"{name}: relative difference {error:.1e}\n{case}"


def draw(case, **shapes):
    """Arrays of unit variance, matrices and kernels scaled by their fan-in, norms near 1."""
    rng = np.random.default_rng(case.seed)
    drawn = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    if "weight" in drawn:
        weight = drawn["weight"]
        drawn["weight"] = weight / np.sqrt(weight[0].size) if weight.ndim > 1 else 1 + 0.1 * weight
    return drawn


def channels_first(function):
    """A function of maps (B, C, H, W), for one map (H, W, C)."""
    return lambda x, *rest: function(x.permute(2, 0, 1)[None], *rest)[0].permute(1, 2, 0)


def split(vjp, *rest):
    """A vjp of a layer, whose parameters come as keywords, with parameters as one dictionary."""
    return lambda dy, x, params: vjp(dy, x, **params, **dict(rest))


@for_gradients
@pytest.mark.parametrize("biased", [True, False])
def test_linear(case, biased):
    params = draw(case, weight=(5, case.channels), bias=5)
    if not biased:
        del params["bias"]
    function = lambda x, p: F.linear(x, p["weight"], p.get("bias"))  # noqa: E731
    assert_vjp(case, function, split(backward.linear_vjp), [case.maps()[0]], params)


@for_gradients
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_convolution(case, stride):
    """Zero padding, strides, and maps that no stride divides."""
    K = case.kernel_size
    params = draw(case, weight=(5, case.channels, K, K), bias=5)
    function = channels_first(lambda x, p: F.conv2d(x, p["weight"], p["bias"], stride, padding=K // 2))
    rest = [("stride", stride)] if stride > 1 else []  # 1 is the default
    assert_vjp(case, function, split(backward.conv2d_vjp, *rest), [case.maps()[0]], params)


@for_gradients
def test_depthwise_convolution(case):
    K, C = case.kernel_size, case.channels
    function = channels_first(lambda x, p: F.conv2d(x, p["weight"], padding=K // 2, groups=C))
    params = draw(case, weight=(C, 1, K, K))
    assert_vjp(case, function, split(backward.depthwise_conv2d_vjp), [case.maps()[0]], params)


@for_gradients
def test_group_norm_over_the_whole_map(case):
    """D1: the mean and the deviation of all H W C entries depend on each entry. The small scale reveals eps."""
    params = draw(case, weight=case.channels, bias=case.channels)
    function = channels_first(lambda x, p: F.group_norm(x, 1, p["weight"], p["bias"], eps=1e-6))
    assert_vjp(case, function, split(backward.group_norm_vjp), [case.maps()[0] + case.scale], params)


@for_gradients
def test_silu(case):
    assert_vjp(case, F.silu, backward.silu_vjp, [case.maps()[0]])


@for_gradients
def test_average_pooling_with_partial_cells(case):
    """Eq. 10, D6: a cell cut by the border is divided by its own number of tokens."""
    cell = (min(case.pool_size, case.height), min(case.pool_size, case.width))
    function = channels_first(lambda x: F.avg_pool2d(x, cell, ceil_mode=True))
    assert_vjp(case, function, lambda dy, x: backward.average_pool_vjp(dy, x, case.pool_size), [case.maps()[0]])


def queries_keys_values(case):
    N, M, C = case.height * case.width, case.height + case.pool_size, case.channels
    return list(draw(case, Q=(N, C), K=(M, C), V=(M, C)).values())


@for_gradients
def test_softmax(case):
    scores = 3 * queries_keys_values(case)[0]
    assert_vjp(case, lambda S: S.softmax(dim=-1), backward.softmax_vjp, [scores])
    dS = backward.softmax_vjp(scores[::-1], scores)
    assert np.abs(dS.sum(axis=-1)).max() < 1e-13 * np.abs(scores).max()


@for_gradients
def test_attention_weights(case):
    """Eq. 2: the scale is in the gradients of the queries and of the keys."""
    Q, K, _ = queries_keys_values(case)
    function = lambda Q, K: (Q @ K.T / Q.shape[-1] ** 0.5).softmax(dim=-1)  # noqa: E731
    assert_vjp(case, function, backward.attention_weights_vjp, [Q, K])


@for_gradients
def test_multi_head_attention(case):
    """Eq. 2: several heads."""

    def function(Q, K, V):
        Q, K, V = (x.unflatten(-1, (case.heads, -1)).transpose(0, 1) for x in (Q, K, V))
        weights = (Q @ K.transpose(1, 2) / case.head_dim**0.5).softmax(dim=-1)
        return (weights @ V).transpose(0, 1).flatten(1)

    vjp = lambda dA, *inputs: backward.multi_head_attention_vjp(dA, *inputs, case.heads)  # noqa: E731
    assert_vjp(case, function, vjp, queries_keys_values(case))


def call(layer, *rest):
    """A layer as a function of one map and its parameters."""
    return lambda x, p: functional_call(layer, p, (x[None], *rest))[0]


@for_gradients
def test_plain_attention(case):
    """Eq. 1-3."""
    layer, params = case.filled(MHSA(case.channels, case.heads))
    assert_vjp(case, call(layer), lambda *a: backward.mhsa_vjp(*a, case.heads), [case.maps()[0]], params)


def hierarchical(case):
    return case.filled(HMHSA(case.channels, case.heads, case.grid_size, case.pool_size))


def part(params, path):
    return {name: value for name, value in params.items() if name.startswith(path)}


def below(params, path):
    """The tensors below a path, by the rest of their names."""
    return {name.removeprefix(f"{path}."): value for name, value in part(params, path).items()}


@for_gradients
def test_local_attention(case):
    """Eq. 6-8, D6: windows share their parameters, and the border cuts them."""
    layer, params = hierarchical(case)
    x = draw(case, x=(case.height, case.width, case.channels))["x"]
    function = lambda x, p: call(layer.local_attention, case.grid_size)(x, below(p, "local_attention"))  # noqa: E731
    vjp = lambda *a: backward.local_attention_vjp(*a, case.heads, case.grid_size)  # noqa: E731
    assert_vjp(case, function, vjp, [x], part(params, "local_attention"))


@for_gradients
def test_merging(case):
    """Eq. 10, D3."""
    layer, params = hierarchical(case)
    function = lambda x, p: call(layer.merge, case.pool_size)(x, below(p, "merge"))  # noqa: E731
    vjp = lambda *a: backward.merge_vjp(*a, case.pool_size)  # noqa: E731
    assert_vjp(case, function, vjp, [case.maps()[0]], part(params, "merge"))


@for_gradients
def test_global_attention(case):
    """Eq. 11-13: the gradients of tokens and of merged tokens."""
    layer, params = hierarchical(case)
    shape = (case.height, case.width, case.channels)
    A1, merged = draw(case, A1=shape, merged=(2, case.pool_size, case.channels)).values()

    def function(A1, merged, p):
        inner = below(p, "global_attention")
        return functional_call(layer.global_attention, inner, (A1[None], merged[None]))[0]

    vjp = lambda *a: backward.global_attention_vjp(*a, case.heads)  # noqa: E731
    assert_vjp(case, function, vjp, [A1, merged], part(params, "global_attention"))


@for_gradients
def test_aggregation(case):
    """Eq. 14: both results receive the same gradient."""
    _, params = hierarchical(case)
    A1, A2 = case.maps()[0], case.maps()[0, ::-1]
    function = lambda A1, A2, p: F.linear(A1 + A2, p["projection.weight"], p["projection.bias"])  # noqa: E731

    def vjp(*arguments):
        dA, gradients = backward.aggregate_vjp(*arguments)
        return dA, dA, gradients

    assert_vjp(case, function, vjp, [A1, A2], part(params, "projection"))


@for_gradients
def test_hierarchical_attention(case):
    """Eq. 6-14: A1 is used three times and X twice."""
    layer, params = hierarchical(case)
    vjp = lambda *a: backward.h_mhsa_vjp(*a, case.heads, case.grid_size, case.pool_size)  # noqa: E731
    assert_vjp(case, call(layer), vjp, [case.maps()[0]], params)


@for_gradients
def test_mlp(case):
    layer, params = case.filled(MLP(case.channels, case.expansion * case.channels, case.kernel_size))
    assert_vjp(case, call(layer), backward.mlp_vjp, [case.maps()[0]], params)


@for_gradients
@pytest.mark.parametrize("plain", [False, True])
def test_block_with_both_residuals(case, plain):
    """Eq. 14 (or 3) and Eq. 4."""
    windows = (None, None) if plain else (case.grid_size, case.pool_size)
    stage = Stage(case.channels, 1, case.heads, case.kernel_size, case.expansion, *windows, stride=4)
    layer, params = case.filled(Block(stage))
    assert_vjp(case, call(layer), lambda *a: backward.block_vjp(*a, stage), [case.maps()[0]], params)


@for_gradients
@pytest.mark.parametrize("strides", [(2, 2), (1, 2)])
def test_stem(case, strides):
    layer, params = case.filled(Stem(case.channels, 5, 7, strides))
    assert_vjp(case, call(layer), lambda *a: backward.stem_vjp(*a, strides), [case.maps()[0]], params)


@for_gradients
def test_downsampling(case):
    layer, params = case.filled(Downsample(case.channels, 7))
    assert_vjp(case, call(layer), backward.downsample_vjp, [case.maps()[0]], params)


@for_gradients
def test_classifier_with_global_average_pooling(case):
    params = draw(case, weight=(5, case.channels), bias=5)
    function = lambda x, p: F.linear(x.mean(dim=(0, 1)), p["weight"], p["bias"])  # noqa: E731
    assert_vjp(case, function, backward.classifier_vjp, [case.maps()[0]], params)


@for_gradients
def test_cross_entropy(case):
    """For classes and for mixed distributions, with and without smoothing, from small to large logits."""
    rng = np.random.default_rng(case.seed)
    classes, smoothing = case.channels, float(rng.choice([0, 0.1, 1]))
    mixed = rng.dirichlet(np.ones(classes))
    for label in (int(rng.integers(classes)), mixed):
        logits = torch.tensor(case.scale * rng.standard_normal(classes), requires_grad=True)
        loss = F.cross_entropy(logits, torch.tensor(label), label_smoothing=smoothing)
        loss.backward()
        got = backward.cross_entropy_vjp(logits.detach().numpy(), label, smoothing)
        assert np.abs(got - logits.grad.numpy()).max() < 1e-15, case
        assert abs(got.sum()) < 1e-15
        assert target(label, classes, smoothing).sum() == pytest.approx(1, abs=1e-15)
