"""The attentions of the arms: which tokens each token attends to, by gradients."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hatnet.layers import GroupNorm
from hatnet.relatives.pvt import pvt_cost
from hatnet.studies.ablation import ARMS, build, match_cost
from hatnet.studies.ablation.arms import CONFIG
from hatnet.studies.ablation.attention import SpatialReduction

SIDE = 14  # tokens along a side of the first stage's map


def without_norms(module):
    """Remove the norms. A norm over the map lets every token change every other a little."""
    for name, child in module.named_children():
        if isinstance(child, GroupNorm):
            setattr(module, name, torch.nn.Identity())
    return module


def attended(arm, token):
    """The tokens whose values change the output at one token, (SIDE, SIDE), in the first stage."""
    torch.manual_seed(0)
    stage = ARMS[arm].config().stages[0]
    module = ARMS[arm].attention(stage).double()
    for child in module.modules():
        without_norms(child)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    x = torch.randn(1, SIDE, SIDE, stage.channels, dtype=torch.float64, requires_grad=True)
    module(x)[0, token[0], token[1]].sum().backward()
    return x.grad[0].abs().sum(-1) > 0


@settings(max_examples=20)
@given(token=st.tuples(st.integers(0, 13), st.integers(0, 13)))
@example(token=(6, 7))  # beside a border of windows
def test_local_attention_stays_in_its_window(token):
    """Eq. 6-8: the gradient is exactly zero outside a window of 7 x 7."""
    top, left = 7 * (token[0] // 7), 7 * (token[1] // 7)
    want = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    want[top : top + 7, left : left + 7] = True
    assert torch.equal(attended("local", token), want)


@pytest.mark.parametrize("arm", ["h-mhsa", "global", "mhsa", "pvt", "small-windows", "coarse-cells"])
def test_other_attentions_cover_the_whole_map(arm):
    """Eq. 10-13, Eq. 1-3."""
    assert attended(arm, (3, 10)).all()


def test_no_attention_returns_zeros():
    stage = CONFIG.stages[0]
    x = torch.randn(2, SIDE, SIDE, stage.channels)
    assert not ARMS["none"].attention(stage)(x).any()


def test_block_without_attention_mixes_tokens_by_its_convolution_alone():
    """Without the norms, a token changes its neighbours in a 3 x 3 square only."""
    block = build(match_cost(ARMS["none"])).stages[0].blocks[0].double()
    without_norms(block.mlp)
    x = torch.randn(1, SIDE, SIDE, 16, dtype=torch.float64, requires_grad=True)
    block(x)[0, 5, 9].sum().backward()
    want = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    want[4:7, 8:11] = True
    assert torch.equal(x.grad[0].abs().sum(-1) > 0, want)


@pytest.mark.parametrize("reduction", [1, 2, 4])
def test_attention_of_pvt_has_the_parameters_of_its_formula(reduction):
    """Without a reduction there is neither a convolution nor a norm after it."""
    parameters = SpatialReduction(16, 2, reduction).parameters()
    assert sum(each.numel() for each in parameters) == pvt_cost(8, 8, 16, reduction).parameters
