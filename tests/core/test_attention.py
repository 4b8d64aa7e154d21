"""Attention, Eq. 1-3: PyTorch, batched and fused, is the reference, image by image."""

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
from tests.cases import NETWORK_MUST_HIT, for_maps, stack
from tests.comparing import assert_same


def queries_keys_values(case):
    """Q (B, N, C), K and V (B, M, C), N != M; V of the case's scale."""
    rng = np.random.default_rng(case.seed)
    N, M = case.height * case.width, case.height + case.pool_size
    Q, K, V = (rng.standard_normal((case.batch, tokens, case.channels)) for tokens in (N, M, M))
    return Q, K, case.scale * V


@for_maps
def test_rows_of_softmax_sum_to_one(case):
    """Eq. 2: a row of weights belongs to a query."""
    scores = 100 * case.maps()[0, 0]
    weights = reference.softmax(scores)
    assert (weights >= 0).all()
    assert np.abs(weights.sum(axis=-1) - 1).max() < 1e-14


@for_maps
def test_softmax_does_not_see_a_shift_of_a_row(case):
    """Eq. 2."""
    scores = case.maps()[0, 0]
    shifted = scores + np.arange(len(scores))[:, None]
    assert np.abs(reference.softmax(shifted) - reference.softmax(scores)).max() < 1e-13


@for_maps
def test_fused_attention_is_softmax_of_scaled_products_head_by_head(case):
    """Eq. 2: Softmax(Q K^T / sqrt(d)) V in each head."""
    Q, K, V = queries_keys_values(case)
    got = multi_head_attention(*map(torch.from_numpy, (Q, K, V)), case.heads)
    want = [reference.multi_head_attention(*image, case.heads)[0] for image in zip(Q, K, V, strict=True)]
    assert_same(got, np.stack(want), case)


@for_maps
def test_weights_of_the_trace_are_the_references(case):
    """Eq. 2."""
    Q, K, V = queries_keys_values(case)
    got = attention_weights(torch.from_numpy(Q), torch.from_numpy(K), case.heads)
    want = [reference.multi_head_attention(*image, case.heads)[1] for image in zip(Q, K, V, strict=True)]
    assert_same(got, np.stack(want), case)


@for_maps
def test_a_masked_key_is_as_if_it_were_not_there(case):
    """Eq. 2, D6."""
    Q, K, V = map(torch.from_numpy, queries_keys_values(case))
    mask = torch.arange(K.shape[1]) < K.shape[1] - 2  # (M,)
    got = multi_head_attention(Q, K, V, case.heads, mask.expand(len(Q), 1, 1, -1))
    want = multi_head_attention(Q, K[:, :-2], V[:, :-2], case.heads)
    assert_same(got, want.numpy(), case)
    weights = attention_weights(Q, K, case.heads, mask.expand(len(Q), 1, 1, -1))
    assert (weights[..., -2:] == 0).all()


@for_maps
def test_a_head_is_a_slice_of_channels_that_attends_on_its_own(case):
    """Eq. 2: several heads are several attentions of d channels side by side."""
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
def test_plain_attention_of_a_map_is_the_reference(case):
    """Eq. 1-3, the attention of the last stage."""
    layer, params = case.filled(MHSA(case.channels, case.heads))
    x = case.maps()
    assert_same(layer(torch.from_numpy(x)), stack(lambda image: reference.mhsa(image, params, case.heads), x), case)


@for_maps
def test_attention_knows_no_order(case):
    """Eq. 1-3: permuting the tokens permutes the output, and that is all."""
    layer, _ = case.filled(MHSA(case.channels, case.heads))
    tokens = torch.from_numpy(case.maps()).flatten(1, 2).unsqueeze(1)  # (B, 1, HW, C), a map of one row
    order = torch.from_numpy(np.random.default_rng(case.seed).permutation(tokens.shape[2]))
    assert_same(layer(tokens[:, :, order]), layer(tokens)[:, :, order].detach().numpy(), case)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside torch.compile
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_another_kernel_computes_every_attention_under_the_names_of_the_trace(compiled):
    """Eq. 2: inside the `with` block, and no longer than that."""
    case, names = NETWORK_MUST_HIT[0], []

    def halved(Q, K, V, heads, mask, name):
        names.append(name)
        return fused_attention(Q, K, V / 2, heads, mask, name)

    def halting(*_):
        raise KeyError

    model, images, trace = case.model(), case.images(), {}
    logits = model(images, trace)
    run = torch.compile(model, fullgraph=True, backend="eager") if compiled else model
    assert torch.equal(run(images), logits)
    with attention_kernel(halved):
        assert not torch.equal(run(images), logits)
    assert names == [name for name in trace if name.endswith("weights")]
    with contextlib.suppress(KeyError), attention_kernel(halting):
        model(images)
    assert torch.equal(run(images), logits)
