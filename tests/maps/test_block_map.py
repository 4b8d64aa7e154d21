"""The maps of one block equal the rows of their matrices: windows, cells, and all paths together."""

import numpy as np
import torch
from hypothesis import given, settings
from torch import nn

import hatnet
import reference
import reference.attention_maps as by_hand
from hatnet.hierarchical_attention import HMHSA
from hatnet.layers import GroupNorm
from hatnet.maps import HIERARCHICAL, PLAIN
from hatnet.maps.block_map import Head, through_block
from hatnet.maps.cells import through_cells
from hatnet.maps.unfused_attention import unfused_attention
from hatnet.maps.windows import local_map, through_windows
from tests.cases import MUST_HIT, also, for_maps, map_cases
from tests.comparing import assert_same
from tests.maps.small import as_maps, random_rows


def traced(case):
    """The trace of an H-MHSA for the maps of the case."""
    layer, _ = case.filled(HMHSA(case.channels, case.heads, case.grid_size, case.pool_size))
    trace = {}
    with torch.inference_mode():
        layer(torch.from_numpy(case.maps()), trace)
    return trace


def heads_of(case, trace):
    window = min(case.grid_size, case.height), min(case.grid_size, case.width)
    return [
        Head(trace["global_weights"][:, head], case.pool_size, trace["local_weights"][:, :, :, head], window)
        for head in range(case.heads)
    ]


def matrices(case, trace, image, head):
    """L, G and P of the reference for one image and head."""
    size = case.height, case.width
    L = by_hand.local_matrix(trace["local_weights"][image, :, :, head].numpy(), size, case.grid_size)
    return L, trace["global_weights"][image, head].numpy(), by_hand.pooling_matrix(size, case.pool_size)


@for_maps
def test_a_local_map_sums_to_one_and_is_zero_outside_its_window(case):
    """Eq. 6-8: inside the window it is the softmax row of its query, for every head."""
    trace, size = traced(case), (case.height, case.width)
    for head, one in enumerate(heads_of(case, trace)):
        for row, column, (down, across) in reference.windows(*size, case.grid_size):
            query = min(down.stop, size[0]) - 1, min(across.stop, size[1]) - 1  # its last token on the map
            found = local_map(one.near, one.window, size, query)
            assert_same(found.sum(dim=(1, 2)), np.ones(case.batch), case)
            number = (query[0] - down.start) * one.window[1] + query[1] - across.start
            softmax_row = trace["local_weights"][:, row, column, head, number].unflatten(-1, one.window)
            inside = found[:, down, across].clone()
            assert torch.equal(inside, softmax_row[:, : inside.shape[1], : inside.shape[2]])
            found[:, down, across] = 0
            assert not found.any()


@for_maps
def test_going_back_through_windows_and_cells_is_a_product_with_their_matrices(case):
    """Eq. 6-13: r L and r G P, for any rows r. Merging averages (Eq. 10), so P shares a cell equally."""
    trace, size, rows = traced(case), (case.height, case.width), random_rows(case)
    flat = rows.flatten(1, 2).transpose(1, 2).numpy()  # (B, R, HW)
    for head, one in enumerate(heads_of(case, trace)):
        near, far = [], []
        for image in range(case.batch):
            L, G, P = matrices(case, trace, image, head)
            near.append(as_maps(flat[image] @ L, size))
            far.append(as_maps(flat[image] @ G @ P, size))
        assert_same(through_windows(rows, one.near, one.window), np.stack(near), case)
        assert_same(through_cells(rows, one.far, one.pool_size), np.stack(far), case)


@for_maps
def test_the_composed_map_and_its_parts_equal_the_dense_products(case):
    """Eq. 9-14: [2I + L + G P (I + L)] / 5 of each head, then the mean; parts sum to 2/5, 1/5 and 2/5."""
    trace, size = traced(case), (case.height, case.width)
    I = np.eye(size[0] * size[1])  # noqa: E741 the identity
    found = through_block(torch.from_numpy(I).view(1, *size, -1).expand(case.batch, -1, -1, -1), heads_of(case, trace))
    for image in range(case.batch):
        each = [matrices(case, trace, image, head) for head in range(case.heads)]
        want = (
            2 / 5 * I,
            np.mean([L / 5 for L, _, _ in each], axis=0),
            np.mean([G @ P @ (I + L) / 5 for L, G, P in each], axis=0),
        )
        for part, matrix, share in zip(found, want, (2 / 5, 1 / 5, 2 / 5), strict=True):
            assert_same(part[image], as_maps(matrix, size), case)
            assert_same(part[image].sum(dim=(0, 1)), np.full(len(I), share), case)
        whole = np.mean([by_hand.composed_matrix(*one) for one in each], axis=0)
        assert_same(torch.stack(found).sum(dim=0)[image], as_maps(whole, size), case)


def test_every_path_through_a_block_has_the_same_share():
    """Eq. 14 has five paths, two of them residuals; Eq. 3 has two."""
    assert HIERARCHICAL == (2 / 5, 1 / 5, 1 / 5, 1 / 5)
    assert PLAIN == (1 / 2, 0, 1 / 2, 0)


def linear_values(layer):
    """Replace norms, W^v and W^p by the identity, and remove biases. Queries and keys stay as they are."""
    identity = torch.eye(layer.projection.weight.shape[0], dtype=torch.float64)
    with torch.no_grad():
        for name, module in list(layer.named_modules()):
            if isinstance(module, GroupNorm):
                layer.set_submodule(name, nn.Identity())
            elif name.endswith("kv"):
                module.weight[-len(identity) :] = identity
                module.bias[-len(identity) :] = 0
        layer.projection.weight.copy_(identity)
        layer.projection.bias.zero_()


def assert_jacobian(case, layer, heads_of, paths):
    """F times the number of paths is the Jacobian of `layer(x) + x`: each head on its own channels, weights fixed."""
    linear_values(layer)
    x = torch.from_numpy(case.maps()[:1] / case.scale)  # unscaled, because 30 without norms saturates every softmax
    trace, N = {}, case.height * case.width
    with torch.no_grad():
        layer(x, trace)
    with unfused_attention(frozen=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: layer(x) + x, x)
    jacobian = jacobian.reshape(N, case.channels, N, case.channels)
    every = torch.eye(N, dtype=torch.float64).view(1, case.height, case.width, -1)
    for channel in range(case.channels):
        parts = through_block(every, [heads_of(case, trace)[channel // case.head_dim]])
        dense = paths * torch.stack(parts).sum(dim=0)[0].flatten(0, 1).T  # (HW, HW)
        assert_same(jacobian[:, channel, :, channel], dense.numpy(), case)
        others = [other for other in range(case.channels) if other != channel]
        assert not jacobian[:, channel][:, :, others].any()


@also(MUST_HIT)
@settings(max_examples=25)
@given(case=map_cases)
def test_five_times_the_composed_map_is_the_jacobian_of_linear_values(case):
    """Eq. 6-14 with `+ X`, by autograd through the real layer."""
    layer, _ = case.filled(HMHSA(case.channels, case.heads, case.grid_size, case.pool_size))
    assert_jacobian(case, layer, heads_of, paths=5)


@also(MUST_HIT[:3])
@settings(max_examples=15)
@given(case=map_cases)
def test_twice_the_composed_map_of_plain_attention_is_the_jacobian_of_linear_values(case):
    """Eq. 1-3 with `+ X`."""
    layer, _ = case.filled(hatnet.MHSA(case.channels, case.heads))
    assert_jacobian(case, layer, lambda _, trace: [Head(one) for one in trace["weights"].unbind(1)], paths=2)
