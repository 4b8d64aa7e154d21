"""The attention of related networks: each module against its definition, token by token."""

from itertools import product
from math import sqrt

import torch
from torch.nn import functional as F

import reference
from hatnet.equivalence import TOLERANCES, relative_error
from hatnet.relatives import PVTAttention, PVTv2LinearAttention, SwinAttention, TwinsAttention
from tests.cases import for_maps

TOLERANCE = TOLERANCES[torch.float64]


def attend(Q, K, V, heads, scores=0.0):
    """Eq. 2 for one query (C,) and its keys (M, C); `scores` (heads, M) are added before the softmax."""
    q, k, v = (x.unflatten(-1, (heads, -1)) for x in (Q, K, V))
    weights = ((k * q).sum(-1).T / sqrt(q.shape[-1]) + scores).softmax(-1)  # (heads, M)
    return torch.einsum("hm,mhd->hd", weights, v).flatten()


def attend_each(Q, K, V, heads):
    return torch.stack([torch.stack([attend(q, K, V, heads) for q in row]) for row in Q])


def run(case, module):
    """The module with random parameters, the first map of the batch, and the module's output for it."""
    layer, _ = case.filled(module)
    maps = torch.from_numpy(case.maps())
    with torch.no_grad():
        return layer, maps[0], layer(maps)[0]


def merged_attention(layer, x, merged, heads):
    K, V = layer.kv(merged.flatten(0, 1)).chunk(2, dim=-1)
    return layer.projection(attend_each(layer.q(layer.norm(x)), K, V, heads))


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


@for_maps
@torch.no_grad()
def test_swin_attends_within_its_windows_shifted_or_not(case):
    """A token's window is its position, less the shift, divided by M; an axis with one window has no shift."""
    module = SwinAttention(case.channels, case.heads, case.grid_size, shift=case.seed % case.grid_size)
    layer, x, got = run(case, module)
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
    assert relative_error(got, layer.projection(want)) < TOLERANCE, case


@for_maps
@torch.no_grad()
def test_pvt_attends_to_strided_cells(case):
    layer, x, got = run(case, PVTAttention(case.channels, case.heads, case.pool_size))
    want = merged_attention(layer, x, strided(layer, layer.norm(x)), case.heads)
    assert relative_error(got, want) < TOLERANCE, case


@for_maps
@torch.no_grad()
def test_pvt_v2_attends_to_a_fixed_number_of_averages(case):
    layer, x, got = run(case, PVTv2LinearAttention(case.channels, case.heads, case.pool_size))
    (H, W, C), P, normed = x.shape, layer.pooled, layer.norm(x)
    averages = torch.empty(P, P, C, dtype=x.dtype)
    for i, j in product(range(P), range(P)):  # cells share tokens where P does not divide the map
        cell = normed[i * H // P : -(-(i + 1) * H // P), j * W // P : -(-(j + 1) * W // P)]
        averages[i, j] = cell.mean(dim=(0, 1))
    merged = F.gelu(layer.reduce_norm(layer.reduce(averages)))
    assert relative_error(got, merged_attention(layer, x, merged, case.heads)) < TOLERANCE, case


@for_maps
@torch.no_grad()
def test_twins_attends_within_windows_then_to_strided_cells(case):
    """With the residual connections of its two layers, except that of the input, which the block adds."""
    layer, x, got = run(case, TwinsAttention(case.channels, case.heads, case.grid_size, case.pool_size))
    Q, K, V = layer.local_attention.qkv(layer.norm(x)).chunk(3, dim=-1)
    near = torch.empty_like(x)
    for _, _, window in reference.windows(case.height, case.width, case.grid_size):
        near[window] = attend_each(Q[window], K[window].flatten(0, 1), V[window].flatten(0, 1), case.heads)
    near = layer.local_projection(near)
    far = merged_attention(layer.far, x + near, strided(layer.far, layer.far.norm(x + near)), case.heads)
    assert relative_error(got, near + far) < TOLERANCE, case
