"""Data sets by name hold what their files hold; missing, damaged or inconsistent files are refused with advice."""

from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import torch

from hatnet.data import DataError, ImageTensor, open_data
from hatnet.data.sources import EMBEDDED
from tests.training.image_files import write_cifar, write_fashion, write_imagenette


def test_embedded_data_is_small_and_balanced_and_needs_no_download(tmp_path):
    assert EMBEDDED.stat().st_size < 8e6
    data = open_data("fashion-subset", tmp_path)
    assert torch.bincount(data.train.labels).tolist() == [1200] * 10
    assert torch.bincount(data.test.labels).tolist() == [250] * 10
    assert data.train.image(0).shape == (1, 28, 28)
    assert list(tmp_path.iterdir()) == []


def test_whole_fashion_mnist_is_read_from_its_idx_files(tmp_path):
    write_fashion(tmp_path)
    data = open_data("fashion-mnist", tmp_path)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert int(data.train.image(250)[0, 5, 7]) == 250
    assert set(data.test.labels.tolist()) == {3}


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100", "imagenette"])
def test_missing_data_says_how_to_get_it_and_an_unknown_name_what_is_near(name, tmp_path):
    with pytest.raises(DataError, match=r"is not in .*--download to fetch \d+ MB from .*--data-dir"):
        open_data(name, tmp_path)
    with pytest.raises(DataError, match=f"did you mean '{name}'"):
        open_data(f"{name[:-1]}-{name[-1]}", tmp_path)


def test_half_downloaded_fashion_mnist_is_refused(tmp_path):
    file = write_fashion(tmp_path) / "train-images-idx3-ubyte"
    whole = file.read_bytes()
    for cut in (1_000_000, 10, 0):
        file.write_bytes(whole[:cut])
        for download in (False, True):  # which fetches nothing, since the file is there
            with pytest.raises(DataError, match="half-downloaded .*delete .*FashionMNIST and fetch it again"):
                open_data("fashion-mnist", tmp_path, download)
    file.unlink()
    with pytest.raises(DataError, match="only half of it .*Add --download"):
        open_data("fashion-mnist", tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": 100}, "not 60000 of 28 x 28"),
        ({"label": 10}, "training label 10, but its 10 classes are numbered from 0 to 9"),
    ],
)
def test_fashion_mnist_with_too_few_images_or_unknown_labels_is_refused(changes, message, tmp_path):
    write_fashion(tmp_path, **changes)
    with pytest.raises(DataError, match=message):
        open_data("fashion-mnist", tmp_path)


@pytest.mark.parametrize("shapes", [((60_000, 28, 27), 60_000), ((60_000, 28, 28), 59_999), ((59_999, 28, 28), 60_000)])
def test_fashion_mnist_of_other_sizes_is_refused(shapes, tmp_path, monkeypatch):
    pixels, labels = shapes
    part = SimpleNamespace(data=torch.zeros(1, dtype=torch.uint8).expand(pixels), targets=torch.zeros(labels))
    monkeypatch.setattr("torchvision.datasets.FashionMNIST", Mock(return_value=part, resources=[]))
    with pytest.raises(DataError, match="not 60000 of 28 x 28: delete"):
        open_data("fashion-mnist", tmp_path)


PIXELS, LABELS = torch.zeros(3, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64)


@pytest.mark.parametrize(
    ("pixels", "labels", "message"),
    [
        (PIXELS.numpy(), LABELS, "pixels must be a dense tensor, got ndarray"),
        (PIXELS.to_sparse(), LABELS, "pixels must be a dense tensor"),
        (PIXELS.to("meta"), LABELS, "pixels must be a dense tensor"),
        (PIXELS, [0, 0, 0], "labels must be a dense tensor, got list"),
        (PIXELS, LABELS.to_sparse(), "labels must be a dense tensor"),
        (PIXELS[0], LABELS, r"pixels must have shape \(images, C_in, H, W\) and hold uint8, got \(1, 2, 2\)"),
        (PIXELS.float(), LABELS, "hold uint8, got .* of torch.float32"),
        (PIXELS, LABELS[0], r"one class per image \(3\), whole numbers; got \(\)"),
        (PIXELS, LABELS[:2], r"one class per image \(3\), whole numbers; got \(2,\)"),
        (PIXELS, LABELS.float(), "whole numbers; got .* of torch.float32"),
        (PIXELS, LABELS.bool(), "whole numbers; got .* of torch.bool"),
    ],
)
def test_images_and_labels_of_other_kinds_are_refused(pixels, labels, message):
    assert len(ImageTensor(PIXELS, LABELS)) == 3
    with pytest.raises(DataError, match=message):
        ImageTensor(pixels, labels)


