"""Data: what is read is what the files hold, and what is missing, damaged or inconsistent is said before training."""

from __future__ import annotations

import errno
import json
import re
import shutil
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hatnet.config import get_config
from hatnet.data import SOURCES, DataError, ImageFolder, ImageTensor, Split, leave_out, left_out, open_data
from hatnet.data.image_folder import broken_files
from hatnet.data.sources import _read_cifar
from hatnet.data.transforms import for_testing, for_training, mixing
from hatnet.training.batches import Augmented
from hatnet.training.distributed import World
from hatnet.training.recipes import get_recipe
from hatnet.training.sampling import Draw
from hatnet.training.shared_data import open_together, without_broken_files


def write_idx(path, array):
    """The format of Fashion-MNIST's files: a magic number with type and rank, sizes, bytes."""
    header = [0x0800 + array.ndim, *array.shape]
    path.write_bytes(np.array(header, dtype=">i4").tobytes() + array.astype(np.uint8).tobytes())


def write_fashion(root, train=60_000, test=10_000, label=3):
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", train), ("t10k", test)):
        images = np.zeros((count, 28, 28), np.uint8)
        images[:, 5, 7] = np.arange(count) % 251
        write_idx(raw / f"{part}-images-idx3-ubyte", images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.full(count, label))
    return raw


def write_folder(root, classes=("cat", "dog"), images=3, size=(40, 30), parts=("train", "val")):
    generator = np.random.default_rng(0)
    for part in parts:
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for number in range(images):
                pixels = generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


def test_embedded_data_is_balanced_and_needs_no_download(tmp_path):
    data = open_data("fashion-subset", tmp_path)
    assert torch.bincount(data.train.labels).tolist() == [1200] * 10
    assert torch.bincount(data.test.labels).tolist() == [250] * 10
    assert data.train.image(0).shape == (1, 28, 28)
    assert list(tmp_path.iterdir()) == []


def test_embedded_data_takes_less_than_8_mb():
    from hatnet.data.sources import EMBEDDED

    assert EMBEDDED.stat().st_size < 8e6


def test_whole_fashion_mnist_is_read_from_its_idx_files(tmp_path):
    write_fashion(tmp_path)
    data = open_data("fashion-mnist", tmp_path)
    assert (len(data.train), len(data.test)) == (60_000, 10_000)
    assert int(data.train.image(250)[0, 5, 7]) == 250
    assert set(data.test.labels.tolist()) == {3}


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar10", "cifar100", "imagenette"])
def test_missing_data_says_how_to_get_it(name, tmp_path):
    with pytest.raises(DataError, match=r"is not in .*--download to fetch \d+ MB from .*--data-dir"):
        open_data(name, tmp_path)


def test_half_downloaded_fashion_mnist_is_refused(tmp_path):
    raw = write_fashion(tmp_path)
    file = raw / "train-images-idx3-ubyte"
    whole = file.read_bytes()
    for cut in (1_000_000, 10, 0):
        file.write_bytes(whole[:cut])
        for download in (False, True):  # which fetches nothing, since the file is there
            with pytest.raises(
                DataError, match="half-downloaded .*delete .*FashionMNIST and fetch it again with --dow"
            ):
                open_data("fashion-mnist", tmp_path, download)
    file.unlink()
    with pytest.raises(DataError, match="only half of it .*Add --download"):
        open_data("fashion-mnist", tmp_path)


def test_fashion_mnist_with_too_few_images_is_refused(tmp_path):
    write_fashion(tmp_path, train=100)
    with pytest.raises(DataError, match="not 60000 of 28 x 28"):
        open_data("fashion-mnist", tmp_path)


def test_labels_out_of_range_are_refused(tmp_path):
    write_fashion(tmp_path, label=10)
    with pytest.raises(DataError, match=r"training label 10, but its 10 classes are numbered from 0 to 9"):
        open_data("fashion-mnist", tmp_path)


