"""The layers around attention, and the block: PyTorch, batched, equals the reference image by image."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import reference
from hatnet.attention import MHSA
from hatnet.config import Stage, ceil_div
from hatnet.hierarchical_attention import HMHSA
from hatnet.layers import ChannelDropout, Conv2d, DropPath, GroupNorm, average_pool
from hatnet.network import MLP, Block, Downsample, Stem
from tests.cases import MUST_HIT, for_maps, stack
from tests.comparing import assert_layer, assert_same, assert_traces


@for_maps
def test_a_projection_multiplies_every_token_by_the_matrix(case):
    """Eq. 1: X W + b."""
    assert_layer(case, torch.nn.Linear(case.channels, 7), lambda x, params: reference.linear(x, **params))


@for_maps
def test_group_norm_takes_its_statistics_over_the_whole_image(case):
    """D1: one mean and one variance per image, and an eps of 1e-6, which matters at scale 1e-3."""
    assert_layer(case, GroupNorm(case.channels), lambda x, params: reference.group_norm(x, **params))


@for_maps
def test_group_norm_is_pytorchs_with_one_group(case):
    """D1, against a third implementation."""
    layer, _ = case.filled(GroupNorm(case.channels))
    x = torch.from_numpy(case.maps())
    theirs = F.group_norm(x.permute(0, 3, 1, 2), 1, layer.weight, layer.bias, eps=1e-6).permute(0, 2, 3, 1)
    assert_same(layer(x), theirs.detach().numpy(), case)


@for_maps
def test_convolutions(case):
    """Figure 1: stem and downsampling halve the map, rounding up. D7: each channel of the MLP has its own kernel."""
    C, K = case.channels, case.kernel_size
    strided = Conv2d(C, 5, K, stride=2)
    assert_layer(case, strided, lambda x, params: reference.conv2d(x, **params, stride=2))
    maps = strided(torch.from_numpy(case.maps()))
    assert maps.shape[1:3] == (ceil_div(case.height, 2), ceil_div(case.width, 2))
    depthwise = Conv2d(C, C, K, groups=C, bias=False)
    assert_layer(case, depthwise, lambda x, params: reference.depthwise_conv2d(x, **params))


@for_maps
def test_silu(case):
    """Sec. 3.4, also where e^x overflows."""
    x = 100 * case.maps()
    assert_same(F.silu(torch.from_numpy(x)), reference.silu(x), case)


@for_maps
def test_pooling_averages_the_tokens_that_each_cell_has(case):
    """Eq. 10, D6."""
    x = case.maps()
    got = average_pool(torch.from_numpy(x), case.pool_size)
    assert_same(got, stack(lambda image: reference.average_pool(image, case.pool_size), x), case)


@for_maps
def test_pooling_keeps_a_constant_map(case):
    """Eq. 10, D6: counting padding would make means smaller."""
    x = torch.full((1, case.height, case.width, 1), 3.0, dtype=torch.float64)
    assert (average_pool(x, case.pool_size) == 3).all()


@for_maps
def test_stem(case):
    """Figure 1: the convolution block."""
    assert_layer(case, Stem(case.channels, 4, 6, (2, 2)), reference.stem)


@for_maps
def test_downsampling(case):
    """Figure 1: convolution, then norm."""
    assert_layer(case, Downsample(case.channels, 6), reference.downsample)


def test_drop_path_drops_branches_per_image_and_keeps_the_mean():
    torch.manual_seed(0)
    drop, x = DropPath(0.25).train(), torch.ones(4000, 2, 3, 4)
    y = drop(x).flatten(1)
    assert ((y == 0).all(1) | (y == 1 / 0.75).all(1)).all()
    assert abs(y.mean() - 1) < 0.03  # 4 standard deviations: 4 sqrt(0.25 / 0.75 / 4000) = 0.037
    assert (drop.eval()(x) == x).all()


def test_drop_path_can_be_set_later_from_zero_and_back():
    """D9."""
    torch.manual_seed(0)
    drop, x = DropPath(0.0).train(), torch.ones(64, 1, 1, 1)
    for rate in (0.0, 0.5, 0.0):
        drop.rate = rate
        assert torch.equal(drop(x), x) == (rate == 0)


def test_a_drop_path_of_rate_zero_draws_no_random_numbers():
    """Otherwise a training without stochastic depth would depend on the number of blocks."""
    state, x = torch.get_rng_state(), torch.ones(2, 3, 3, 2)
    assert DropPath(0.0).train()(x) is x
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("hierarchical", [True, False], ids=["hierarchical", "plain"])
def test_layers_drop_nothing_unless_a_rate_is_given(hierarchical):
    layers = [Block(stage_of(MUST_HIT[0], hierarchical)), MLP(12, 24, 3), MHSA(12, 3), HMHSA(12, 3, 4, 2)]
    x = torch.from_numpy(MUST_HIT[0].maps()).float()
    for layer in layers:
        assert torch.equal(layer.train()(x), layer.eval()(x))


def test_channel_dropout_drops_whole_channels_of_an_image():
    torch.manual_seed(0)
    channels = ChannelDropout(0.5).train()(torch.ones(50, 4, 5, 6)).permute(0, 3, 1, 2).flatten(2)
    assert ((channels == 0).all(2) | (channels == 2).all(2)).all()
    assert 0.3 < (channels == 0).double().mean() < 0.7


def test_the_reference_never_overflows():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert np.isfinite(reference.silu(np.array([-1e4, 1e4]))).all()
        assert np.isfinite(reference.softmax(np.array([[1e4, -1e4, 0.0]]))).all()


def stage_of(case, hierarchical):
    """A stage with the sizes of the case, hierarchical or plain."""
    G1, G2 = (case.grid_size, case.pool_size) if hierarchical else (None, None)
    return Stage(case.channels, 1, case.heads, case.kernel_size, case.expansion, G1, G2, stride=4)


@for_maps
def test_mlp(case):
    """Eq. 4, D7: norm, expand, SiLU, depthwise, SiLU, contract, norm."""
    assert_layer(case, MLP(case.channels, case.expansion * case.channels, case.kernel_size), reference.mlp)


@pytest.mark.parametrize("hierarchical", [True, False], ids=["hierarchical", "plain"])
@for_maps
def test_a_block_adds_attention_and_mlp_to_their_inputs(hierarchical, case):
    """Eq. 14 (Eq. 3 in the last stage), then Eq. 4."""
    stage = stage_of(case, hierarchical)
    layer, params = case.filled(Block(stage))
    assert_traces(case, layer, lambda x, trace: reference.block(x, params, stage, trace))


def dropping(**rates):
    """A block with dropout, and maps for it."""
    torch.manual_seed(0)
    layer, _ = MUST_HIT[0].filled(Block(stage_of(MUST_HIT[0], hierarchical=True), **rates))
    return layer, torch.from_numpy(MUST_HIT[0].maps())


def test_drop_path_drops_the_branches_but_never_the_residual():
    """Eq. 4, D9."""
    layer, x = dropping(drop_path_rate=1 - 1e-12)
    assert torch.equal(layer.train()(x), x)
    assert not torch.equal(layer.eval()(x), x)


def test_channel_dropout_of_attention_and_mlp_is_off_in_evaluation():
    layer, x = dropping(drop_rate=0.5)
    assert torch.equal(layer(x), layer(x))
    assert not torch.equal(layer.train()(x), layer(x))


@pytest.mark.parametrize("size", [-1, 0, 1.5, True])
def test_windows_and_cells_have_a_size_of_at_least_one_token(size):
    x, refusals = np.ones((4, 5, 2)), []
    qkv = {"local_attention.qkv.weight": np.ones((6, 2)), "local_attention.qkv.bias": np.ones(6)}
    for call in (lambda: reference.average_pool(x, size), lambda: reference.local_attention(x, qkv, 1, size)):
        try:
            refusals.append(f"answer {call()}")
        except (ValueError, TypeError) as error:
            refusals.append(str(error))
    assert f"G2={size} must be" in refusals[0]
    assert f"G1={size} must be" in refusals[1]
