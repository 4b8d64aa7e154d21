"""Rollout through blocks, stages and convolutions equals the products of the reference's matrices."""

import dataclasses
from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given, settings

import reference
import reference.attention_maps as by_hand
from hatnet.maps.rollout import through_convolution, through_stem
from tests.cases import NETWORK_MUST_HIT, also, for_maps, network_cases
from tests.comparing import assert_same
from tests.maps.small import TINY, as_maps, end_to_end, random_rows


@for_maps
def test_going_back_through_a_convolution_is_a_product_with_its_receptive_field(case):
    """Figure 1: downsampling and the stem, at strides 1 to 3, on maps of odd and even sides."""
    size = case.height, case.width
    for stride in (1, 2, 3):
        small = dataclasses.replace(case, height=-(-size[0] // stride), width=-(-size[1] // stride))
        rows = random_rows(small)
        matrix = by_hand.receptive_field(size, stride)
        found = through_convolution(rows, size, stride)
        assert_same(found, np.stack([as_maps(one.reshape(-1, 3).numpy().T @ matrix, size) for one in rows]), case)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_receptive_field_covers_exactly_the_inputs_of_a_convolution(stride):
    """Figure 1: a single one in the input of a 3x3 convolution of the reference changes exactly these outputs."""
    H, W = 5, 6
    for place in range(H * W):
        x = np.zeros((H, W, 1))
        x[np.unravel_index(place, (H, W))] = 1
        answer = reference.conv2d(x, np.ones((1, 1, 3, 3)), np.zeros(1), stride).ravel()
        assert np.array_equal(answer > 0, by_hand.receptive_field((H, W), stride)[:, place] > 0)


@for_maps
def test_a_uniform_map_stays_uniform_through_a_convolution(case):
    """Figure 1: no grid and no border, at strides 1 and 2, on maps of odd and even sides."""
    for stride in (1, 2):
        h, w = -(-case.height // stride), -(-case.width // stride)
        even = torch.full((1, h, w, 1), 1 / (h * w), dtype=torch.float64)
        back = through_convolution(even, (case.height, case.width), stride)
        assert_same(back, np.full(back.shape, 1 / (case.height * case.width)), case)


@pytest.mark.parametrize("strides", [(2, 2), (1, 2), (2, 1), (1, 1)])
def test_going_back_to_pixels_goes_through_both_convolutions_of_the_stem(strides):
    """Figure 1: on images that the strides divide, and on others."""
    for size in ((8, 12), (9, 11)):
        tokens = [ceil(ceil(side / strides[0]) / strides[1]) for side in size]
        rows = torch.from_numpy(np.random.default_rng(1).uniform(size=(2, *tokens, 3)))
        want = [as_maps(one.reshape(-1, 3).numpy().T @ by_hand.stem_matrix(size, strides), size) for one in rows]
        assert_same(through_stem(rows, size, strides), np.stack(want), (size, strides))


@also(NETWORK_MUST_HIT)
@settings(max_examples=12)
@given(case=network_cases())
def test_numpy_and_pytorch_agree_on_every_map_of_a_block(case):
    """Eq. 1-14: local, global, composed and dense maps, of the mean of heads and of the last head."""
    _, _, maps, traces = end_to_end(case)
    for s, (stage, layout) in enumerate(zip(case.config.stages, maps.layouts, strict=True)):
        b, (H, W) = stage.depth - 1, layout.map
        block, query = f"stages.{s}.blocks.{b}", (H // 2, W - 1)
        row = query[0] * W + query[1]
        for head in (None, stage.heads - 1):
            dense = np.stack([by_hand.block_matrix(trace, stage, block, head) for trace in traces])
            assert_same(torch.from_numpy(maps.dense(s, b, head)), dense, case)
            found = torch.from_numpy(maps.composed(s, b, query, head))
            assert_same(found, dense[:, row].reshape(-1, H, W), case)
            assert_same(torch.from_numpy(sum(maps.parts(s, b, query, head))), found.numpy(), case)
            near, far, P = softmax_rows(traces, stage, layout, block, head, row)
            assert_same(torch.from_numpy(maps.global_(s, b, query, head)), far, case)
            over = (far.reshape(len(far), -1) @ P).reshape(-1, H, W)
            assert_same(torch.from_numpy(maps.global_(s, b, query, head, over_tokens=True)), over, case)
            if stage.grid_size is not None:
                assert_same(torch.from_numpy(maps.local(s, b, query, head)), near, case)


def softmax_rows(traces, stage, layout, block, head, row):
    """From the reference: rows L_i as maps and G_i as cells, and P; for plain attention None, A_i and the identity."""
    H, W = layout.map
    if stage.grid_size is None:
        far = [_head(trace[f"{block}.attention.weights"], head, 0)[row].reshape(H, W) for trace in traces]
        return None, np.stack(far), np.eye(H * W)
    near = [_head(trace[f"{block}.attention.local_weights"], head, 2) for trace in traces]
    near = [by_hand.local_matrix(one, (H, W), stage.grid_size)[row].reshape(H, W) for one in near]
    far = [_head(trace[f"{block}.attention.global_weights"], head, 0)[row].reshape(layout.merged) for trace in traces]
    return np.stack(near), np.stack(far), by_hand.pooling_matrix((H, W), stage.pool_size)


def _head(weights, head, axis):
    return weights.mean(axis=axis) if head is None else weights.take(head, axis=axis)


@also(NETWORK_MUST_HIT)
@settings(max_examples=8)
@given(case=network_cases())
def test_numpy_and_pytorch_agree_on_rollout(case):
    """Eq. 1-14: from one token, from the mean of all tokens, from an earlier block, and on to pixels."""
    _, _, maps, traces = end_to_end(case)
    for s, (stage, layout) in enumerate(zip(case.config.stages, maps.layouts, strict=True)):
        b, query = stage.depth - 1, (layout.map[0] // 2, layout.map[1] - 1)
        row = query[0] * layout.map[1] + query[1]
        rolled = np.stack([by_hand.rollout(trace, case.config, s, b) for trace in traces])
        first = np.stack([by_hand.rollout(trace, case.config, s, 0)[row] for trace in traces])
        for found, rows in (
            (maps.rollout(s, b, query), rolled[:, row]),
            (maps.rollout(s, b), rolled.mean(axis=1)),
            (maps.rollout(s, 0, query), first),
        ):
            assert_same(torch.from_numpy(found), by_hand.to_shares(rows).reshape(-1, *maps.layouts[0].map), case)
    stem = by_hand.stem_matrix(maps.size, case.config.stem_strides)
    pixels = torch.from_numpy(maps.rollout(pixels=True))
    assert_same(pixels, by_hand.to_shares(rolled.mean(axis=1) @ stem).reshape(-1, *maps.size), case)
    assert_same(pixels.sum(dim=(1, 2)), np.ones(case.batch), case)


def test_rollout_starts_from_any_block_of_a_stage():
    """Eq. 14: from the first, the middle or the last block, through the blocks before it alone."""
    case = dataclasses.replace(TINY, config=dataclasses.replace(TINY.config, depths=(3, 1)))
    _, _, maps, traces = end_to_end(case)
    for block in range(3):
        want = np.stack([by_hand.rollout(trace, case.config, 0, block)[0].reshape(5, 4) for trace in traces])
        assert_same(torch.from_numpy(maps.rollout(0, block, (0, 0))), want, case)