def write_cifar(root, fine):
    """The binary version, sparse: all zeros but for the first record of each file."""
    inside = root / ("cifar-100-binary" if fine else "cifar-10-batches-bin")
    inside.mkdir()
    bytes_, files = (2, {"train": 50_000, "test": 10_000}) if fine else (1, {})
    files = files or {f"data_batch_{number}": 10_000 for number in range(1, 6)} | {"test_batch": 10_000}
    for place, (name, count) in enumerate(files.items()):
        with (inside / f"{name}.bin").open("wb") as file:
            file.write(bytes([19, 7] if fine else [7]) + bytes([place + 1, 0, 2]))
            file.truncate(count * (bytes_ + 3072))
    names = [f"class{number}" for number in range(100 if fine else 10)]
    (inside / ("fine_label_names.txt" if fine else "batches.meta.txt")).write_text("\n".join(names) + "\n\n")
    return inside


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


def test_half_downloaded_cifar_is_named(tmp_path):
    inside = write_cifar(tmp_path, fine=False)
    with (inside / "data_batch_3.bin").open("r+b") as file:
        file.truncate(1234)
    with pytest.raises(DataError, match=r"data_batch_3.bin has 1,234 bytes instead of 30,730,000"):
        open_data("cifar10", tmp_path)


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize("name", ["data_batch_4.bin", "test_batch.bin", "batches.meta.txt"])
def test_cifar_without_one_of_its_files_is_to_be_fetched_again(name, download, tmp_path):
    inside = write_cifar(tmp_path, fine=False)
    (inside / name).unlink()
    with pytest.raises(DataError, match=f"{name} .*: delete {inside} and fetch it again with --download"):
        open_data("cifar10", tmp_path, download)


def write_imagenette(root, monkeypatch):
    """Three training photos and two test photos of each of two classes, and that is all there is."""
    monkeypatch.setattr("hatnet.data.sources.IMAGENETTE", {"train": 6, "val": 4})
    for part, count in (("train", 3), ("val", 2)):
        for name in ("n01440764", "n02102040"):
            folder = root / "imagenette2-320" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (40, 30)).save(folder / f"{number}.JPEG", "JPEG")
    return root / "imagenette2-320"


def test_imagenette_is_read_from_its_folders(tmp_path, monkeypatch):
    write_imagenette(tmp_path, monkeypatch)
    data = open_data("imagenette", tmp_path)
    assert data.classes == ("tench", "English springer")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.test.image(3).shape == (3, 30, 40)


@pytest.mark.parametrize("download", [False, True])
@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("train/n01440764/2.JPEG", r"\(train has 5 of 6 photos\)"),
        ("val/n02102040", r"\(val lacks the class folder n02102040; val has 2 of 4 photos\)"),
        ("val", r"\(val lacks the class folders n01440764, n02102040; val has 0 of 4 photos\)"),
    ],
)
def test_half_of_imagenette_is_refused(lost, message, download, tmp_path, monkeypatch):
    root = write_imagenette(tmp_path, monkeypatch)
    if (root / lost).is_dir():
        shutil.rmtree(root / lost)
    else:
        (root / lost).unlink()
    with pytest.raises(DataError, match=f"{message}: delete {root} and fetch it again with --download"):
        open_data("imagenette", tmp_path, download)


def test_cifar_labels_lie_before_the_pixels(tmp_path):
    generator = np.random.default_rng(0)
    records = generator.integers(0, 256, (4, 2 + 3072), dtype=np.uint8)
    (tmp_path / "x.bin").write_bytes(records.tobytes())
    found = _read_cifar([tmp_path / "x.bin"], 4, label_bytes=2)
    assert found.labels.tolist() == records[:, 1].tolist()
    assert np.array_equal(found.pixels.numpy(), records[:, 2:].reshape(4, 3, 32, 32))


def test_unknown_data_set_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'fashion-mnist'"):
        open_data("fashion-mnst")


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


def test_broken_files_are_named_and_the_answer_is_kept(tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path / 'images')}")
    cut, text = data.train.paths[1], data.train.paths[4]
    cut.write_bytes(cut.read_bytes()[:200])  # the header is whole, the pixels are not
    text.write_text("not an image")
    seen = []
    assert broken_files(data.train, tmp_path / "kept", step=seen.append) == [cut, text]
    assert len(seen) == 6
    assert broken_files(data.train, tmp_path / "kept", step=lambda _: pytest.fail("looked again")) == [cut, text]
    kept = data.train.without({cut, text})
    assert len(kept) == 4
    assert kept.labels.tolist() == [0, 0, 1, 1]


