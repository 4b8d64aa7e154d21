"""Cost: the closed form is what is counted while the code runs, as integers; and the relatives are what they say."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from math import sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import reference
from hatnet.attention import MHSA
from hatnet.complexity import (
    Cost,
    Part,
    equation_5,
    equation_15,
    h_mhsa_cost,
    mhsa_cost,
    network_costs,
    pvt_cost,
    pvt_v2_linear_cost,
    swin_cost,
    total,
    twins_cost,
)
from hatnet.config import VARIANTS
from hatnet.equivalence import relative_error, to_numpy
from hatnet.hierarchical_attention import HMHSA
from hatnet.relatives import PVTAttention, PVTv2LinearAttention, SwinAttention, TwinsAttention
from tests.cases import MUST_HIT, NETWORK_MUST_HIT, also, map_cases, network_cases

# MACs of one image of 224 x 224 pixels: without the products of attention, with them; and what the paper prints, in G.
KNOWN = {
    "tiny": (1_969_741_824, 2_128_134_912, 2.0),
    "small": (4_292_868_096, 4_548_314_112, 4.3),
    "medium": (8_294_604_800, 8_777_348_096, 8.3),
    "large": (11_440_291_328, 12_074_854_656, 11.5),
}


@pytest.mark.parametrize("variant", KNOWN)
def test_the_published_variants_cost_what_is_known(variant):
    """Table 2: its figures are the counts without the products of attention, but for the last digit of Large."""
    cost = total(network_costs(VARIANTS[variant], 224, 224))
    without, together, printed = KNOWN[variant]
    assert (cost.projection_macs, cost.total_macs) == (without, together)
    assert cost.attention_macs == together - without
    assert abs(without / 1e9 - printed) < 0.1 < abs(together / 1e9 - printed)


@given(C=st.integers(1, 400), H=st.integers(1, 100), W=st.integers(1, 100))
def test_equation_5_is_plain_attention_without_its_output_projection(C, H, W):
    """Eq. 5 leaves out W^p."""
    cost = mhsa_cost(H, W, C)
    assert cost.total_macs - cost.macs["Wp"] == equation_5(H, W, C)


@given(
    C=st.integers(1, 400), G1=st.integers(1, 9), G2=st.integers(1, 9), rows=st.integers(1, 5), columns=st.integers(1, 5)
)
def test_equation_15_is_h_mhsa_without_its_output_projection(C, G1, G2, rows, columns):
    """Eq. 15 leaves out W^p, too; it holds where G1 and G2 divide the map."""
    H, W = rows * G1 * G2, columns * G1 * G2
    cost = h_mhsa_cost(H, W, C, G1, G2)
    assert cost.total_macs - cost.macs["Wp"] == equation_15(H, W, C, G1, G2)
    assert cost == h_mhsa_cost(H, W, C, G1, G2, padded=True)


@pytest.mark.parametrize(
    ("H", "C", "G1", "G2", "times"),
    [(56, 64, 8, 8, 13.4), (28, 128, 7, 4, 2.7), (14, 320, 7, 2, 0.83), (128, 64, 8, 16, 64)],
)
def test_h_mhsa_is_cheaper_on_large_maps_and_dearer_on_small_ones(H, C, G1, G2, times):
    """Eq. 5 over Eq. 15: stages 2, 3 and 4 of Small (paper's numbers) at 224, and stage 2 at 512 with G2 = 16."""
    ratio = equation_5(H, H, C) / equation_15(H, H, C, G1, G2)
    assert ratio == pytest.approx(times, abs=0.5 if times > 50 else 0.05 if times > 1 else 0.005)
    plain, hierarchical = mhsa_cost(H, H, C), h_mhsa_cost(H, H, C, G1, G2)
    assert (plain.total_macs > hierarchical.total_macs) == (times > 1)  # W^p on both sides changes no verdict


def torch_macs(module: torch.nn.Module, x: torch.Tensor) -> dict[str, tuple[int, int]]:
    """MACs of each submodule in a forward pass, as PyTorch counts its own kernels: (projections, attention).

    The counter does not see fused attention, so attention runs as matrix products; nothing else here is a `bmm`.
    """
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        module.eval()(x)
    counts = {}
    for name, flops in counter.get_flop_counts().items():
        attention = sum(count for operator, count in flops.items() if operator is torch.ops.aten.bmm)
        projection = sum(flops.values()) - attention
        assert not projection % 2
        assert not attention % 2
        counts[name] = (projection // 2, attention // 2)  # 1 MAC is 2 FLOP
    return counts


def numpy_macs(run: Callable, x: np.ndarray, params: dict[str, np.ndarray]) -> tuple[int, int]:
    """MACs of the reference, counted at each matrix product and at each tap of a depthwise kernel."""
    tally: Counter[str] = Counter()

    class Data(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
            plain = [value.view(np.ndarray) if isinstance(value, Data) else value for value in inputs]
            if out:
                options["out"] = tuple(value.view(np.ndarray) for value in out)
            result = getattr(ufunc, method)(*plain, **options)
            if ufunc is np.matmul:
                has_parameters = any(isinstance(value, Parameter) for value in inputs)
                tally["projection" if has_parameters else "attention"] += result.size * plain[0].shape[-1]
            elif ufunc is np.multiply and any(isinstance(value, DepthwiseKernel) for value in inputs):
                tally["projection"] += result.size
            return out[0] if out else result.view(Data) if isinstance(result, np.ndarray) else result

    class Parameter(Data): ...

    class DepthwiseKernel(Parameter): ...

    kinds = {name: DepthwiseKernel if name.endswith("depthwise.weight") else Parameter for name in params}
    run(x.view(Data), {name: value.view(kinds[name]) for name, value in params.items()})
    return tally["projection"], tally["attention"]


def split(cost: Cost) -> tuple[int, int]:
    return cost.projection_macs, cost.attention_macs


def size_of(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def drawn(case):
    """H, W, C and heads."""
    return case.height, case.width, case.channels, case.heads


@dataclass(frozen=True)
class Kind:
    """A module for a drawn case, and its formula as PyTorch runs it; G1 is also the window, and G2 the reduction."""

    build: Callable
    cost: Callable


KINDS = {
    "MHSA": Kind(
        lambda case: MHSA(case.channels, case.heads), lambda case: mhsa_cost(case.height, case.width, case.channels)
    ),
    "H-MHSA": Kind(
        lambda case: HMHSA(case.channels, case.heads, case.grid_size, case.pool_size),
        lambda case: h_mhsa_cost(case.height, case.width, case.channels, case.grid_size, case.pool_size, padded=True),
    ),
    "Swin": Kind(
        lambda case: SwinAttention(case.channels, case.heads, case.grid_size, case.seed % case.grid_size),
        lambda case: swin_cost(case.height, case.width, case.channels, case.grid_size, case.heads, padded=True),
    ),
    "PVT": Kind(
        lambda case: PVTAttention(case.channels, case.heads, case.pool_size),
        lambda case: pvt_cost(case.height, case.width, case.channels, case.pool_size),
    ),
    "PVTv2": Kind(
        lambda case: PVTv2LinearAttention(case.channels, case.heads, case.pool_size),
        lambda case: pvt_v2_linear_cost(case.height, case.width, case.channels, case.pool_size),
    ),
    "Twins": Kind(
        lambda case: TwinsAttention(case.channels, case.heads, case.grid_size, case.pool_size),
        lambda case: twins_cost(case.height, case.width, case.channels, case.grid_size, case.pool_size, padded=True),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@also(MUST_HIT)
@given(case=map_cases)
def test_each_formula_is_what_pytorch_counts(kind, case):
    """Padding included, image by image of a batch; and the parameters are those of the module."""
    module, cost = KINDS[kind].build(case), KINDS[kind].cost(case)
    got = torch_macs(module, torch.from_numpy(case.maps()).float())["Global"]
    assert got == tuple(case.batch * macs for macs in split(cost)), case
    assert size_of(module) == cost.parameters


@also(MUST_HIT)
@given(case=map_cases)
def test_plain_attention_costs_what_numpy_counts(case):
    H, W, C, heads = drawn(case)
    _, params = case.filled(MHSA(C, heads))
    got = numpy_macs(lambda x, params: reference.mhsa(x, params, heads), case.maps()[0], params)
    assert got == split(mhsa_cost(H, W, C)), case


@also(MUST_HIT)
@given(case=map_cases)
def test_h_mhsa_costs_what_numpy_counts(case):
    """Without padding: in NumPy a window over the border holds only what is there."""
    (H, W, C, heads), G1, G2 = drawn(case), case.grid_size, case.pool_size
    _, params = case.filled(HMHSA(C, heads, G1, G2))
    got = numpy_macs(lambda x, params: reference.h_mhsa(x, params, heads, G1, G2), case.maps()[0], params)
    assert got == split(h_mhsa_cost(H, W, C, G1, G2)), case


@also(MUST_HIT)
@given(case=map_cases)
def test_swin_and_twins_cost_what_h_mhsa_and_pvt_have_counted(case):
    """Without padding, too: their windows are those of H-MHSA, and the far half of Twins is PVT."""
    (H, W, C, heads), G1, G2 = drawn(case), case.grid_size, case.pool_size
    counted = h_mhsa_cost(H, W, C, G1, G2).macs
    near = [counted[term] for term in ("W1q W1k W1v", "Q1 K1^T", "softmax V1", "Wp")]
    far = pvt_cost(H, W, C, G2)
    assert list(swin_cost(H, W, C, G1, heads).macs.values()) == near
    assert list(twins_cost(H, W, C, G1, G2).macs.values()) == near + list(far.macs.values())
    assert twins_cost(H, W, C, G1, G2).attention_macs == swin_cost(H, W, C, G1).attention_macs + far.attention_macs


@also(NETWORK_MUST_HIT)
@given(case=network_cases())
def test_every_part_of_a_network_costs_what_pytorch_counts(case):
    """Any configuration and image size, part by part, padding included; and the parameters of each part."""
    model, parts = case.model().float(), network_costs(case.config, case.height, case.width, padded=True)
    got = torch_macs(model, case.images().float())
    for part in parts:
        assert got[f"HATNet.{part.name}"] == tuple(case.batch * macs for macs in split(part.cost)), (part.name, case)
        assert size_of(model.get_submodule(part.name)) == part.cost.parameters, (part.name, case)
    assert got["Global"] == tuple(case.batch * macs for macs in split(total(parts))), case
    assert size_of(model) == total(parts).parameters


@also(NETWORK_MUST_HIT)
@given(case=network_cases())
def test_a_network_costs_what_numpy_counts(case):
    """Any configuration and image size, without padding; a convolution's taps on zeros around the map count."""
    got = numpy_macs(
        lambda image, params: reference.hat_net(image, params, case.config),
        case.images()[0].numpy(),
        to_numpy(case.model()),
    )
    assert got == split(total(network_costs(case.config, case.height, case.width))), case


def test_the_counters_see_everything():
    """The controls: by hand, a product of data, a projection, a depthwise tap; and nothing else."""
    x, params = np.ones((2, 3)), {"weight": np.ones((5, 3)), "depthwise.weight": np.ones(3)}
    assert numpy_macs(lambda x, p: x @ p["weight"].T + 1, x, params) == (2 * 3 * 5, 0)
    assert numpy_macs(lambda x, p: (x * 2) @ x.T, x, params) == (0, 2 * 2 * 3)
    assert numpy_macs(lambda x, p: x * p["depthwise.weight"] + x * x, x, params) == (6, 0)
    layer = torch.nn.Linear(3, 5)
    assert torch_macs(layer, torch.ones(2, 3))["Global"] == (2 * 3 * 5, 0)
    attention = MHSA(4, 2)
    assert torch_macs(attention, torch.ones(1, 2, 3, 4))["Global"] == (4 * 6 * 16, 2 * 6 * 6 * 4)


def test_padding_costs_nothing_where_windows_divide_and_something_where_they_do_not():
    """At 224 both forms agree; at 800 x 1333 PyTorch computes more than the tokens need."""
    for config in VARIANTS.values():
        side = 224 if config.name != "micro" else 32
        assert network_costs(config, side, side) == network_costs(config, side, side, padded=True)
    needed, run = (
        total(network_costs(VARIANTS["tiny"], 800, 1333, padded=padded)).total_macs for padded in (False, True)
    )
    assert needed < run < 1.1 * needed


def test_parts_are_in_the_order_of_computation_with_their_stage():
    parts = network_costs(VARIANTS["tiny"], 224, 224)
    names = [part.name for part in parts]
    assert names[:3] == ["stem", "stages.0.blocks.0.attention", "stages.0.blocks.0.mlp"]
    assert names[5] == "stages.1.downsample"
    assert (names[-1], parts[-1].stage, parts[-1].layout) == ("classifier", None, None)
    assert isinstance(parts[5], Part)
    assert (parts[5].stage, parts[5].layout.map) == (1, (28, 28))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mhsa_cost(0, 7, 64), "H=0 must be a whole number of at least 1"),
        (lambda: mhsa_cost(7, 7.0, 64), "W=7.0 must be a whole number"),
        (lambda: h_mhsa_cost(14, 14, 64, G1=-7, G2=2), "G1=-7 must be a whole number"),
        (lambda: h_mhsa_cost(14, 14, 64, G1=7, G2=True), "G2=True must be a whole number"),
        (lambda: swin_cost(14, 14, 64, window=0), "window=0 must be"),
        (lambda: swin_cost(14, 14, 64, window=7, heads=0), "heads=0 must be"),
        (lambda: pvt_cost(14, 14, 64, reduction=0), "reduction=0 must be"),
        (lambda: pvt_v2_linear_cost(14, 14, 64, pooled=0), "pooled=0 must be"),
        (lambda: twins_cost(14, 14, 64, window=7, reduction="2"), "reduction='2' must be"),
        (lambda: equation_5(14, 14, None), "C=None must be"),
        (lambda: equation_15(14, 15, 64, G1=7, G2=2), "Eq. 15 holds where G1 divides H and W; G1=7 does not divide"),
        (lambda: equation_15(14, 21, 64, G1=7, G2=2), "Eq. 15 holds where G2 divides H and W; G2=2 does not divide"),
        (lambda: network_costs(VARIANTS["tiny"], 224.0, 224), "height=224.0 must be a whole number"),
        (lambda: network_costs(VARIANTS["tiny"], 224, 31), "image of 224 x 31 pixels is too small"),
        (lambda: SwinAttention(6, 4, window=4), "4 heads do not divide 6 channels"),
        (lambda: PVTAttention(6, 2, reduction=0), "reduction=0 must be at least 1 token"),
        (lambda: PVTv2LinearAttention(6, 2, pooled=0), "pooled=0 must be at least 1 token"),
        (lambda: TwinsAttention(6, 2, window=0, reduction=2), "window=0 must be at least 1 token"),
        (lambda: SwinAttention(6, 2, window=4, shift=4), "shift=4 must be at least 0 and less than the window"),
    ],
)
def test_bad_sizes_get_an_error_that_names_the_domain(call, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        call()


# The relatives, each against its definition, token by token.


def attend(Q, K, V, heads, scores=0.0):
    """Eq. 2 for one query (C,) and its keys (M, C); `scores` (heads, M) are added before the softmax."""
    q, k, v = (x.unflatten(-1, (heads, -1)) for x in (Q, K, V))
    weights = ((k * q).sum(-1).T / sqrt(q.shape[-1]) + scores).softmax(-1)  # (heads, M)
    return torch.einsum("hm,mhd->hd", weights, v).flatten()


def relative(case, module):
    """The module with random parameters, the first map, and what the module makes of the batch."""
    layer, _ = case.filled(module)
    maps = torch.from_numpy(case.maps())
    with torch.no_grad():
        return layer, maps[0], layer(maps)[0]


def merged_attention(layer, x, merged, heads):
    """Every token to all merged tokens."""
    K, V = layer.kv(merged.flatten(0, 1)).chunk(2, dim=-1)
    Q = layer.q(layer.norm(x))
    return layer.projection(torch.stack([torch.stack([attend(q, K, V, heads) for q in row]) for row in Q]))


@also(MUST_HIT)
@given(case=map_cases)
@torch.no_grad()
def test_swin_attends_within_its_windows_shifted_or_not(case):
    """A window is a token's position, less the shift, by M; an axis with one window has no shift."""
    module = SwinAttention(case.channels, case.heads, case.grid_size, shift=case.seed % case.grid_size)
    layer, x, got = relative(case, module)
    (H, W, _), M, s = x.shape, layer.window, layer.shift
    Q, K, V = layer.qkv(layer.norm(x)).chunk(3, dim=-1)

    def window(row, column):
        return (row - s) // M if H > M else 0, (column - s) // M if W > M else 0

    want = torch.empty_like(x)
    for i, j in product(range(H), range(W)):
        keys = [key for key in product(range(H), range(W)) if window(*key) == window(i, j)]
        bias = torch.stack([layer.bias[:, m - i + M - 1, n - j + M - 1] for m, n in keys], dim=1)
        rows, columns = zip(*keys, strict=True)
        want[i, j] = attend(Q[i, j], K[rows, columns], V[rows, columns], case.heads, bias)
    assert relative_error(got, layer.projection(want)) < 1e-13, case  # that of TOLERANCES for float64


def strided(layer, x):
    """The convolution of kernel and stride R, cell by cell; a cell over the border has only the taps that are there."""
    if layer.reduction == 1:
        return x
    (H, W, C), R = x.shape, layer.reduction
    merged = torch.empty(-(-H // R), -(-W // R), C, dtype=x.dtype)
    for row, column in product(*map(range, merged.shape[:2])):
        cell = x[row * R : (row + 1) * R, column * R : (column + 1) * R]
        kernel = layer.reduce.weight[:, :, : cell.shape[0], : cell.shape[1]]
        merged[row, column] = torch.einsum("ijk,ckij->c", cell, kernel) + layer.reduce.bias
    return layer.reduce_norm(merged)


@also(MUST_HIT)
@given(case=map_cases)
@torch.no_grad()
def test_pvt_attends_to_strided_cells(case):
    layer, x, got = relative(case, PVTAttention(case.channels, case.heads, case.pool_size))
    want = merged_attention(layer, x, strided(layer, layer.norm(x)), case.heads)
    assert relative_error(got, want) < 1e-13, case


@also(MUST_HIT)
@given(case=map_cases)
@torch.no_grad()
def test_pvt_v2_attends_to_a_fixed_number_of_averages(case):
    layer, x, got = relative(case, PVTv2LinearAttention(case.channels, case.heads, case.pool_size))
    (H, W, C), P, normed = x.shape, layer.pooled, layer.norm(x)
    averages = torch.empty(P, P, C, dtype=x.dtype)
    for i, j in product(range(P), range(P)):  # cells that share tokens where P does not divide
        cell = normed[i * H // P : -(-(i + 1) * H // P), j * W // P : -(-(j + 1) * W // P)]
        averages[i, j] = cell.mean(dim=(0, 1))
    merged = F.gelu(layer.reduce_norm(layer.reduce(averages)))
    assert relative_error(got, merged_attention(layer, x, merged, case.heads)) < 1e-13, case


@also(MUST_HIT)
@given(case=map_cases)
@torch.no_grad()
def test_twins_attends_within_windows_then_to_strided_cells(case):
    """With the residuals of its two layers, less that of the input, which is the block's."""
    layer, x, got = relative(case, TwinsAttention(case.channels, case.heads, case.grid_size, case.pool_size))
    Q, K, V = layer.local_qkv(layer.norm(x)).chunk(3, dim=-1)
    near = torch.empty_like(x)
    for _, _, window in reference.windows(case.height, case.width, case.grid_size):
        k, v = K[window].flatten(0, 1), V[window].flatten(0, 1)
        near[window] = torch.stack([torch.stack([attend(q, k, v, case.heads) for q in line]) for line in Q[window]])
    near = layer.local_projection(near)
    far = merged_attention(layer.far, x + near, strided(layer.far, layer.far.norm(x + near)), case.heads)
    assert relative_error(got, near + far) < 1e-13, case
