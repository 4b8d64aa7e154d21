"""Batches: processes share the same ones, each test image counts once, and unreadable files end nothing."""

import multiprocessing
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hatnet.data import ImageTensor
from hatnet.data.transforms import for_testing
from hatnet.training.batches import Augmented, batches_for_testing
from hatnet.training.progress import Monitor
from hatnet.training.sampling import BatchSampler, Draw
from tests.training.image_files import folder_data
from tests.training.runs import SMALL, start

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
    share = sampler.share(world)
    together = [list(sampler.slices_of(rank, world)) for rank in range(world)]
    woven = [
        slice_
        for step in range(sampler.steps)
        for slices in together
        for slice_ in slices[step * share : (step + 1) * share]
    ]
    assert woven == list(sampler.slices_of(0, 1))


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
    epoch = BatchSampler(1000, 64, 64, 1, seed=0, repeats=3).epoch(0)
    for start_ in range(0, 960, 64):
        batch = epoch[start_ : start_ + 64]
        assert len(set(batch)) in (22, 23), "a third of 64, and one cut off at each end"
        assert all(one != other for one, other in pairwise(batch))


def test_epochs_differ_in_order_and_draws_in_position():
    sampler = BatchSampler(40, 8, 4, 3, seed=0)
    assert sampler.epoch(0) != sampler.epoch(1)
    positions = [draw.position for slice_ in sampler.slices_of(0, 1) for draw in slice_]
    assert len(set(positions)) == len(positions) == 3 * 40


@pytest.mark.parametrize(
    ("images", "batch_size", "slice_size", "message"),
    [
        (40, 8, 3, "slice_size=3 must divide batch_size=8"),
        (40, 8, 4, "3 processes cannot share the 2 slices of a batch evenly: make batch_size=8"),
        (40, 64, 4, "batch_size=64 is more than the 40 images"),
    ],
)
def test_batches_that_cannot_be_shared_evenly_are_refused(images, batch_size, slice_size, message):
    with pytest.raises(ValueError, match=message):
        BatchSampler(images, batch_size, slice_size, 1, 0).share(3)


@pytest.mark.parametrize(
    ("name", "least"),
    [("images", 0), ("batch_size", 1), ("slice_size", 1), ("epochs", 1), ("seed", 0), ("repeats", 1)],
)
def test_numbers_that_are_too_small_are_refused_by_name(name, least):
    with pytest.raises(ValueError, match=f"{name}={least - 1} must "):
        BatchSampler(**{"images": 8, "batch_size": 4, "slice_size": 2, "epochs": 1, "seed": 0, name: least - 1})


@pytest.mark.parametrize("images", [*range(2, 70), 1000])
def test_the_advised_batch_size_is_even_and_gives_some_steps(images):
    with pytest.raises(ValueError, match="give --batch-size") as refused:
        BatchSampler(images, 2048, 64, 1, 0)
    advised = int(re.search(r"--batch-size (\d+) --slice-size \1,", str(refused.value))[1])
    assert advised % 2 == 0
    assert BatchSampler(images, advised, advised, 1, 0).steps_per_epoch >= min(4, images // 2)


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 7))
def test_processes_together_test_each_image_once(images, world, batch_size):
    seen = []
    data = ImageTensor(torch.arange(images, dtype=torch.uint8).view(-1, 1, 1, 1), torch.arange(images))
    for rank in range(world):
        for _, labels in batches_for_testing(data, lambda *pair: pair, rank, world, batch_size, 0):
            assert len(labels) <= batch_size
            seen += labels.tolist()
    assert sorted(seen) == list(range(images))


def test_an_unreadable_training_image_is_replaced_by_its_neighbour(tmp_path, capsys):
    data = folder_data(tmp_path)
    data.train.paths[2].unlink()
    images = Augmented(data.train, for_testing(SMALL, data), seed=0)
    (got, label), (want, want_label) = images[Draw(2, 0)], images[Draw(3, 0)]
    assert torch.equal(got, want)
    assert label == want_label
    assert str(data.train.paths[2]) in capsys.readouterr().out


def test_an_unreadable_test_image_is_left_out(tmp_path, capsys):
    data = folder_data(tmp_path, images=5)
    bad = [data.test.paths[index] for index in (0, 2, 4)]  # of process 0 of 2 a whole batch and half of another
    batches = [batches_for_testing(data.test, for_testing(SMALL, data), rank, 2, 2, 0) for rank in (0, 1)]
    for path in bad:
        path.unlink()
    assert [sum(len(labels) for _, labels in part) for part in batches] == [2, 5]
    printed = capsys.readouterr().out
    assert all(printed.count(f"left out of the test: no image file at {path}") == 1 for path in bad)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_test_image_does_not_end_training(workers, tmp_path):
    data = folder_data(tmp_path / "data", images=8)
    training = start(tmp_path / "run", replace(SMALL, epochs=2), data, workers=workers)
    data.test.paths[3].unlink()
    rows = training.run()
    assert len(rows) == 2
    assert all(15 * row["test_accuracy"] % 1 == pytest.approx(0, abs=1e-9) for row in rows), "15 images are counted"


def test_the_workers_of_a_training_end_with_it_whatever_the_monitor_refers_to(tmp_path):
    training = start(tmp_path / "run", replace(SMALL, epochs=2), workers=1)
    monitor = Monitor(report=lambda _, held=training: None)
    training.run(monitor)
    assert multiprocessing.active_children()
    del training, monitor
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    "end", [pytest.param("", marks=pytest.mark.long), "raise ValueError"], ids=["finished", "failed"]
)
def test_python_ends_though_workers_are_left(end, tmp_path):
    """As at the end of a command that failed: the error refers to the training, whose workers ignore SIGTERM."""
    code = f"""
import sys
from pathlib import Path
from tests.training.runs import SMALL, start
sys.training = start(Path({str(tmp_path / "run")!r}), SMALL, workers=1)
{end}
"""
    ended = subprocess.run([sys.executable, "-c", code], timeout=600, capture_output=True, text=True)
    assert ended.returncode == (1 if end else 0), ended.stderr
