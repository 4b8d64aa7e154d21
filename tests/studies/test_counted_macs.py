"""The formulas against counters: every MAC that PyTorch and NumPy compute is in them, as whole numbers."""

import numpy as np
import pytest
import torch

import reference
from hatnet.attention import MHSA
from hatnet.complexity import h_mhsa_cost, mhsa_cost, network_costs, total
from hatnet.equivalence import to_numpy
from hatnet.hierarchical_attention import HMHSA
from hatnet.relatives import ATTENTIONS, SwinAttention, pvt_cost, swin_cost, twins_cost
from tests.cases import for_maps, for_networks
from tests.studies.counting import count_parameters, macs_of, numpy_macs, torch_macs


def drawn_sizes(name, case):
    """The sizes of an attention in the registry, drawn: windows have side G1; cells and pooled maps have side G2."""
    windows = ("grid_size", "window")
    return {size: case.grid_size if size in windows else case.pool_size for size in ATTENTIONS[name].sizes[0]}


@pytest.mark.parametrize("name", ATTENTIONS)
@for_maps
def test_each_formula_of_the_registry_is_what_pytorch_counts(name, case):
    """Including padding, for every image of a batch. The parameters are those of the module."""
    attention, sizes = ATTENTIONS[name], drawn_sizes(name, case)
    module = attention.build(case.channels, case.heads, **sizes)
    cost = attention.cost(case.height, case.width, C=case.channels, heads=case.heads, **sizes)
    got = torch_macs(module, torch.from_numpy(case.maps()).float())["Global"]
    assert got == tuple(case.batch * macs for macs in macs_of(cost)), case
    assert count_parameters(module) == cost.parameters


@for_maps
def test_numpy_counts_the_formula_of_plain_attention(case):
    _, params = case.filled(MHSA(case.channels, case.heads))
    got = numpy_macs(lambda x, params: reference.mhsa(x, params, case.heads), case.maps()[0], params)
    assert got == macs_of(mhsa_cost(case.height, case.width, case.channels)), case


@for_maps
def test_numpy_counts_the_formula_of_h_mhsa(case):
    """Without padding: in NumPy a window over the border holds only tokens of the map."""
    heads, G1, G2 = case.heads, case.grid_size, case.pool_size
    _, params = case.filled(HMHSA(case.channels, heads, G1, G2))
    got = numpy_macs(lambda x, params: reference.h_mhsa(x, params, heads, G1, G2), case.maps()[0], params)
    assert got == macs_of(h_mhsa_cost(case.height, case.width, case.channels, G1, G2)), case


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
    """For any configuration and image size, including padding. The parameters are those of each part."""
    model, parts = case.model().float(), network_costs(case.config, case.height, case.width, padded=True)
    got = torch_macs(model, case.images().float())
    for part in parts:
        assert got[f"HATNet.{part.name}"] == tuple(case.batch * macs for macs in macs_of(part.cost)), (part.name, case)
        assert count_parameters(model.get_submodule(part.name)) == part.cost.parameters, (part.name, case)
    assert got["Global"] == tuple(case.batch * macs for macs in macs_of(total(parts))), case
    assert count_parameters(model) == total(parts).parameters


@for_networks
def test_numpy_counts_the_formula_of_a_network(case):
    """For any configuration and image size, without padding; a convolution's taps on zeros around the map count."""
    got = numpy_macs(
        lambda image, params: reference.hat_net(image, params, case.config),
        case.images()[0].numpy(),
        to_numpy(case.model()),
    )
    assert got == macs_of(total(network_costs(case.config, case.height, case.width))), case


def test_the_counters_miss_nothing():
    """By hand: a product of data, a projection, a depthwise tap; and nothing else."""
    x, params = np.ones((2, 3)), {"weight": np.ones((5, 3)), "depthwise.weight": np.ones(3)}
    assert numpy_macs(lambda x, p: x @ p["weight"].T + 1, x, params) == (2 * 3 * 5, 0)
    assert numpy_macs(lambda x, p: (x * 2) @ x.T, x, params) == (0, 2 * 2 * 3)
    assert numpy_macs(lambda x, p: x * p["depthwise.weight"] + x * x, x, params) == (6, 0)
    layer = torch.nn.Linear(3, 5)
    assert torch_macs(layer, torch.ones(2, 3))["Global"] == (2 * 3 * 5, 0)
    assert torch_macs(MHSA(4, 2), torch.ones(1, 2, 3, 4))["Global"] == (4 * 6 * 16, 2 * 6 * 6 * 4)
