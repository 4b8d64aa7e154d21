"""The reference's own attention maps, against their formulas token by token, and its refusals."""

from types import SimpleNamespace

import numpy as np
import pytest

import reference
import reference.attention_maps as by_hand
from reference.initial import NetworkSizes, StageSizes, initial_parameters

CONFIG = NetworkSizes(
    in_channels=1,
    num_classes=3,
    stages=(
        StageSizes(4, 2, 2, 3, 1, grid_size=3, pool_size=2),
        StageSizes(6, 1, 3, 3, 1),
        StageSizes(4, 1, 2, 3, 1, grid_size=2, pool_size=1),
    ),
    stem_channels=2,
    stem_strides=(1, 2),
)
SIZES = ((5, 7), (3, 4), (2, 2))  # of the maps of an image of 9 x 13
RNG = np.random.default_rng(0)
TRACE: dict[str, np.ndarray] = {}
reference.hat_net(RNG.standard_normal((1, 9, 13)), initial_parameters(CONFIG), CONFIG, TRACE)
GRADIENTS = {name: RNG.standard_normal(w.shape) for name, w in TRACE.items() if name.endswith("weights")}


def along_one_axis(length, stride):
    """How outputs divide the inputs of a 3-tap convolution: the share of input y in output r, by the docstring."""
    outputs = -(-length // stride)
    looks = np.zeros((outputs, length))
    for r in range(outputs):
        for y in range(length):
            distance = abs(y - r * stride)
            looks[r, y] = (distance <= 1) * (2 if stride == 2 and distance == 0 else 1)
    totals = looks.sum(axis=0)
    return np.divide(looks, totals, out=np.zeros_like(looks), where=totals > 0) * outputs / length


def by_axes(size, stride):
    return np.kron(along_one_axis(size[0], stride), along_one_axis(size[1], stride))


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 4), (8, 3)])
@pytest.mark.parametrize("stride", [1, 2, 3, 5])
def test_a_receptive_field_is_the_product_of_its_axes(size, stride):
    field = by_hand.receptive_field(size, stride)
    assert np.allclose(field, by_axes(size, stride), rtol=1e-14, atol=0)
    if stride < 3:
        assert np.allclose(field.sum(axis=0), len(field) / field.shape[1])
    hidden = [-(-side // stride) for side in size]
    assert np.allclose(by_hand.stem_matrix(size, (stride, 2)), by_axes(hidden, 2) @ field, rtol=1e-13)


def by_tokens(stage, size, block):
    """The added relevances of a block, entry by entry."""
    relevances = {}
    for kind in ("weights", "local_weights", "global_weights"):
        name = f"{block}.attention.{kind}"
        if name in TRACE:
            positive = np.where(TRACE[name] * GRADIENTS[name] > 0, TRACE[name] * GRADIENTS[name], 0)
            heads = np.moveaxis(positive, 2 if kind == "local_weights" else 0, 0)
            relevances[kind] = sum(heads) / stage.heads
    if stage.grid_size is None:
        return relevances["weights"]
    (H, W), G1, G2 = size, stage.grid_size, stage.pool_size
    tokens = [(y, x) for y in range(H) for x in range(W)]
    L, GP = np.zeros((H * W, H * W)), np.zeros((H * W, H * W))
    for q, (y, x) in enumerate(tokens):
        for k, (u, v) in enumerate(tokens):
            if (y // G1, x // G1) == (u // G1, v // G1):
                width = min(G1, W)
                inside = (y % G1) * width + x % G1, (u % G1) * width + v % G1
                L[q, k] = relevances["local_weights"][y // G1, x // G1][inside]
            cell = [one for one in tokens if (one[0] // G2, one[1] // G2) == (u // G2, v // G2)]
            GP[q, k] = relevances["global_weights"][q, (u // G2) * -(-W // G2) + v // G2] / len(cell)
    return (L + GP + GP @ L) / 2


def test_a_class_map_is_the_rollout_of_positive_parts_without_the_residuals():
    """Each block is I + (L + G P + G P L) / 2 of mean positive parts, on maps with cut windows and cells."""
    R = alone = np.eye(35)
    for s, (stage, size) in enumerate(zip(CONFIG.stages, SIZES, strict=True)):
        if s > 0:
            R, alone = by_axes(SIZES[s - 1], 2) @ R, by_axes(SIZES[s - 1], 2) @ alone
        for b in range(stage.depth):
            R = (np.eye(len(R)) + by_tokens(stage, size, f"stages.{s}.blocks.{b}")) @ R
    want = R.mean(axis=0) - alone.mean(axis=0)
    assert want.min() >= 0
    assert np.allclose(by_hand.class_map(TRACE, GRADIENTS, CONFIG), want, rtol=1e-12)


def test_relevance_has_its_heads_on_any_axis():
    weights, gradient = RNG.uniform(size=(2, 3, 4)), RNG.standard_normal((2, 3, 4))
    positive = np.where(gradient > 0, gradient * weights, 0)
    for axis in range(-3, 3):
        heads = np.moveaxis(positive, axis, 0)
        assert np.allclose(by_hand.relevance(weights, gradient, axis), sum(heads) / len(heads))
    for axis in (-4, 3):
        with pytest.raises(ValueError, match=f"heads_axis={axis} must be a whole number from -3 to 2"):
            by_hand.relevance(weights, gradient, axis)


def test_shares_are_of_the_last_axis():
    maps = RNG.uniform(size=(2, 3, 4))
    for one in (maps, maps[0], maps[0, 0]):
        shares = by_hand.to_shares(one)
        assert np.allclose(shares.sum(axis=-1), 1)
        assert np.allclose(shares[..., 0] / shares[..., 1], one[..., 0] / one[..., 1])
    with pytest.raises(ValueError, match="maps has 2 rows that sum to zero"):
        by_hand.to_shares(np.array([[0.0, 0.0], [0.25, 0.75], [0.0, 0.0], [1.0, 2.0], [0.0, 3.0]]))


def test_only_blocks_and_heads_of_the_network_are_accepted():
    for stage, block, message in [
        (3, 0, "stage=3 must be a whole number from 0 to 2"),
        (4, 0, "stage=4 must be a whole number from 0 to 2"),
        (-1, 0, "stage=-1 must be"),
        (0, 2, "block=2 must be a whole number from 0 to 1"),
        (0, -1, "block=-1 must be"),
    ]:
        with pytest.raises(ValueError, match=message):
            by_hand.rollout(TRACE, CONFIG, stage, block)
    for head in (-1, 2, 3):
        with pytest.raises(ValueError, match=f"head={head} must be a whole number from 0 to 1"):
            by_hand.block_matrix(TRACE, CONFIG.stages[0], "stages.0.blocks.0", head)
    broken = SimpleNamespace(**{name: getattr(CONFIG, name) for name in ("in_channels", "min_image_size")})
    for wrong in (None, broken, SimpleNamespace(**vars(broken), stem_strides=(2, 2), stages=(None,))):
        for call in (
            lambda wrong=wrong: by_hand.rollout(TRACE, wrong, 0, 0),
            lambda wrong=wrong: by_hand.class_map(TRACE, GRADIENTS, wrong),
        ):
            with pytest.raises(TypeError, match=r"(config|stage) must"):
                call()


@pytest.mark.parametrize("wrong", [np.ones(3), np.ones((3, 4)), np.ones((3, 4, 1), int), [[[1.0]]], None])
def test_a_trace_holds_arrays_of_three_axes_or_more(wrong):
    for name in ("stem", "stages.0.blocks.0.output", "stages.1.blocks.0.attention.weights"):
        with pytest.raises(ValueError, match=f"no array '{name}' in the trace"):
            by_hand.rollout({**TRACE, name: wrong}, CONFIG, 1, 0)


@pytest.mark.parametrize(
    ("call", "rows", "columns"),
    [
        (lambda: by_hand.local_matrix(np.full((2, 1, 6, 6), 1 / 6), (3, 4), 2), 12, 12),
        (lambda: by_hand.pooling_matrix((3, 4), 2), 4, 12),
        (lambda: by_hand.pooling_matrix((5, 2), 3), 2, 10),
        (lambda: by_hand.receptive_field((3, 4), 2), 4, 12),
        (lambda: by_hand.receptive_field((5, 3), 2), 6, 15),
    ],
)
def test_a_matrix_of_the_largest_size_is_formed_and_no_larger_one(call, rows, columns, monkeypatch):
    """The size is checked before memory is taken, and before anything else of the arguments."""
    monkeypatch.setattr("reference.checks.LARGEST", rows * columns - 1)
    with pytest.raises(ValueError, match=f"a matrix of {rows} x {columns} is too large: at most {rows * columns - 1} "):
        call()
    monkeypatch.setattr("reference.checks.LARGEST", rows * columns)
    if "local_matrix" not in call.__code__.co_names:
        assert call().shape == (rows, columns)
        return
    with pytest.raises(ValueError, match=r"weights must have shape \(2, 2, 4, 4\) for windows of G1=2 on 3 x 4"):
        call()
    assert by_hand.local_matrix(np.full((2, 2, 4, 4), 0.25), (3, 4), 2).shape == (rows, columns)
    with pytest.raises(ValueError, match=r"weights must have shape .* got \(3, 2, 4, 4\)"):
        by_hand.local_matrix(np.full((3, 2, 4, 4), 0.25), (3, 4), 2)


@pytest.mark.parametrize("sizes", [(3, None), (None, 2)])
def test_attention_is_plain_without_both_sizes(sizes):
    """G1 or G2 alone makes no hierarchy: forward, backward, and in maps."""
    plain = CONFIG.stages[1]
    half = SimpleNamespace(depth=1, heads=plain.heads, grid_size=sizes[0], pool_size=sizes[1])
    stages = (CONFIG.stages[0], half, CONFIG.stages[2])
    config = SimpleNamespace(in_channels=1, min_image_size=8, stem_strides=(1, 2), stages=stages)
    params, image = initial_parameters(CONFIG), RNG.standard_normal((1, 9, 13))
    _, want, _ = reference.gradients(image, 1, params, CONFIG)
    _, got, _ = reference.gradients(image, 1, params, config)
    assert all(np.array_equal(got[name], gradient) for name, gradient in want.items())
    assert np.array_equal(by_hand.class_map(TRACE, GRADIENTS, config), by_hand.class_map(TRACE, GRADIENTS, CONFIG))
    matrices = [by_hand.block_matrix(TRACE, stage, "stages.1.blocks.0", 0) for stage in (half, plain)]
    assert np.array_equal(*matrices)