def test_files_of_a_disk_that_was_away_are_images_again(tmp_path, monkeypatch):
    """The answer is kept, but what it calls broken is looked at again; only that."""
    images = open_data(f"folder:{write_folder(tmp_path / 'photos')}").train
    images.paths[2].write_text("not an image")
    with monkeypatch.context() as away:
        away.setattr(
            "hatnet.data.image_folder.open_image", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "disk away"))
        )
        assert broken_files(images, tmp_path / "kept") == images.paths
    assert broken_files(images, tmp_path / "kept") == [images.paths[2]]
    read = []
    monkeypatch.setattr("hatnet.data.image_folder.open_image", lambda path, _: read.append(path) or np.zeros((2, 2, 3)))
    assert broken_files(images, tmp_path / "kept") == []
    assert read == [images.paths[2]]


def test_a_data_set_goes_without_the_same_files_again(tmp_path):
    """By their places among all, however they came to be left out, and whichever can be read now."""
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


def test_broken_files_are_left_out_however_their_folder_is_spelled(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "photos")
    (folder / "train" / "cat" / "1.png").write_text("not an image")
    monkeypatch.chdir(tmp_path)
    relative, absolute = (open_data(f"folder:{name}").train for name in ("photos", folder))
    assert broken_files(relative, tmp_path / "kept") == [relative.paths[1]]
    broken = broken_files(absolute, tmp_path / "kept", step=lambda _: pytest.fail("looked again"))
    assert broken == [absolute.paths[1]]
    assert len(absolute.without(set(broken))) == 5


MAKE = 0x10F  # of EXIF: who made the camera


@pytest.mark.parametrize("damaged", [0x100, 0x11A])
def test_a_photo_with_damaged_facts_about_it_is_turned_upright_all_the_same(damaged, tmp_path):
    """Tags that should hold numbers hold words; one such photo must not end the reading of all."""
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned by 90 degrees
    exif[MAKE] = "words"
    order = ">" if b"MM" in exif.tobytes()[:8] else "<"
    words, numbers = (struct.pack(f"{order}HH", tag, 2) for tag in (MAKE, damaged))  # 2: text
    facts = exif.tobytes().replace(words, numbers)
    assert facts != exif.tobytes()
    write_folder(tmp_path)
    photo = tmp_path / "train" / "cat" / "0.jpg"
    Image.new("RGB", (40, 30)).save(photo, exif=facts)
    data = open_data(f"folder:{tmp_path}")
    assert broken_files(data.train, tmp_path / "kept") == []
    assert data.train.image(data.train.paths.index(photo)).shape == (3, 40, 30)


def test_an_answer_that_can_not_be_kept_is_an_error_before_files_are_read(tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path / 'data')}")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        broken_files(data.train, tmp_path / "file", step=lambda _: pytest.fail("read a file"))


def test_a_link_that_leads_nowhere_is_a_broken_file(tmp_path):
    folder = write_folder(tmp_path / "photos")
    link, loop = folder / "train" / "cat" / "a.png", folder / "train" / "dog" / "loop.png"
    link.symlink_to(tmp_path / "away.png")
    loop.symlink_to(loop)
    images = open_data(f"folder:{folder}").train
    for _ in range(2):
        assert broken_files(images, tmp_path / "kept") == [link, loop]
    Image.new("RGB", (8, 8)).save(tmp_path / "away.png")
    assert broken_files(images, tmp_path / "kept") == [loop], "it leads somewhere now"


