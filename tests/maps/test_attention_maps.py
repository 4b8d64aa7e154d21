"""Attention maps: each is a row of the matrix it stands for, and the matrix is what the block does."""

import dataclasses
from math import ceil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

import hatnet
import reference
import reference.attention_maps as by_hand
from hatnet.complexity import attention_weights, network
from hatnet.complexity.memory import saved
from hatnet.config import HATNetConfig
from hatnet.equivalence import TOLERANCES, run_model, run_reference
from hatnet.hierarchical_attention import HMHSA
from hatnet.maps import HIERARCHICAL, PLAIN, attention_maps, token_at
from hatnet.maps.unfused_attention import unfused_attention
from hatnet.maps.block_map import Head, through_block
from hatnet.maps.cells import spread, through_cells
from hatnet.maps.class_map import relevances, weights_and_gradients
from hatnet.maps.memory import require_memory
from hatnet.maps.rollout import through_convolution, through_stem
from hatnet.maps.windows import local_map, through_windows
from tests.cases import MUST_HIT, NETWORK_MUST_HIT, NetworkCase, also, map_cases, network_cases
from tests.comparing import assert_same


def traced(case):
    """An H-MHSA's trace for the case's maps, and all that maps are computed from."""
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


def random_rows(case, count=3):
    """Maps of any weights at all, (B, H, W, count)."""
    shape = (case.batch, case.height, case.width, count)
    return torch.from_numpy(np.random.default_rng(case.seed).uniform(size=shape))


