"""Attention, Eq. 1-3: PyTorch, batched and fused, equals the reference image by image."""

import contextlib

import numpy as np
import pytest
import torch

import reference
from hatnet.attention import (
    MHSA,
    attention_kernel,
    attention_weights,
    fused_attention,
    join_heads,
    multi_head_attention,
    split_heads,
)
from hatnet.hierarchical_attention import HMHSA
from tests.cases import NETWORK_MUST_HIT, for_maps
from tests.comparing import assert_layer, assert_same


def queries_keys_values(case):
    """Q (B, N, C), K and V (B, M, C), with N != M; V has the scale of the case."""
    rng = np.random.default_rng(case.seed)
    N, M = case.height * case.width, case.height + case.pool_size
    Q, K, V = (rng.standard_normal((case.batch, tokens, case.channels)) for tokens in (N, M, M))
    return Q, K, case.scale * V


@for_maps
def test_each_row_of_softmax_sums_to_one(case):
    """Eq. 2: one row per query. Shifting its scores does not matter."""
    scores = case.maps()[0, 0]
    weights = reference.softmax(100 * scores)
    assert (weights >= 0).all()
    assert np.abs(weights.sum(axis=-1) - 1).max() < 1e-14
    shifted = scores + np.arange(len(scores))[:, None]
    assert np.abs(reference.softmax(shifted) - reference.softmax(scores)).max() < 1e-13


@for_maps
def test_attention_and_its_weights_equal_the_formula_head_by_head(case):
    """Eq. 2: Softmax(Q K^T / sqrt(d)) V. The weights are those of traces."""
    Q, K, V = queries_keys_values(case)
    images = [reference.multi_head_attention(*image, case.heads) for image in zip(Q, K, V, strict=True)]
    attended, weights = (np.stack(wants) for wants in zip(*images, strict=True))
    Q, K, V = map(torch.from_numpy, (Q, K, V))
    assert_same(multi_head_attention(Q, K, V, case.heads), attended, case)
    assert_same(attention_weights(Q, K, case.heads), weights, case)


@for_maps
def test_a_masked_key_has_no_effect(case):
    """Eq. 2, D6."""
    Q, K, V = map(torch.from_numpy, queries_keys_values(case))
    mask = torch.arange(K.shape[1]) < K.shape[1] - 2  # (M,)
    got = multi_head_attention(Q, K, V, case.heads, mask.expand(len(Q), 1, 1, -1))
    want = multi_head_attention(Q, K[:, :-2], V[:, :-2], case.heads)
    assert_same(got, want.numpy(), case)
    weights = attention_weights(Q, K, case.heads, mask.expand(len(Q), 1, 1, -1))
    assert (weights[..., -2:] == 0).all()


@for_maps
def test_each_head_attends_with_its_own_slice_of_channels(case):
    """Eq. 2: several heads are independent attentions of d channels each."""
    Q, K, V = queries_keys_values(case)
    whole, _ = reference.multi_head_attention(Q[0], K[0], V[0], case.heads)
    parts = [
        reference.multi_head_attention(*(x[0][:, first : first + case.head_dim] for x in (Q, K, V)), 1)[0]
        for first in range(0, case.channels, case.head_dim)
    ]
    assert np.array_equal(whole, np.concatenate(parts, axis=1))


@for_maps
def test_joining_heads_undoes_splitting_them(case):
    x = torch.from_numpy(case.maps()).flatten(1, 2)
    assert split_heads(x, case.heads).shape == (case.batch, case.heads, x.shape[1], case.head_dim)
    assert torch.equal(join_heads(split_heads(x, case.heads)), x)


@for_maps
def test_plain_attention_equals_the_reference(case):
    """Eq. 1-3, in the last stage."""
    layer = MHSA(case.channels, case.heads)
    assert_layer(case, layer, lambda image, params: reference.mhsa(image, params, case.heads))


@for_maps
def test_permuting_tokens_permutes_the_output(case):
    """Eq. 1-3: attention ignores the order of tokens."""
    layer, _ = case.filled(MHSA(case.channels, case.heads))
    tokens = torch.from_numpy(case.maps()).flatten(1, 2).unsqueeze(1)  # (B, 1, HW, C), a map of one row
    order = torch.from_numpy(np.random.default_rng(case.seed).permutation(tokens.shape[2]))
    assert_same(layer(tokens[:, :, order]), layer(tokens)[:, :, order].detach().numpy(), case)


def halved(Q, K, V, heads, mask, name):
    """A kernel with half the output."""
    return fused_attention(Q, K, V / 2, heads, mask, name)


def test_another_kernel_computes_every_attention_inside_the_block_only():
    """Eq. 2, for faster kernels and for those that keep the weights."""
    model, images, names = NETWORK_MUST_HIT[0].model(), NETWORK_MUST_HIT[0].images(), []

    def named(Q, K, V, heads, mask, name):
        names.append(name)
        return halved(Q, K, V, heads, mask, name)

    trace = {}
    logits = model(images, trace)
    with contextlib.suppress(KeyError), attention_kernel(named):
        assert not torch.equal(model(images), logits)
        raise KeyError
    assert names == [name for name in trace if name.endswith("weights")]
    assert torch.equal(model(images), logits)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch.compile
@pytest.mark.skipif(
    torch.__version__.startswith(("2.11.", "2.12.", "2.13.")),
    reason="PyTorch before 2.14 cannot compile with another kernel",
)
def test_another_kernel_reaches_a_compiled_model():
    """Eq. 2, with no graph break."""
    torch._dynamo.reset()
    layer, x = HMHSA(6, 2, grid_size=3, pool_size=2), torch.randn(1, 5, 7, 6)
    compiled = torch.compile(layer, fullgraph=True, backend="eager")
    fused = compiled(x)
    with attention_kernel(halved):
        assert torch.equal(compiled(x), layer(x))
        assert not torch.equal(compiled(x), fused)
    assert torch.equal(compiled(x), fused)
