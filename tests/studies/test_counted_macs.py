"""The formulas against counters: every MAC that PyTorch and NumPy compute is in them, as whole numbers."""

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import reference
from hatnet.attention import MHSA
from hatnet.complexity import Cost, h_mhsa_cost, mhsa_cost, network_costs, total
from hatnet.equivalence import to_numpy
from hatnet.hierarchical_attention import HMHSA
from hatnet.relatives import ATTENTIONS, SwinAttention, pvt_cost, swin_cost, twins_cost
from tests.cases import for_maps, for_networks


def torch_macs(module: torch.nn.Module, x: torch.Tensor) -> dict[str, tuple[float, float]]:
    """MACs of each submodule, as PyTorch counts its own kernels: (projections, attention)."""
    # The counter misses fused attention, so attention runs as matrix products; nothing else here is a `bmm`.
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        module.eval()(x)
    counts = {}
    for name, flops in counter.get_flop_counts().items():
        attention = flops.get(torch.ops.aten.bmm, 0)
        counts[name] = ((sum(flops.values()) - attention) / 2, attention / 2)  # 1 MAC is 2 FLOPs
    return counts


class Data(np.ndarray):
    """An array whose products are added to `tally`."""

    tally: Counter[str]

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **options):
        plain = [value.view(np.ndarray) if isinstance(value, Data) else value for value in inputs]
        if out:
            options["out"] = tuple(value.view(np.ndarray) for value in out)
        result = getattr(ufunc, method)(*plain, **options)
        if ufunc is np.matmul:
            has_parameters = any(isinstance(value, Parameter) for value in inputs)
            Data.tally["projection" if has_parameters else "attention"] += result.size * plain[0].shape[-1]
        elif ufunc is np.multiply and any(isinstance(value, DepthwiseKernel) for value in inputs):
            Data.tally["projection"] += result.size
        return out[0] if out else result.view(Data) if isinstance(result, np.ndarray) else result


class Parameter(Data): ...


class DepthwiseKernel(Parameter): ...


def numpy_macs(run: Callable, x: np.ndarray, params: dict[str, np.ndarray]) -> tuple[int, int]:
    """MACs of the reference, counted at each matrix product and at each tap of a depthwise kernel."""
    Data.tally = Counter()
    kinds = {name: DepthwiseKernel if name.endswith("depthwise.weight") else Parameter for name in params}
    run(x.view(Data), {name: value.view(kinds[name]) for name, value in params.items()})
    return Data.tally["projection"], Data.tally["attention"]


def macs_of(cost: Cost) -> tuple[int, int]:
    return cost.projection_macs, cost.attention_macs


def count_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("name", ATTENTIONS)
@for_maps
def test_each_formula_of_the_registry_is_what_pytorch_counts(name, case):
    attention, windows = ATTENTIONS[name], ("grid_size", "window")
    sizes = {size: case.grid_size if size in windows else case.pool_size for size in attention.sizes[0]}
    module = attention.build(case.channels, case.heads, **sizes)
    cost = attention.cost(case.height, case.width, C=case.channels, heads=case.heads, **sizes)
    got = torch_macs(module, torch.from_numpy(case.maps()).float())["Global"]
    assert got == tuple(case.batch * macs for macs in macs_of(cost)), case
    assert count_parameters(module) == cost.parameters


@for_maps
def test_numpy_counts_the_formulas_of_plain_attention_and_h_mhsa(case):
    """Without padding: in NumPy a window over the border holds only tokens of the map."""
    x, size = case.maps()[0], (case.height, case.width, case.channels)
    heads, G1, G2 = case.heads, case.grid_size, case.pool_size
    _, params = case.filled(MHSA(case.channels, heads))
    assert numpy_macs(lambda x, p: reference.mhsa(x, p, heads), x, params) == macs_of(mhsa_cost(*size)), case
    _, params = case.filled(HMHSA(case.channels, heads, G1, G2))
    got = numpy_macs(lambda x, p: reference.h_mhsa(x, p, heads, G1, G2), x, params)
    assert got == macs_of(h_mhsa_cost(*size, G1, G2)), case


def test_shifting_the_windows_of_swin_costs_nothing():
    module, cost = SwinAttention(8, 2, window=4, shift=2), swin_cost(6, 10, 8, window=4, heads=2, padded=True)
    assert torch_macs(module, torch.ones(1, 6, 10, 8))["Global"] == macs_of(cost)


@for_maps
def test_swin_and_twins_have_the_terms_that_were_counted_for_h_mhsa_and_pvt(case):
    """Without padding, too: their windows are those of H-MHSA, and the far half of Twins is PVT."""
    H, W, C, G1, G2 = case.height, case.width, case.channels, case.grid_size, case.pool_size
    counted = h_mhsa_cost(H, W, C, G1, G2).macs
    near = [counted[term] for term in ("W1q W1k W1v", "Q1 K1^T", "softmax V1", "Wp")]
    far, twins = pvt_cost(H, W, C, G2), twins_cost(H, W, C, G1, G2)
    assert list(swin_cost(H, W, C, G1, case.heads).macs.values()) == near
    assert list(twins.macs.values()) == near + list(far.macs.values())
    assert twins.attention_macs == swin_cost(H, W, C, G1).attention_macs + far.attention_macs


@for_networks
def test_pytorch_counts_the_formula_of_every_part_of_a_network(case):
    model, parts = case.model().float(), network_costs(case.config, case.height, case.width, padded=True)
    got = torch_macs(model, case.images().float())
    for part in parts:
        assert got[f"HATNet.{part.name}"] == tuple(case.batch * macs for macs in macs_of(part.cost)), (part.name, case)
        assert count_parameters(model.get_submodule(part.name)) == part.cost.parameters, (part.name, case)
    assert got["Global"] == tuple(case.batch * macs for macs in macs_of(total(parts))), case
    assert count_parameters(model) == total(parts).parameters


@for_networks
def test_numpy_counts_the_formula_of_a_network(case):
    """Without padding of windows; a convolution's taps on zeros around the map count."""
    image, params = case.images()[0].numpy(), to_numpy(case.model())
    got = numpy_macs(lambda image, params: reference.hat_net(image, params, case.config), image, params)
    assert got == macs_of(total(network_costs(case.config, case.height, case.width))), case


def test_the_counters_miss_nothing():
    x, params = np.ones((2, 3)), {"weight": np.ones((5, 3)), "depthwise.weight": np.ones(3)}
    assert numpy_macs(lambda x, p: x @ p["weight"].T + 1, x, params) == (2 * 3 * 5, 0)
    assert numpy_macs(lambda x, p: (x * 2) @ x.T, x, params) == (0, 2 * 2 * 3)
    assert numpy_macs(lambda x, p: x * p["depthwise.weight"] + x * x, x, params) == (6, 0)
    layer = torch.nn.Linear(3, 5)
    assert torch_macs(layer, torch.ones(2, 3))["Global"] == (2 * 3 * 5, 0)
    assert torch_macs(MHSA(4, 2), torch.ones(1, 2, 3, 4))["Global"] == (4 * 6 * 16, 2 * 6 * 6 * 4)