def queries(height, width):
    """The corners and the middle."""
    return {(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1), (height // 2, width // 2)}


def as_maps(rows, size):
    """Rows (R, HW) as maps (H, W, R)."""
    return np.moveaxis(rows.reshape(-1, *size), 0, -1)


# One block: windows, cells, and their composition


@also(MUST_HIT)
@given(case=map_cases)
def test_the_local_map_sums_to_one_and_is_zero_outside_the_window_of_its_query(case):
    """Eq. 6-8: and within it is the query's softmax row, for every head."""
    trace = traced(case)
    size = case.height, case.width
    for head, one in enumerate(heads_of(case, trace)):
        for query in queries(*size):
            found = local_map(one.near, one.window, size, query)
            assert_same(found.sum(dim=(1, 2)), np.ones(case.batch), case)
            (inside,) = [
                (row, column, place)
                for row, column, place in reference.windows(*size, case.grid_size)
                if all(part.start <= at < part.stop for part, at in zip(place, query, strict=True))
            ]
            row, column, place = inside
            outside = torch.ones(size, dtype=torch.bool)
            outside[place] = False
            assert not found[:, outside].any()
            m, n = found[0][place].shape
            number = (query[0] - place[0].start) * one.window[1] + query[1] - place[1].start
            softmax_row = trace["local_weights"][:, row, column, head, number].unflatten(-1, one.window)
            assert torch.equal(found[:, place[0], place[1]], softmax_row[:, :m, :n])


@also(MUST_HIT)
@given(case=map_cases)
def test_spreading_gives_each_token_an_equal_share_of_its_cell(case):
    """Eq. 10: as merging averages, so G P of the reference; sums stay what they were."""
    trace, size = traced(case), (case.height, case.width)
    cells = trace["global_weights"][:, :, 0].unflatten(-1, trace["merged"].shape[1:3])
    assert torch.allclose(cells.sum(dim=(2, 3)), torch.ones((), dtype=cells.dtype))
    for head in range(case.heads):
        found = spread(cells[:, head], size, case.pool_size)
        want = [
            (trace["global_weights"][image, head, :1].numpy() @ by_hand.pooling_matrix(size, case.pool_size)).reshape(
                size
            )
            for image in range(case.batch)
        ]
        assert_same(found, np.stack(want), case)


@also(MUST_HIT)
@given(case=map_cases)
def test_going_back_through_windows_and_cells_is_a_product_with_their_matrices(case):
    """Eq. 6-13: r L and r G P, for any rows r."""
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


@also(MUST_HIT)
@given(case=map_cases)
def test_the_composed_map_is_the_dense_product_and_its_parts_are_the_parts(case):
    """Eq. 9-14: [2I + L + G P (I + L)] / 5 of each head, then the mean; rows sum to one, parts to 2/5, 1/5, 2/5."""
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


def test_shares_sum_to_one_and_count_every_way_once():
    """Eq. 14 has five ways, two of them residuals; Eq. 3 has two."""
    assert HIERARCHICAL == (2 / 5, 1 / 5, 1 / 5, 1 / 5)
    assert PLAIN == (1 / 2, 0, 1 / 2, 0)


def linear_values(layer):
    """Leave the values alone: norms, W^v and W^p the identity, no biases. Queries and keys stay as they are."""
    identity = torch.eye(layer.projection.weight.shape[0], dtype=torch.float64)
    with torch.no_grad():
        for name in ("norm", "local_norm", "merge_norm"):
            if hasattr(layer, name):
                setattr(layer, name, nn.Identity())
        for name in ("local_qkv", "global_kv", "qkv"):
            if hasattr(layer, name):
                getattr(layer, name).weight[-len(identity) :] = identity
                getattr(layer, name).bias[-len(identity) :] = 0
        layer.projection.weight.copy_(identity)
        layer.projection.bias.zero_()


@also(MUST_HIT)
@settings(max_examples=25)
@given(case=map_cases)
def test_with_linear_values_five_times_the_composed_map_is_the_jacobian(case):
    """Eq. 6-14 with `+ X`: of each head on its own channels, weights held fixed, by autograd through the real layer."""
    layer, _ = case.filled(HMHSA(case.channels, case.heads, case.grid_size, case.pool_size))
    linear_values(layer)
    x = torch.from_numpy(case.maps()[:1] / case.scale)  # without norms, a scale of 30 saturates every softmax
    trace, size = {}, (case.height, case.width)
    layer(x, trace)
    heads = heads_of(case, {name: value.detach() for name, value in trace.items()})
    with unfused_attention(frozen=True):
        jacobian = torch.autograd.functional.jacobian(lambda x: layer(x) + x, x)
    jacobian = jacobian.reshape(size[0] * size[1], case.channels, size[0] * size[1], case.channels)
    every = torch.eye(size[0] * size[1], dtype=torch.float64).view(1, *size, -1)
    for channel in range(case.channels):
        parts = through_block(every, [heads[channel // case.head_dim]])
        dense = 5 * torch.stack(parts).sum(dim=0)[0].flatten(0, 1).T  # (HW, HW)
        assert_same(jacobian[:, channel, :, channel], dense.numpy(), case)
        others = [other for other in range(case.channels) if other != channel]
        assert not jacobian[:, channel][:, :, others].any()


@also(MUST_HIT[:3])
@settings(max_examples=15)
@given(case=map_cases)
def test_with_linear_values_twice_the_composed_map_of_plain_attention_is_the_jacobian(case):
    """Eq. 1-3 with `+ X`."""
    layer, _ = case.filled(hatnet.MHSA(case.channels, case.heads))
    linear_values(layer)
    x = torch.from_numpy(case.maps()[:1] / case.scale)
    with unfused_attention(frozen=True) as weights:
        jacobian = torch.autograd.functional.jacobian(lambda x: layer(x) + x, x)
    N = case.height * case.width
    jacobian = jacobian.reshape(N, case.channels, N, case.channels)
    every = torch.eye(N, dtype=torch.float64).view(1, case.height, case.width, -1)
    for channel in range(case.channels):
        head = Head(weights["weights"][:, channel // case.head_dim])
        dense = 2 * torch.stack(through_block(every, [head])).sum(dim=0)[0].flatten(0, 1).T
        assert_same(jacobian[:, channel, :, channel], dense.numpy(), case)


# Convolutions between stages


@also(MUST_HIT)
@given(case=map_cases)
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
def test_a_receptive_field_is_where_a_convolution_of_ones_looks(stride):
    """Figure 1: a 3x3 convolution of the reference answers at exactly these outputs to a single one in its input."""
    H, W = 5, 6
    for place in range(H * W):
        x = np.zeros((H, W, 1))
        x[np.unravel_index(place, (H, W))] = 1
        answer = reference.conv2d(x, np.ones((1, 1, 3, 3)), np.zeros(1), stride).ravel()
        assert np.array_equal(answer > 0, by_hand.receptive_field((H, W), stride)[:, place] > 0)


@also(MUST_HIT)
@given(case=map_cases)
def test_a_convolution_draws_nothing_into_an_even_map(case):
    """Figure 1: no grid and no border, at strides 1 and 2, on maps of odd and even sides."""
    for stride in (1, 2):
        h, w = -(-case.height // stride), -(-case.width // stride)
        even = torch.full((1, h, w, 1), 1 / (h * w), dtype=torch.float64)
        back = through_convolution(even, (case.height, case.width), stride)
        assert_same(back, np.full(back.shape, 1 / (case.height * case.width)), case)


@pytest.mark.parametrize("strides", [(2, 2), (1, 2), (2, 1), (1, 1)])
def test_back_to_pixels_is_back_through_both_convolutions_of_the_stem(strides):
    """Figure 1: on images that the strides do and don't divide."""
    for size in ((8, 12), (9, 11)):
        tokens = [ceil(ceil(side / strides[0]) / strides[1]) for side in size]
        rows = torch.from_numpy(np.random.default_rng(1).uniform(size=(2, *tokens, 3)))
        want = [as_maps(one.reshape(-1, 3).numpy().T @ by_hand.stem_matrix(size, strides), size) for one in rows]
        assert_same(through_stem(rows, size, strides), np.stack(want), (size, strides))


# The whole network


def end_to_end(case):
    """A model with its images, its maps, and the reference's trace of each image."""
    model, images = case.model(), case.images()
    return model, images, attention_maps(model, images), [run_reference(model, image.numpy()) for image in images]


@also(NETWORK_MUST_HIT)
@settings(max_examples=12)
@given(case=network_cases())
def test_numpy_and_pytorch_agree_on_every_map_of_a_network(case):
    """Eq. 1-14: local, global, composed, dense and rollout, of the mean of heads and of the last one."""
    _, _, maps, traces = end_to_end(case)
    for s, (stage, layout) in enumerate(zip(case.config.stages, maps.layouts, strict=True)):
        b, (H, W) = stage.depth - 1, layout.map
        name = f"stages.{s}.blocks.{b}.attention"
        query = (H // 2, W - 1)
        row = query[0] * W + query[1]
        for head in (None, stage.heads - 1):
            dense = np.stack([by_hand.block_matrix(trace, stage, name.rpartition(".")[0], head) for trace in traces])
            assert_same(torch.from_numpy(maps.dense(s, b, head)), dense, case)
            found = torch.from_numpy(maps.composed(s, b, query, head))
            assert_same(found, dense[:, row].reshape(-1, H, W), case)
            assert_same(torch.from_numpy(sum(maps.parts(s, b, query, head))), found.numpy(), case)
            near, far, P = [], [], np.eye(H * W)
            for trace in traces:
                if stage.grid_size is None:
                    far.append(_head(trace[f"{name}.weights"], head, 0)[row].reshape(H, W))
                    continue
                near.append(
                    by_hand.local_matrix(_head(trace[f"{name}.local_weights"], head, 2), (H, W), stage.grid_size)
                )
                far.append(_head(trace[f"{name}.global_weights"], head, 0)[row].reshape(layout.merged))
                P = by_hand.pooling_matrix((H, W), stage.pool_size)
            cells = maps.global_(s, b, query, head)
            assert_same(torch.from_numpy(cells), np.stack(far), case)
            over = np.stack([(one.ravel() @ P).reshape(H, W) for one in far])
            assert_same(torch.from_numpy(maps.global_(s, b, query, head, over_tokens=True)), over, case)
            if near:
                want = np.stack([one[row].reshape(H, W) for one in near])
                assert_same(torch.from_numpy(maps.local(s, b, query, head)), want, case)
        H0, W0 = maps.layouts[0].map
        rolled = np.stack([by_hand.rollout(trace, case.config, s, b) for trace in traces])
        one, mean = (by_hand.to_shares(rows).reshape(-1, H0, W0) for rows in (rolled[:, row], rolled.mean(axis=1)))
        assert_same(torch.from_numpy(maps.rollout(s, b, query)), one, case)
        assert_same(torch.from_numpy(maps.rollout(s, b)), mean, case)
        first = by_hand.to_shares(np.stack([by_hand.rollout(trace, case.config, s, 0)[row] for trace in traces]))
        assert_same(torch.from_numpy(maps.rollout(s, 0, query)), first.reshape(-1, H0, W0), case)
    stem = by_hand.stem_matrix(maps.size, case.config.stem_strides)
    pixels = torch.from_numpy(maps.rollout(pixels=True))
    assert_same(pixels, by_hand.to_shares(rolled.mean(axis=1) @ stem).reshape(-1, *maps.size), case)
    assert_same(pixels.sum(dim=(1, 2)), np.ones(case.batch), case)


def test_rollout_starts_from_any_block_of_a_stage():
    """Eq. 14: from the first, the middle or the last, each goes through the blocks before it alone."""
    case = dataclasses.replace(TINY, config=dataclasses.replace(TINY.config, depths=(3, 1)))
    _, _, maps, traces = end_to_end(case)
    for block in range(3):
        want = np.stack([by_hand.rollout(trace, case.config, 0, block)[0].reshape(5, 4) for trace in traces])
        assert_same(torch.from_numpy(maps.rollout(0, block, (0, 0))), want, case)


def _head(weights, head, axis):
    return weights.mean(axis=axis) if head is None else weights.take(head, axis=axis)


@also(NETWORK_MUST_HIT)
@settings(max_examples=10)
@given(case=network_cases())
def test_unfused_attention_is_fused_attention_and_its_weights_are_the_traces(case):
    """Eq. 2: the same logits, and the same weights in the same order, but for rows that only pad a window."""
    model, images = case.model(), case.images()
    trace = run_model(model, images)
    assert_same(_explicit(model, images), trace["logits"].numpy(), case)
    labels = trace["logits"].argmax(dim=1)
    for name, (weights, _) in weights_and_gradients(model, images, labels).items():
        padding = trace[name].sum(dim=-1, keepdim=True) == 0
        assert_same(weights.masked_fill(padding, 0), trace[name].numpy(), case)


def _explicit(model, images):
    with unfused_attention(), torch.no_grad():
        return model(images)


TINY = NetworkCase(
    HATNetConfig(
        channels=(4, 6), depths=(2, 1), kernel_sizes=(3, 3), expansions=(2, 2), head_dim=2, grid_sizes=(3,),
        pool_sizes=(2,), stem_channels=3, num_classes=3, stem_strides=(1, 2), in_channels=1,
    ),
    batch=2, height=9, width=8, scale=1.0, seed=9,
)  # fmt: skip


def test_gradients_of_weights_are_the_references_central_differences(monkeypatch):
    """Eq. 2: each matrix of weights in turn, nudged in the NumPy reference along a random direction."""
    model, images = TINY.model(), TINY.images()[:1]
    found = weights_and_gradients(model, images, torch.tensor([2]))
    params, direction = hatnet.to_numpy(model), np.random.default_rng(0)
    attend = reference.hierarchical_attention.multi_head_attention
    nudge = {}  # which call, along what, how far

    def nudged(Q, K, V, heads):
        A, weights = attend(Q, K, V, heads)
        nudge["call"] += 1
        if nudge["call"] == nudge["at"]:
            d = V.shape[1] // heads
            for head in range(heads):
                along = nudge["along"][head] * nudge["by"]
                A[:, head * d : (head + 1) * d] += along @ V[:, head * d : (head + 1) * d]
        return A, weights

    monkeypatch.setattr(reference.hierarchical_attention, "multi_head_attention", nudged)
    monkeypatch.setattr(reference.attention, "multi_head_attention", nudged)
    call = 0
    for name, (_, gradient) in found.items():
        gradient = gradient[0].numpy()
        windows = reference.windows(5, 4, 3) if name.endswith("local_weights") else [(0, 0, None)]
        for row, column, place in windows:
            call += 1
            slope = gradient
            if place is not None:  # without the padding of windows at the border
                m, n = np.zeros((5, 4))[place].shape
                slope = gradient[row, column].reshape(-1, 3, 3, 3, 3)[:, :m, :n, :m, :n]
                slope = slope.reshape(-1, m * n, m * n)
            along = direction.standard_normal(slope.shape)
            logits = []
            for by in (1e-5, -1e-5):
                nudge.update(call=0, at=call, along=along, by=by)
                logits.append(reference.hat_net(images[0].numpy(), params, model.config)[2])
            difference = (logits[0] - logits[1]) / 2e-5
            # the error of a central difference of step 1e-5 is of the order 1e-10, rounding 1e-16 / 1e-5 more
            assert difference == pytest.approx((slope * along).sum(), rel=1e-6, abs=1e-9), (name, row, column)


@also(NETWORK_MUST_HIT)
@settings(max_examples=10)
@given(case=network_cases())
def test_numpy_and_pytorch_agree_on_the_class_map(case):
    """Eq. 1-14: the reference composes from dense matrices, given the gradients; none is negative."""
    model, images, maps, traces = end_to_end(case)
    label = case.config.num_classes - 1
    found = maps.class_map(label)
    gradients = weights_and_gradients(model, images, torch.full((case.batch,), label))
    for image, trace in enumerate(traces):
        own = {name: gradient[image].numpy() for name, (_, gradient) in gradients.items()}
        want = by_hand.class_map(trace, own, case.config).reshape(maps.layouts[0].map)
        assert want.max() > 0
        # the reference takes a difference of matrices, whose rounding is that of their size, 1, not of what is left
        assert np.abs(found[image] - want).max() <= TOLERANCES[torch.float64] * max(1, want.max()), case
        assert found[image].min() >= 0
    pixels = torch.from_numpy(maps.class_map(label, pixels=True))
    want = found.reshape(case.batch, -1) @ by_hand.stem_matrix(maps.size, case.config.stem_strides)
    assert_same(pixels, want.reshape(-1, *maps.size), case)


def test_class_maps_of_different_classes_differ_and_of_a_batch_are_each_images_own():
    model, images = TINY.model(), TINY.images()
    maps = attention_maps(model, images)
    first, last = maps.class_map(0), maps.class_map(2)
    assert np.abs(first - last).max() > 0.01 * last.max()
    mixed = maps.class_map([0, 2])
    assert_same(torch.from_numpy(mixed), np.stack([first[0], last[1]]), TINY)
    predicted = maps.class_map()
    for image in range(2):
        alone = attention_maps(model, images[image])
        assert_same(torch.from_numpy(alone.class_map()), predicted[image], TINY)
        assert_same(torch.from_numpy(alone.rollout(0, 1, (4, 3))), maps.rollout(0, 1, (4, 3))[image], TINY)
        assert alone.logits.shape == (3,)


def test_maps_leave_the_model_as_it_was_and_keep_only_weights():
    model, images = TINY.model().train(), TINY.images()
    maps = attention_maps(model, images[0])
    maps.class_map(0)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert set(maps.weights) == {name for name in run_model(model, images) if name.endswith("weights")}


def test_each_part_of_the_model_goes_back_to_its_own_mode():
    """As with norms that are frozen while the rest is trained."""
    model = TINY.model().train()
    model.stages[0].eval()
    before = [module.training for module in model.modules()]
    attention_maps(model, TINY.images()[0]).class_map(0)
    assert [module.training for module in model.modules()] == before
    assert set(before) == {False, True}


@pytest.mark.parametrize("image_in_inference_mode", [False, True])
@pytest.mark.parametrize("model_in_inference_mode", [False, True])
@pytest.mark.parametrize("asked_in", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_class_maps_need_no_gradients_to_be_switched_on(asked_in, model_in_inference_mode, image_in_inference_mode):
    """Whatever of network, image and question was made in inference mode."""
    want = attention_maps(TINY.model(), TINY.images()).class_map([0, 2])
    with torch.inference_mode(model_in_inference_mode):
        model = TINY.model()
    with torch.inference_mode(image_in_inference_mode):
        images = TINY.images() + 0  # anew
    assert (next(model.parameters()).is_inference(), images.is_inference()) == (
        model_in_inference_mode,
        image_in_inference_mode,
    )
    with asked_in():
        found = attention_maps(model, images).class_map([0, 2])
    assert np.array_equal(found, want)


@pytest.mark.parametrize("what", ["weights", "image", "classes", "not finite"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_class_map_of_another_network_than_the_maps_beside_it_is_refused(what, dtype):
    """Trained on, or given another image, since; what was computed before stays."""
    model, images = TINY.model().to(dtype), TINY.images().to(dtype)
    maps = attention_maps(model, images)
    before = maps.class_map(0)
    with torch.no_grad():
        if what == "weights":
            model.stages[0].blocks[1].attention.local_qkv.weight.mul_(-1)
        elif what == "image":
            images.copy_(images.flip(3))
        elif what == "classes":
            model.classifier = nn.Linear(6, 5).to(dtype)
        else:
            model.classifier.bias.fill_(torch.nan)
    with pytest.raises(ValueError, match=r"the network or the image has changed since .* call attention_maps"):
        maps.class_map(1)
    assert np.array_equal(maps.class_map(0), before)


def test_maps_are_in_the_model_s_precision_under_autocast_too():
    model, images = TINY.model().float(), TINY.images().float()
    want = attention_maps(model, images)
    with torch.autocast("cpu", torch.bfloat16):
        maps = attention_maps(model, images)
        within = maps.class_map(0)
    for found in (within, maps.class_map(0)):
        assert np.array_equal(found, want.class_map(0))
    assert np.array_equal(maps.rollout(), want.rollout())


def test_what_is_done_to_a_map_does_not_change_those_asked_for_next():
    """As when it is scaled for a picture."""
    maps = attention_maps(TINY.model(), TINY.images())
    asked = {
        "logits": lambda: maps.logits,
        "weights": lambda: maps.weights["stages.1.blocks.0.attention.weights"],
        "local": lambda: maps.local(0, 0, (1, 1), head=0),
        "global": lambda: maps.global_(0, 0, (1, 1), head=0),
        "of cells": lambda: maps.global_(0, 0, (1, 1), head=0, over_tokens=True),
        "composed": lambda: maps.composed(0, 0, (1, 1), head=0),
        "residual": lambda: maps.parts(0, 0, (1, 1)).residual,
        "rollout": maps.rollout,
        "class map": lambda: maps.class_map(1),
    }
    before = {name: ask().copy() for name, ask in asked.items()}
    for ask in asked.values():
        ask()[:] = -1
    for name, ask in asked.items():
        assert np.array_equal(ask(), before[name]), name


@pytest.mark.parametrize(("height", "width"), [(28, 28), (36, 36), (17, 40), (64, 64)])
def test_the_memory_that_weights_take_is_foretold_to_the_byte(height, width):
    """Windows over the border are filled with tokens, whose weights are kept too."""
    model = hatnet.create_model("micro").eval()
    maps = attention_maps(model, torch.zeros(2, 3, height, width))
    taken = sum(weights.nbytes for weights in maps.weights.values())
    require_memory(model.config, height, width, batch=2, item=4, limit=taken)
    with pytest.raises(ValueError, match="but the limit"):
        require_memory(model.config, height, width, batch=2, item=4, limit=taken - 1)


# Bad input


def test_a_network_whose_windows_are_not_those_of_its_configuration_is_refused():
    model = TINY.model()
    model.stages[0].blocks[1].attention.grid_size += 1
    with pytest.raises(ValueError, match=r"stages\.0\.blocks\.1\.attention has G1, G2 = .* make the model anew"):
        attention_maps(model, TINY.images())


def test_a_class_map_of_an_even_image_is_refused_where_its_gradients_are_too_large():
    """A new network makes nothing of black: every norm then divides by 1 / sqrt(eps), too often for float32."""
    torch.manual_seed(0)
    model, images = hatnet.create_model("micro"), torch.zeros(2, 3, 28, 28)
    images[0] = torch.randn(3, 28, 28)
    maps = attention_maps(model, images)
    for _ in range(2):  # and keeps nothing of it
        with pytest.raises(ValueError, match=r"finite gradients.* of one colour.* for float32; take another image"):
            maps.class_map()
    assert np.isfinite(attention_maps(model, images[0]).class_map()).all()
    assert np.isfinite(attention_maps(model.double(), images.double()).class_map()).all()


def test_a_pixel_belongs_to_the_token_whose_square_holds_it():
    maps = attention_maps(TINY.model(), TINY.images()[0])  # 9 x 8 pixels, 2 a token, so 5 x 4 tokens
    assert [maps.token_at(x, y, stage=0) for x, y in ((0, 0), (7, 0), (0, 8), (3, 5))] == [
        (0, 0),
        (0, 3),
        (4, 0),
        (2, 1),
    ]
    assert maps.token_at(7, 8, stage=1) == (2, 1)
    for x, y in ((8, 0), (0, 9), (-1, 0)):
        with pytest.raises(
            ValueError, match=f"the query {x},{y} lies outside the image of 8 x 9 pixels: X goes from 0 to 7"
        ):
            token_at(x, y, (9, 8), 2)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda maps: maps.local(2, 0, (0, 0)), "there is no stage 2: the network has 2, counted from 0"),
        (lambda maps: maps.local(0, 2, (0, 0)), "there is no block 2: stage 0 has 2, counted from 0"),
        (lambda maps: maps.composed(1, -1, (0, 0)), "there is no block -1: stage 1 has 1, counted from 0"),
        (lambda maps: maps.composed(0, 0, (0, 0), head=2), "there is no head 2: stage 0 has 2, counted from 0"),
        (lambda maps: maps.dense(0, 0, head=-1), "there is no head -1"),
        (lambda maps: maps.rollout(-1), "there is no stage -1"),
        (
            lambda maps: maps.global_(0, 0, (5, 0)),
            r"token \(5, 0\) is not on the map of stage 0: rows go from 0 to 4, col",
        ),
        (lambda maps: maps.rollout(1, 0, (0, 2)), r"token \(0, 2\) is not on the map of stage 1"),
        (lambda maps: maps.local(1, 0, (0, 0)), "stage 1 has no windows: its attention is plain"),
        (lambda maps: maps.class_map(3), "there is no class 3: the network has 3, counted from 0"),
        (lambda maps: maps.class_map([0, 1]), "2 labels are given for 1 images"),
        (lambda maps: maps.class_map(torch.tensor(3)), "there is no class 3: the network has 3, counted from 0"),
        (lambda maps: maps.rollout(1, 0, np.array([0, 2])), "is not on the map of stage 1"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(ask, message):
    maps = attention_maps(TINY.model(), TINY.images()[0])
    with pytest.raises(ValueError, match=message):
        ask(maps)


def test_a_token_and_a_class_may_be_numbers_of_numpy_and_pytorch():
    """As `argmax` and `unravel_index` give them."""
    maps = attention_maps(TINY.model(), TINY.images()[0])
    query = np.array([1, 2])
    assert np.array_equal(maps.rollout(0, 1, query), maps.rollout(0, 1, (1, 2)))
    assert np.array_equal(maps.composed(0, 1, query), maps.composed(0, 1, (1, 2)))
    want = maps.class_map(2)
    for label in (torch.tensor(2), torch.tensor([2]), np.array(2), np.int64(2), iter([2])):
        assert np.array_equal(maps.class_map(label), want)


def test_images_and_matrices_that_take_too_much_memory_are_refused_with_their_size():
    """Eq. 2, 7, 12: weights grow with N G1^2 + N M, a composed matrix with N^2."""
    model, image = hatnet.create_model("micro"), torch.zeros(3, 96, 96)
    with pytest.raises(
        ValueError,
        match=r"^the attention weights of 1 image of 96 x 96 pixels take .*, the largest part in stage 0, .* 0.0 GiB",
    ):
        attention_maps(model, image, limit=10**6)
    maps = attention_maps(model, image, limit=2 * 10**7)
    assert maps.composed(0, 0, (0, 0)).shape == (48, 48)
    with pytest.raises(
        ValueError, match="the attention weights, their gradients and the maps kept for them of 1 image of 96 x 96"
    ):
        maps.class_map(0)
    with pytest.raises(ValueError, match="the composed matrix of 48 x 48 tokens takes 0.1 GiB"):
        maps.dense(0, 0)


def test_class_maps_of_many_images_are_computed_as_memory_allows(monkeypatch):
    """Gradients need far more than weights do, so a batch that fits without them is taken in slices."""
    slices = []

    def noted(model, images, *rest):
        slices.append(len(images))
        return relevances(model, images, *rest)

    monkeypatch.setattr("hatnet.maps.maps.relevances", noted)
    model, images, labels = TINY.model(), torch.cat([scale * TINY.images() for scale in (1, 2, 3)])[:5], [0, 1, 2, 1, 0]
    at_once = attention_maps(model, images).class_map(labels)
    in_slices = attention_maps(model, images, limit=300_000).class_map(labels)
    assert slices == [5, 2, 2, 1]
    assert_same(torch.from_numpy(in_slices), at_once, slices)


def test_class_maps_of_no_images_are_refused():
    with pytest.raises(ValueError, match="batch=0 must be a whole number of at least 1"):
        attention_maps(TINY.model(), TINY.images()[:0]).class_map()


@pytest.mark.parametrize(("gradients", "place"), [(False, "stage 2"), (True, "stage 0")])
def test_the_stage_that_takes_most_is_that_of_all_that_is_counted(gradients, place):
    """Small: its third stage has the most weights, but the maps kept for gradients are largest in its first."""
    config = hatnet.get_config("small")
    weights, kept = np.zeros(4), np.zeros(4)
    for part in network(config, 224, 224):
        if part.name.endswith(".attention"):
            s = int(part.name.split(".")[1])
            weights[s] += attention_weights(part.cost, config.stages[s].channels, config.stages[s].heads)
    for name, count in saved(config, 224, 224).items():
        if name.startswith("stages."):
            kept[int(name.split(".")[1])] += count
    taken = 3 * weights + kept if gradients else weights
    assert place == f"stage {taken.argmax()}"
    with pytest.raises(ValueError, match=f"the largest part in {place}, but the limit"):
        require_memory(config, 224, 224, batch=1, item=4, limit=1, gradients=gradients)


def test_maps_come_in_the_models_dtype():
    """NumPy has no bfloat16, so that comes as float32."""
    for dtype, name in ((torch.float64, "float64"), (torch.float32, "float32"), (torch.bfloat16, "float32")):
        maps = attention_maps(TINY.model().to(dtype), TINY.images()[0].to(dtype))
        results = (maps.logits, maps.local(0, 0, (0, 0)), maps.rollout(pixels=True), maps.class_map(), maps.dense(1, 0))
        assert {result.dtype.name for result in results} == {name}


def test_images_the_network_refuses_are_refused():
    for image, error, message in (
        (torch.zeros(3, 4, 4), ValueError, "too small"),
        (torch.zeros(1, 28, 28), ValueError, "must have shape"),
        (torch.zeros(28, 28), ValueError, "must have shape"),
        (torch.zeros(3, 28, 28, dtype=torch.uint8), TypeError, "must hold floats"),
        (np.zeros((3, 28, 28)), TypeError, "image must be a tensor, got ndarray; for an array use torch.from_numpy"),
        ([[0.0]], TypeError, "image must be a tensor, got list"),
    ):
        with pytest.raises(error, match=message):
            attention_maps(hatnet.create_model("micro"), image)
