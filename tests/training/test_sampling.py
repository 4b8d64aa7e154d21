"""Sampling: each process draws its share of the same batches, and a resumed run draws the rest."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatnet.training.sampling import BatchSampler

samplers = st.builds(
    lambda slices, slice_size, extra, epochs, seed, repeats: BatchSampler(
        slices * slice_size * 2 + extra, slices * slice_size, slice_size, epochs, seed, repeats
    ),
    st.sampled_from([1, 2, 4, 6]),
    st.integers(1, 4),
    st.integers(0, 5),
    st.integers(1, 3),
    st.integers(0, 2**32),
    st.integers(1, 3),
)


@given(samplers, st.data())
def test_several_processes_draw_what_one_process_draws(sampler, data):
    world = data.draw(st.sampled_from([size for size in (1, 2, 3, 6) if sampler.slices % size == 0]))
    alone = list(sampler.slices_of(0, 1))
    share = sampler.share(world)
    together = [list(sampler.slices_of(rank, world)) for rank in range(world)]
    woven = [
        together[rank][step * share + within]
        for step in range(sampler.steps)
        for rank in range(world)
        for within in range(share)
    ]
    assert woven == alone


@given(samplers, st.data())
def test_a_resumed_training_draws_the_remaining_batches(sampler, data):
    step = data.draw(st.integers(0, sampler.steps))
    assert list(sampler.slices_of(0, 1, step)) == list(sampler.slices_of(0, 1))[step * sampler.slices :]


@given(samplers)
def test_no_image_appears_more_often_than_repeats_allows(sampler):
    for number in range(sampler.epochs):
        counts = np.bincount(sampler.epoch(number), minlength=sampler.images)
        assert counts.max() <= sampler.repeats
        assert counts.sum() == sampler.images


def test_repeated_images_share_a_batch_and_are_never_neighbours():
    sampler = BatchSampler(1000, 64, 64, 1, seed=0, repeats=3)
    epoch = sampler.epoch(0)
    for start in range(0, 960, 64):
        batch = epoch[start : start + 64]
        assert len(set(batch)) in (22, 23), "a third of 64, and one cut off at each end"
        assert all(one != other for one, other in pairwise(batch))


def test_epochs_differ_in_order_and_draws_in_position():
    sampler = BatchSampler(40, 8, 4, 3, seed=0)
    assert sampler.epoch(0) != sampler.epoch(1)
    positions = [draw.position for slice_ in sampler.slices_of(0, 1) for draw in slice_]
    assert len(set(positions)) == len(positions) == 3 * 40


def test_batches_that_cannot_be_shared_evenly_are_refused():
    with pytest.raises(ValueError, match="slice_size=3 must divide batch_size=8"):
        BatchSampler(40, 8, 3, 1, 0)
    with pytest.raises(ValueError, match="3 processes cannot share the 2 slices of a batch evenly: make batch_size=8"):
        BatchSampler(40, 8, 4, 1, 0).share(3)
    with pytest.raises(ValueError, match="batch_size=64 is more than the 40 images"):
        BatchSampler(40, 64, 4, 1, 0)
