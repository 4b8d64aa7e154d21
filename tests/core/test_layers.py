"""The layers around attention: PyTorch, batched, equals the reference image by image."""

import numpy as np
import torch
from torch.nn import functional as F

import reference
from hatnet.config import ceil_div
from hatnet.layers import ChannelDropout, Conv2d, DropPath, GroupNorm, average_pool
from hatnet.network import Downsample, Stem
from tests.cases import for_maps, stack
from tests.comparing import assert_layer, assert_same


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


def test_channel_dropout_drops_whole_channels_of_an_image():
    torch.manual_seed(0)
    channels = ChannelDropout(0.5).train()(torch.ones(50, 4, 5, 6)).permute(0, 3, 1, 2).flatten(2)
    assert ((channels == 0).all(2) | (channels == 2).all(2)).all()
    assert 0.3 < (channels == 0).double().mean() < 0.7


def test_the_reference_never_overflows():
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        assert np.isfinite(reference.silu(np.array([-1e4, 1e4]))).all()
        assert np.isfinite(reference.softmax(np.array([[1e4, -1e4, 0.0]]))).all()