def test_the_first_ten_broken_files_are_printed_and_the_file_that_lists_all(tmp_path, capsys):
    data = open_data(f"folder:{write_folder(tmp_path / 'photos', images=7)}")
    for path in data.train.paths[:12]:
        path.write_text("not an image")
    kept = without_broken_files(data, tmp_path / "kept", World(0, 1, torch.device("cpu")))
    assert (len(kept.train), len(kept.test)) == (2, 14)
    printed = capsys.readouterr().out
    assert "12 of 14 training images can't be read and are left out:" in printed
    assert str(data.train.paths[9]) in printed
    assert str(data.train.paths[10]) not in printed
    answer = Path(re.search(r"\.\.\. and 2 more; (.*) lists all", printed)[1])
    assert json.loads(answer.read_text())["files"] == [str(path) for path in data.train.paths[:12]]


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_alone_fetches_and_the_others_wait_for_it(rank, tmp_path, monkeypatch):
    did = []
    source = replace(SOURCES["fashion-subset"], open=lambda _, download: did.append(download) or small_split())
    monkeypatch.setitem(SOURCES, "fashion-subset", source)
    monkeypatch.setattr(World, "wait", lambda _: did.append("wait"))
    open_together("fashion-subset", tmp_path, True, World(rank, 2, torch.device("cpu")))
    assert did == ([True, "wait"] if rank == 0 else ["wait", False])


def small_split():
    one = ImageTensor(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.long))
    return Split("one", one, one, ("a",), (0.5,), (0.5,))


def test_a_file_that_goes_bad_during_training_is_replaced_by_its_neighbour(tmp_path, capsys):
    data = open_data(f"folder:{write_folder(tmp_path)}")
    data.train.paths[2].unlink()
    images = Augmented(data.train, for_testing(get_recipe("imagenette"), data), seed=0)
    got, label = images[Draw(2, 0)]
    want, want_label = images[Draw(3, 0)]
    assert torch.equal(got, want)
    assert label == want_label
    assert str(data.train.paths[2]) in capsys.readouterr().out


def test_augmentation_depends_on_seed_and_position_alone():
    data = open_data("fashion-subset")
    recipe = replace(get_recipe("cifar10"), image_size=28)
    images = Augmented(data.train, for_training(recipe, data), seed=1)
    first, _ = images[Draw(5, 17)]
    images[Draw(6, 18)]
    again, _ = images[Draw(5, 17)]
    elsewhere, _ = images[Draw(5, 18)]
    other_seed, _ = Augmented(data.train, for_training(recipe, data), seed=2)[Draw(5, 17)]
    assert torch.equal(first, again)
    assert not torch.equal(first, elsewhere)
    assert not torch.equal(first, other_seed)


def test_tested_pixels_have_the_mean_and_variance_of_the_data_taken_out():
    data = open_data("fashion-subset")
    transform = for_testing(get_recipe("fashion"), data)
    pixels = torch.stack([transform(data.test.image(index)) for index in range(0, len(data.test), 5)])
    assert abs(float(pixels.mean())) < 0.05
    assert abs(float(pixels.std()) - 1) < 0.05


def test_photos_of_any_size_become_squares(tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path, size=(53, 31))}")
    recipe = replace(get_recipe("imagenet"), image_size=32)
    for transform in (for_training(recipe, data), for_testing(recipe, data)):
        assert transform(data.train.image(0)).shape == (3, 32, 32)


def test_mixed_labels_are_distributions():
    mix = mixing(get_recipe("cifar10"), classes=10)
    assert mix is not None
    torch.manual_seed(0)
    images, labels = mix(torch.rand(8, 3, 32, 32), torch.arange(8))
    assert images.shape == (8, 3, 32, 32)
    assert torch.allclose(labels.sum(1), torch.ones(8))
    assert mixing(get_recipe("fashion"), classes=10) is None


def test_every_recipe_builds_its_network_for_its_data():
    for name in ("fashion-quick", "fashion", "cifar10", "cifar100", "imagenette", "imagenet"):
        recipe = get_recipe(name)
        config = recipe.config(10, 1)
        assert config.layout(recipe.image_size, recipe.image_size)
        assert config.name == get_config(recipe.variant).name


def test_a_data_set_without_images_is_refused():
    none = ImageTensor(torch.zeros(0, 1, 28, 28, dtype=torch.uint8), torch.zeros(0, dtype=torch.long))
    some = ImageTensor(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.long))
    with pytest.raises(DataError, match="no training images"):
        Split("empty", none, some, ("a",), (0.5,), (0.5,))


def test_folders_and_arrays_are_told_apart(tmp_path):
    assert isinstance(open_data(f"folder:{write_folder(tmp_path)}").train, ImageFolder)
    assert not isinstance(open_data("fashion-subset").train, ImageFolder)
