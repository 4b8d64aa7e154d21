"""Folders of images: classes, labels, and the files left out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from hatnet.data import DataError, ImageFolder, fingerprint, leave_out, left_out, open_data
from tests.training.image_files import write_folder


def test_folders_of_images_are_read_with_their_class_names(tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path)}")
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    pixels = np.asarray(Image.open(tmp_path / "train" / "dog" / "1.png"))
    assert np.array_equal(data.train.image(4).permute(1, 2, 0).numpy(), pixels)


def test_class_folders_that_differ_are_listed(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "train" / "fox").mkdir()
    with pytest.raises(DataError, match=r"same class folders; only in one of them \(1\): fox"):
        open_data(f"folder:{tmp_path}")


def test_a_class_without_images_is_named(tmp_path):
    write_folder(tmp_path)
    for part in ("train", "val"):
        (tmp_path / part / "fox").mkdir()
    with pytest.raises(DataError, match="no images in .*fox"):
        open_data(f"folder:{tmp_path}")


def test_a_missing_part_is_named(tmp_path):
    write_folder(tmp_path, parts=("train",))
    with pytest.raises(DataError, match="no folder .*test.*must hold train and val"):
        open_data(f"folder:{tmp_path}")


def test_folders_are_not_loaded_into_memory(tmp_path):
    assert isinstance(open_data(f"folder:{write_folder(tmp_path)}").train, ImageFolder)
    assert not isinstance(open_data("fashion-subset").train, ImageFolder)


def test_the_same_files_are_left_out_again(tmp_path):
    """By their positions among all files, whether they were left out at once or in turn."""
    whole = open_data(f"folder:{write_folder(tmp_path / 'photos', images=5)}")
    once = whole.train.without({whole.train.paths[1], whole.train.paths[7]})
    twice = once.without({whole.train.paths[4], whole.train.paths[9]})
    assert (once.left_out, twice.left_out) == ([1, 7], [1, 4, 7, 9])
    assert twice.labels.tolist() == [0, 0, 0, 1, 1, 1]
    places = left_out(replace(whole, train=twice))
    assert places == {"train": [1, 4, 7, 9], "test": []}
    for data in (whole, replace(whole, train=once), replace(whole, train=twice)):
        again = leave_out(data, places)
        assert (again.train.paths, again.train.left_out) == (twice.paths, twice.left_out)
        assert torch.equal(again.train.labels, twice.labels)
        assert again.test.paths == whole.test.paths
    assert leave_out(open_data("fashion-subset"), left_out(open_data("fashion-subset"))).train.labels.shape == (12_000,)


def test_a_fingerprint_depends_on_file_names_not_on_their_folder(tmp_path):
    one, moved, renamed = (open_data(f"folder:{write_folder(tmp_path / name)}") for name in ("one", "moved", "renamed"))
    assert fingerprint(one) == fingerprint(moved)
    renamed.train.paths[0] = renamed.train.paths[0].with_name("another.png")
    assert fingerprint(one) != fingerprint(renamed)