@pytest.mark.parametrize("fine", [False, True], ids=["CIFAR-10", "CIFAR-100"])
def test_cifar_is_read_from_its_binary_version(fine, tmp_path):
    write_cifar(tmp_path, fine)
    data = open_data("cifar100" if fine else "cifar10", tmp_path)
    assert (len(data.train), len(data.test)) == (50_000, 10_000)
    assert len(data.classes) == (100 if fine else 10)
    assert int(data.train.labels[0]) == 7, "the fine label, where there are two"
    second_file = data.train.image(0 if fine else 10_000)
    assert second_file.shape == (3, 32, 32)
    assert second_file.flatten()[:3].tolist() == [1 if fine else 2, 0, 2], "red first, row by row"


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("half", [None, bytes(1234)])
@pytest.mark.parametrize("name", ["data_batch_4.bin", "test_batch.bin", "batches.meta.txt"])
def test_missing_or_half_downloaded_cifar_must_be_fetched_again(name, half, download, tmp_path):
    inside = write_cifar(tmp_path, fine=False)
    (inside / name).unlink()
    if half:
        (inside / name).write_bytes(half)
    found = "has 1,234 bytes instead of 30,730,000" if half and name.endswith(".bin") else ""
    with pytest.raises(DataError, match=f"{name} {found}.*delete {inside} and fetch it again with --download"):
        open_data("cifar10", tmp_path, download)


def test_imagenette_is_read_from_its_folders(tmp_path, monkeypatch):
    write_imagenette(tmp_path, monkeypatch)
    data = open_data("imagenette", tmp_path)
    assert data.classes == ("tench", "English springer")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.image(3).shape == (3, 30, 40)


@pytest.mark.parametrize("there", [False, True])
def test_imagenette_is_downloaded_only_if_it_is_not_there(there, tmp_path, monkeypatch):
    root, asked = write_imagenette(tmp_path, monkeypatch), []
    if not there:
        root.rename(tmp_path / "server")

    def download(self):
        asked.append(self._size)
        (tmp_path / "server").rename(root)

    monkeypatch.setattr("torchvision.datasets.Imagenette._download", download)
    assert open_data("imagenette", tmp_path, download=True).classes == ("tench", "English springer")
    assert asked == ([] if there else ["320px"])


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("train/n01440764/2.JPEG", r"\(train has 5 of 6 photos\)"),
        ("val/n02102040", r"\(val lacks the class folder n02102040; val has 2 of 4 photos\)"),
        ("val", r"\(val lacks the class folders n01440764, n02102040; val has 0 of 4 photos\)"),
    ],
)
def test_incomplete_imagenette_is_refused(lost, message, download, tmp_path, monkeypatch):
    root = write_imagenette(tmp_path, monkeypatch)
    (root / lost).rename(tmp_path / "lost")
    with pytest.raises(DataError, match=f"{message}: delete {root} and fetch it again with --download"):
        open_data("imagenette", tmp_path, download)


@pytest.mark.parametrize("part", ["train", "test", "validation"])
def test_parts_of_a_data_set_must_be_images(part):
    with pytest.raises(TypeError, match="must be images, such as an ImageTensor or an ImageFolder"):
        replace(open_data("fashion-subset"), **{part: [1, 2, 3]})


def test_a_data_set_without_images_is_refused():
    data = open_data("fashion-subset")
    with pytest.raises(DataError, match="no training images"):
        replace(data, train=data.train.part(torch.arange(0)))
