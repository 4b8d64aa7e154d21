"""Stochastic depth, channel dropout and the classifier's dropout: rates, scales and independence in every block.

What a training pass dropped is read off the trace, and the rest must be the undropped value divided by 1 - rate. The
numbers dropped lie between exact quantiles of the binomial distribution. Every draw follows from a fixed seed.
"""

from dataclasses import replace
from itertools import combinations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hatnet.config import get_config
from hatnet.equivalence import randomise
from hatnet.network import HATNet
from tests.cases import seeds

IMAGES = 300
networks = st.tuples(*[st.integers(1, 2)] * 2, st.integers(1, 3))  # depths
rates = st.sampled_from([0.2, 0.5, 0.7])
few = settings(max_examples=3)


def network(depths, seed, **drop_rates):
    """A thin network in float64, in training mode, with all rates 0 that are not given."""
    config = get_config("micro", in_channels=1, **{"classifier_drop_rate": 0.0, **drop_rates})
    model = HATNet(replace(config, channels=(4, 8, 8), head_dim=4, depths=depths, stem_channels=4))
    randomise(model, seed)
    return model.double().train()


def images(seed):
    return torch.randn(IMAGES, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def passes(model, seed):
    """One training pass: the input, the map between the branches and the output of every block."""
    torch.manual_seed(seed)
    trace = {}
    with torch.no_grad():
        model(images(seed), trace)
    x = trace["stem"]
    for number, stage in enumerate(model.stages):
        x = trace.get(f"stages.{number}.downsampled", x)
        for index, block in enumerate(stage.blocks):
            attended, output = (trace[f"stages.{number}.blocks.{index}.{name}"] for name in ("attended", "output"))
            yield block, x, attended, output
            x = output


def dropped(found, undropped, rate, axes):
    """Return which parts are zero, (B,) or (B, C); all others must be scaled by 1 / (1 - rate)."""
    zero = (found == 0).all(dim=axes, keepdim=True)
    assert torch.allclose(found, undropped * ~zero / (1 - rate), rtol=0, atol=1e-9 * float(undropped.abs().max()))
    return zero.flatten(1).squeeze(1)


def assert_rate(hits, rate):
    """Assert that the number of hits is likely for independent draws; a chance of 2 in a million is left."""
    low, high = stats.binom.ppf([1e-6, 1 - 1e-6], hits.numel(), rate)
    assert low <= int(hits.sum()) <= high, f"{int(hits.sum())} of {hits.numel()} dropped at a rate of {rate:.3f}"


@torch.no_grad()
def undropped(branch, x):
    """The output of a branch, without any dropout."""
    found = branch.eval()(x)
    branch.train()
    return found


@few
@given(networks, rates, seeds)
def test_stochastic_depth_rises_from_0_to_its_maximum_block_by_block(depths, maximum, seed):
    """Block k of n drops each of its branches for k / (n - 1) of the maximum of all images (Sec. 4.1, D9)."""
    blocks = list(passes(network(depths, seed, drop_path_rate=maximum), seed))
    assert len(blocks) == sum(depths)
    found = []
    for place, (block, x, attended, output) in enumerate(blocks):
        rate = maximum * place / (len(blocks) - 1)
        for branch, before, after in ((block.attention, x, attended), (block.mlp, attended, output)):
            hits = dropped(after - before, undropped(branch, before), rate, axes=(1, 2, 3))
            assert_rate(hits, rate)
            found.append((hits, rate))
    for (hits, rate), (others, other_rate) in combinations(found, 2):  # also of the two branches of a block
        assert_rate(hits & others, rate * other_rate)


@few
@given(networks, rates, seeds)
def test_channel_dropout_acts_at_three_places_of_every_block(depths, rate, seed):
    """After the projection of attention, and before and after the last matrix of the MLP."""
    model, contracted = network(depths, seed, drop_rate=rate), []
    for stage in model.stages:
        for block in stage.blocks:
            block.mlp.contract.register_forward_pre_hook(lambda _, inputs: contracted.append(inputs[0]))
    blocks = list(passes(model, seed))
    kept = contracted[: len(blocks)]
    for hidden, (block, x, attended, output) in zip(kept, blocks, strict=True):
        undropped(block.mlp, attended)  # the hook keeps its hidden map
        with torch.no_grad():
            contract = block.mlp.norm_out(torch.nn.functional.linear(hidden, block.mlp.contract.weight))
        places = [
            dropped(attended - x, undropped(block.attention, x), rate, axes=(1, 2)),
            dropped(hidden, contracted[-1], rate, axes=(1, 2)),
            dropped(output - attended, contract, rate, axes=(1, 2)),
        ]
        for hits in places:
            assert_rate(hits, rate)
            assert_rate(hits[:-1, :-1] & hits[1:, :-1], rate**2)  # neighbouring images
            assert_rate(hits[:-1, :-1] & hits[:-1, 1:], rate**2)  # neighbouring channels
        assert_rate(places[0] & places[2], rate**2)


@few
@given(rates, seeds)
def test_classifier_drops_single_features(rate, seed):
    model, seen = network((1, 1, 1), seed, classifier_drop_rate=rate), []
    model.classifier.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    *_, (*_, output) = passes(model, seed)
    assert_rate(dropped(seen[0][:, None, None], output.mean(dim=(1, 2), keepdim=True), rate, axes=(1, 2)), rate)


@few
@given(networks, rates, seeds)
def test_rates_have_no_effect_in_evaluation(depths, rate, seed):
    every = {"drop_rate": rate, "drop_path_rate": rate, "classifier_drop_rate": rate}
    model, without = network(depths, seed, **every), network(depths, seed)
    with torch.no_grad():
        want = without(images(seed))
        assert torch.equal(model.eval()(images(seed)), want)
        assert not torch.equal(model.train()(images(seed)), want)
