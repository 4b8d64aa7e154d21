"""Batches: each test image once, and unreadable files replaced or left out."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hatnet.data import ImageTensor, open_data
from hatnet.data.transforms import for_testing
from hatnet.training import Training
from hatnet.training.batches import Augmented, batches_for_testing
from hatnet.training.recipes import get_recipe
from hatnet.training.sampling import Draw
from tests.training.image_files import write_folder
from tests.training.runs import ALONE, SMALL, thin


def test_an_unreadable_training_image_is_replaced_by_its_neighbour(tmp_path, capsys):
    data = open_data(f"folder:{write_folder(tmp_path)}")
    data.train.paths[2].unlink()
    images = Augmented(data.train, for_testing(get_recipe("imagenette"), data), seed=0)
    got, label = images[Draw(2, 0)]
    want, want_label = images[Draw(3, 0)]
    assert torch.equal(got, want)
    assert label == want_label
    assert str(data.train.paths[2]) in capsys.readouterr().out


@given(st.integers(1, 9), st.integers(1, 5), st.integers(1, 7))
def test_processes_together_test_each_image_once(images, world, batch_size):
    seen = []
    data = ImageTensor(torch.arange(images).view(-1, 1, 1, 1), torch.arange(images))
    for rank in range(world):
        for _, labels in batches_for_testing(data, lambda *pair: pair, rank, world, batch_size, 0):
            assert len(labels) <= batch_size
            seen += labels.tolist()
    assert sorted(seen) == list(range(images))


def test_an_unreadable_test_image_is_left_out(tmp_path, capsys):
    data = open_data(f"folder:{write_folder(tmp_path, images=5, size=(28, 28))}")
    bad = [data.test.paths[index] for index in (0, 2, 4)]  # of process 0 of 2 a whole batch and half of another
    batches = [batches_for_testing(data.test, for_testing(SMALL, data), rank, 2, 2, 0) for rank in (0, 1)]
    for path in bad:
        path.unlink()
    seen = [sum(len(labels) for _, labels in part) for part in batches]
    assert seen == [2, 5]
    printed = capsys.readouterr().out
    assert all(printed.count(f"left out of the test: no image file at {path}") == 1 for path in bad)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_test_image_does_not_end_training(workers, tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path / 'data', images=8, size=(28, 28))}")
    training = Training(replace(SMALL, epochs=2), data, tmp_path / "run", ALONE, build=thin, workers=workers)
    data.test.paths[3].unlink()
    rows = training.run()
    assert len(rows) == 2
    assert all(15 * row["test_accuracy"] % 1 == pytest.approx(0, abs=1e-9) for row in rows), "15 images are counted"
