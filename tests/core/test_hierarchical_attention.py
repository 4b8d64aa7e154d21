"""H-MHSA, Eq. 6-14: PyTorch, batched and fused, equals the reference image by image."""

from unittest.mock import patch

import numpy as np
import pytest
import torch

import hatnet.hierarchical_attention as module
import reference
from hatnet.attention import MHSA
from hatnet.hierarchical_attention import HMHSA, from_windows, to_windows, window_mask
from tests.cases import MUST_HIT, for_maps, stack
from tests.comparing import assert_same, assert_traces


def layer_of(case, **changes):
    """An H-MHSA for the case, and its parameters for the reference."""
    sizes = {"grid_size": case.grid_size, "pool_size": case.pool_size} | changes
    return case.filled(HMHSA(case.channels, case.heads, **sizes))


def window_of(case):
    """The size of a full window: G1, or the whole map if that is smaller."""
    return min(case.grid_size, case.height), min(case.grid_size, case.width)


@for_maps
def test_windows_are_the_slices_of_the_map(case):
    """Eq. 6, D6: row by row from the top left, with zeros beyond the border."""
    x, (g, h) = case.maps(), window_of(case)
    got = to_windows(torch.from_numpy(x), (g, h)).unflatten(0, (case.batch, -1))
    for image, windows in zip(x, got.numpy(), strict=True):
        slices = list(reference.windows(case.height, case.width, case.grid_size))
        assert len(slices) == len(windows)
        for (_, _, place), tokens in zip(slices, windows.reshape(-1, g, h, case.channels), strict=True):
            m, n, _ = image[place].shape
            assert np.array_equal(tokens[:m, :n], image[place])
            assert not tokens[m:].any()
            assert not tokens[:, n:].any()


@for_maps
def test_putting_windows_back_undoes_cutting_them(case):
    """Eq. 8 is the inverse of Eq. 6."""
    x = torch.from_numpy(case.maps())
    assert torch.equal(from_windows(to_windows(x, window_of(case)), window_of(case), x.shape[1:3]), x)


@for_maps
def test_the_mask_marks_the_tokens_on_the_map(case):
    """D6. If G1 divides the map there is no mask, and no cost."""
    x, (g, h) = torch.ones(case.batch, case.height, case.width, 1), window_of(case)
    mask = window_mask(x, (g, h))
    if case.height % g == 0 and case.width % h == 0:
        assert mask is None
    else:
        assert torch.equal(mask[:, 0, 0], to_windows(x, (g, h))[:, :, 0] == 1)
        assert mask.sum() == case.batch * case.height * case.width


@for_maps
def test_local_attention(case):
    """Eq. 6-8: attention inside each window."""
    layer, params = layer_of(case)
    x = case.maps()
    want = stack(lambda image: reference.local_attention(image, params, case.heads, case.grid_size), x)
    assert_same(layer.local_attention(torch.from_numpy(x), layer.grid_size), want, case)


@for_maps
def test_merging(case):
    """Eq. 10, D3: average pooling, then norm."""
    layer, params = layer_of(case)
    x = case.maps()
    want = stack(lambda image: reference.merge(image, params, case.pool_size), x)
    assert_same(layer.merge(torch.from_numpy(x), case.pool_size), want, case)


@for_maps
def test_global_attention(case):
    """Eq. 11-13: every token attends to all merged tokens."""
    layer, params = layer_of(case)
    x = case.maps()
    merged = x[:, :: case.pool_size, :: case.pool_size] + 1
    got = layer.global_attention(torch.from_numpy(x), torch.from_numpy(merged))
    want = [reference.global_attention(one, few, params, case.heads) for one, few in zip(x, merged, strict=True)]
    assert_same(got, np.stack(want), case)


@for_maps
def test_h_mhsa_equals_the_reference_image_by_image(case):
    """Eq. 6-14, with every intermediate."""
    layer, params = layer_of(case)
    sizes = case.heads, case.grid_size, case.pool_size
    assert_traces(case, layer, lambda x, trace: reference.h_mhsa(x, params, *sizes, trace))


@for_maps
def test_weights_in_a_trace_sum_to_one_over_the_tokens_on_the_map(case):
    """Eq. 2, 7, 12: padding neither gives nor receives weight. A trace changes no bit of the output."""
    layer, _ = layer_of(case)
    x, trace = torch.from_numpy(case.maps()), {}
    assert torch.equal(layer(x, trace), layer(x))
    g, h = window_of(case)
    ones = torch.ones(1, case.height, case.width, 1, dtype=torch.float64)
    present = to_windows(ones, (g, h))[:, :, 0].unflatten(0, trace["local_weights"].shape[1:3])  # (rows, columns, g h)
    rows, keys = trace["local_weights"].sum(-1), trace["local_weights"].sum(-2)
    assert (rows - present[None, :, :, None]).abs().max() < 1e-14
    assert (keys * (1 - present[None, :, :, None])).abs().max() == 0
    assert (trace["global_weights"].sum(-1) - 1).abs().max() < 1e-14


@for_maps
def test_permuting_windows_permutes_the_local_output(case):
    """Eq. 6-8: windows are independent. Only whole windows, since those at the border have other sizes."""
    g, h = window_of(case)
    rows, columns = max(case.height // g, 1), max(case.width // h, 1)
    layer, _ = layer_of(case)
    x = torch.from_numpy(case.maps())[:, : rows * g, : columns * h]
    order = torch.from_numpy(np.random.default_rng(case.seed).permutation(rows * columns))

    def shuffle(maps):
        tokens = to_windows(maps, (g, h)).unflatten(0, (case.batch, -1))[:, order].flatten(0, 1)
        return from_windows(tokens, (g, h), (rows * g, columns * h))

    got, want = layer.local_attention(shuffle(x), layer.grid_size), shuffle(layer.local_attention(x, layer.grid_size))
    assert_same(got, want.detach().numpy(), case)


@for_maps
def test_a_window_as_large_as_the_map_gives_plain_attention(case):
    """Eq. 6-8 with G1 >= H, W equal Eq. 1-2."""
    layer, _ = layer_of(case, grid_size=max(case.height, case.width))
    x = torch.from_numpy(case.maps())
    plain = MHSA(case.channels, case.heads).double()
    plain.qkv, plain.norm, plain.projection = layer.local_attention.qkv, torch.nn.Identity(), torch.nn.Identity()
    assert_same(layer.local_attention(x, layer.grid_size), plain(x).detach().numpy(), case)


@for_maps
def test_with_cells_of_one_token_global_attention_is_over_all_tokens(case):
    """Eq. 10-13 with G2 = 1: nothing is merged, so keys and values come from the normalised tokens themselves."""
    layer, params = layer_of(case, pool_size=1)
    x = case.maps()
    maps = torch.from_numpy(x)
    assert torch.equal(layer.merge(maps, 1), layer.merge.norm(maps))

    def plain(image):
        X = image.reshape(-1, case.channels)
        normed = reference.group_norm(image, **reference.within(params, "merge.norm")).reshape(X.shape)
        Q = reference.linear(X, **reference.within(params, "global_attention.q"))
        K, V = np.split(reference.linear(normed, **reference.within(params, "global_attention.kv")), 2, axis=1)
        return reference.multi_head_attention(Q, K, V, case.heads)[0].reshape(image.shape)

    assert_same(layer.global_attention(maps, layer.merge(maps, 1)), stack(plain, x), case)


@for_maps
def test_the_order_of_a_batch_does_not_matter(case):
    """Eq. 6-14 concern one image, whatever else is in the batch."""
    layer, _ = layer_of(case)
    x = torch.from_numpy(case.maps())
    one_by_one = torch.cat([layer(image[None]) for image in x.flip(0)]).flip(0)
    assert_same(layer(x), one_by_one.detach().numpy(), case)


@for_maps
def test_masked_and_unmasked_paths_agree(case):
    """D6: a mask that hides nothing changes nothing."""
    layer, _ = layer_of(case)
    g, h = window_of(case)
    x = torch.from_numpy(case.maps())[:, : max(case.height // g, 1) * g, : max(case.width // h, 1) * h]
    assert window_mask(x, (g, h)) is None
    want = layer(x).detach().numpy()
    mask = torch.ones(len(to_windows(x, (g, h))), 1, 1, g * h, dtype=torch.bool)
    with patch.object(module, "window_mask", lambda *_: mask):
        assert_same(layer(x), want, case)


@for_maps
def test_a_token_affects_its_own_window_only(case):
    """Eq. 6-8: changing a token changes every output in its window, and none outside."""
    layer, _ = layer_of(case)
    x = torch.from_numpy(np.random.default_rng(case.seed).standard_normal(case.maps().shape))
    y = x.clone()
    y[:, 0, 0] += 1
    changed = (layer.local_attention(x, case.grid_size) != layer.local_attention(y, case.grid_size)).any(-1)
    inside = torch.zeros_like(changed)
    inside[:, : case.grid_size, : case.grid_size] = True
    assert torch.equal(changed, inside)


@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 3)])
def test_gradients_of_inputs_and_parameters_are_central_differences(height, width):
    """Eq. 6-14, with whole windows and with masked ones."""
    torch.manual_seed(0)
    layer, _ = MUST_HIT[0].filled(HMHSA(4, 2, grid_size=2, pool_size=2))
    x = torch.randn(2, height, width, 4, dtype=torch.float64, requires_grad=True)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def run(x, *values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True)


def test_g1_and_g2_can_be_changed_at_any_time():
    """Sec. 3.3: they hold no parameters."""
    case = MUST_HIT[0]
    layer, params = layer_of(case)
    layer.grid_size, layer.pool_size = 3, 5
    assert_traces(case, layer, lambda x, trace: reference.h_mhsa(x, params, case.heads, 3, 5, trace))
