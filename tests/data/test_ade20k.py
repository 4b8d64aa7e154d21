"""Folders like those of ADE20K: class numbers become labels, and what cannot be used is named."""

import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from hatnet.data import DataError, open_data
from hatnet.data.ade20k import read_numbers
from hatnet.data.broken_files import broken_files, why_broken
from hatnet.training.shared_data import without_broken_files
from tests.data.dense_files import SIZE, columns, write_ade20k
from tests.training.runs import ALONE


def opened(root):
    return open_data(f"ade20k:{root}", task="segmentation")


def refused(root, message):
    with pytest.raises(DataError, match=message):
        opened(root)


def test_class_numbers_start_at_0_and_other_is_unknown(tmp_path):
    """ADE20K: 0 is other, and 1 to 150 are the classes."""
    data = opened(write_ade20k(tmp_path))
    assert (data.kind, data.classes) == ("segmentation", ("1", "2", "3", "4"))
    label = data.train.label(0)
    assert label.dtype == torch.int64
    expected = [255, 0, 1, 2, 3] * 6
    assert label[0].tolist() == expected
    assert np.array_equal(label, np.tile(expected, (SIZE[0], 1)))
    assert data.train.labels.tolist() == [0, 0, 0]
    assert data.train.image(0).shape == (3, *SIZE)


def test_all_150_classes_of_ade20k_with_their_names(tmp_path):
    root = write_ade20k(tmp_path, classes=4)
    lines = [f"{n}\t0.1\t10\t1\tthing {n}, things" for n in range(1, 151)]
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *lines]))
    numbers = np.resize(np.arange(151, dtype=np.uint8), SIZE)
    Image.fromarray(numbers).save(root / "annotations" / "training" / "1.png")
    data = opened(root)
    assert (len(data.classes), data.classes[0], data.classes[-1]) == (150, "thing 1, things", "thing 150, things")
    label = data.train.label(0).numpy()
    assert (label[numbers > 0] == numbers[numbers > 0].astype(int) - 1).all()
    assert (label[numbers == 0] == 255).all()


def test_names_of_ones_own_and_255_for_unknown(tmp_path):
    root = write_ade20k(tmp_path)
    (root / "classes.txt").write_text("sky\nsea\nsand\nrock\n")
    numbers = columns()
    numbers[0] = 255
    Image.fromarray(numbers).save(root / "annotations" / "training" / "1.png")
    data = opened(root)
    assert data.classes == ("sky", "sea", "sand", "rock")
    assert data.train.label(0)[0].unique().tolist() == [255]
    (root / "classes.txt").unlink()
    assert opened(root).classes == ("1", "2", "3", "4"), "255 is no class"


def saved(path, mode, bits=None):
    """The numbers of `columns` as a PNG in another mode, which read as grey would be other numbers."""
    numbers = columns(3)
    image = Image.fromarray(numbers)
    if mode == "P":
        image.putpalette([value for n in range(256) for value in (255 - n, n // 2, 7)])
    if mode == "I;16":
        image = Image.fromarray(numbers.astype(np.uint16))
    image.save(path, **({"bits": bits} if bits else {}))
    return numbers


@pytest.mark.parametrize(("mode", "bits"), [("L", None), ("P", None), ("P", 2), ("P", 4), ("I;16", None)])
def test_numbers_are_read_as_they_are_stored(mode, bits, tmp_path):
    numbers = saved(tmp_path / "a.png", mode, bits)
    assert np.array_equal(read_numbers(tmp_path / "a.png"), numbers)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_of_few_bits_is_not_stretched(bits, tmp_path):
    """Pillow multiplies grey of 2 bits by 85, of 4 bits by 17. The file is made by hand."""
    numbers = columns(2**bits - 1)[:, :24]
    packed = np.zeros((20, 24 * bits), np.uint8)
    for bit in range(bits):
        packed[:, bit::bits] = numbers >> (bits - 1 - bit) & 1
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(packed, axis=1))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 24, 20, bits, 0, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    assert np.array_equal(read_numbers(tmp_path / "a.png"), numbers)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_instead_of_numbers_are_refused(mode, tmp_path):
    Image.new(mode, (30, 20)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a\.png cannot be read .*its pixels are colours \(mode {mode}\)"):
        read_numbers(tmp_path / "a.png")
    Image.new("L", (30, 20)).save(tmp_path / "b.jpg")
    with pytest.raises(DataError, match=r"b\.jpg cannot be read .*in the format JPEG; save it as PNG"):
        read_numbers(tmp_path / "b.jpg")


def test_annotations_that_do_not_fit_are_left_out_before_training(tmp_path):
    root = write_ade20k(tmp_path / "d", images=6)
    (root / "classes.txt").write_text("sky\nsea\nsand\nrock")
    folder = root / "annotations" / "training"
    Image.fromarray(columns().T.copy()).save(folder / "1.png")
    Image.fromarray(columns() + 1).save(folder / "2.png")
    (folder / "3.png").write_bytes(b"no image")
    Image.new("RGB", (30, 20)).save(folder / "4.png")
    (root / "images" / "training" / "5.png").write_bytes(b"no image")
    train = opened(root).train
    for index, message in enumerate(
        (
            "has 30 x 20 pixels, but its image .*1.png 20 x 30",
            "class number 5, but there are 4",
            "cannot be read",
            "colours",
        )
    ):
        with pytest.raises(DataError, match=message):
            train.label(index)
    found = broken_files(train, tmp_path / "kept")
    assert [path.name for path in found] == ["1.png", "2.png", "3.png", "4.png", "5.png"]
    Image.fromarray(columns()).save(folder / "1.png")
    assert len(broken_files(opened(root).train, tmp_path / "kept")) == 4, "changed annotations are read again"


def test_images_without_annotation_are_counted_and_too_many_are_refused(tmp_path):
    root = write_ade20k(tmp_path, images=12)
    for number in (3, 7, 9):
        (root / "annotations" / "training" / f"{number}.png").unlink()
    data = opened(root)
    assert len(data.train) == 9
    assert sorted(int(path.stem) for path in data.train.paths) == [1, 2, 4, 5, 6, 8, 10, 11, 12]
    assert "3 of 12 images in " in data.note
    assert "3.png. They are left out." in data.note
    part = data.train.part(torch.tensor([5, 0]))
    assert [path.name for path in part.annotations] == [data.train.paths[place].name for place in (5, 0)]
    (root / "annotations" / "training" / "4.png").rename(root / "annotations" / "training" / "4.PNG")
    refused(root, r"4 of 12 images in .*training have no annotation, such as .*\.png. Give them annotations")
    for number in (1, 2, 5, 6, 8, 10, 11, 12):
        (root / "annotations" / "training" / f"{number}.png").rename(
            root / "annotations" / "training" / f"{number}.jpg"
        )
    refused(root, r"12 of 12 .*such as .*1\.png \(there is 1\.jpg, but it must end in \.png\)\. Give them")


def test_an_annotation_without_a_known_class_is_a_broken_file(tmp_path):
    """Its image would teach nothing and test nothing; with all like that, training stops before it starts."""
    root = write_ade20k(tmp_path / "a", images=5)
    (root / "classes.txt").write_text("sky\nsea\nice\nrock", encoding="utf-8-sig")  # as Windows writes it
    for name in (2, 4):
        Image.fromarray(255 * (columns() > 2).astype(np.uint8)).save(root / "annotations" / "training" / f"{name}.png")
    data = opened(root)
    assert data.classes == ("sky", "sea", "ice", "rock")
    broken = broken_files(data.train, tmp_path / "kept")
    assert [path.name for path in broken] == ["2.png", "4.png"]
    assert "training/2.png has no pixel of a known class: it has only 0 and 255" in why_broken(data.train, broken[0])
    kept = without_broken_files(data, tmp_path / "kept", ALONE)
    assert (len(kept.train), len(kept.test)) == (3, 5)
    for name in range(1, 6):
        Image.new("L", (30, 20)).save(root / "annotations" / "validation" / f"{name}.png")
    with pytest.raises(DataError, match="5 of 5 test images cannot be used. Correct them, or take them out"):
        without_broken_files(opened(root), tmp_path / "kept", ALONE)


def test_what_is_missing_or_ambiguous_is_refused(tmp_path):
    refused(tmp_path / "no", r"no folder .*images/training: .* must hold images/training, images/validation")
    root = write_ade20k(tmp_path / "a")
    (root / "classes.txt").write_text("sky\nsea\nsky\nrock")
    refused(root, r"classes\.txt must have one printable name per class, each once; look at 'sky'")
    (root / "classes.txt").write_text("sky")
    refused(root, r"has 1 classes \(its list of names\); a segmentation takes 2 to 254")
    (root / "classes.txt").write_bytes(b"\xff\xfe")
    refused(root, r"classes\.txt cannot be read as text")
    (root / "classes.txt").unlink()
    image = root / "images" / "training" / "1.png"
    Image.open(image).save(image.with_suffix(".jpg"))
    refused(root, r"1\.jpg and .*1\.png have the same annotation .*1\.png; rename one image")
    for path in (root / "images" / "training").iterdir():
        path.unlink()
    refused(root, "no images in .*training")


def test_other_classes_check_the_files_again(tmp_path):
    """A mask that was fine for five classes has a number too high for four."""
    root = write_ade20k(tmp_path / "data", classes=5)
    (root / "classes.txt").write_text("sky\nsea\nsand\nrock\ntree\n")
    assert broken_files(opened(root).train, tmp_path) == []
    (root / "classes.txt").write_text("sky\nsea\nsand\nrock\n")
    images = opened(root).train
    assert broken_files(images, tmp_path) == images.paths
    reason = why_broken(images, images.paths[0])
    assert reason.startswith(f"{images.paths[0]}: ")
    assert "1.png has the class number 5, but there are 4 classes" in reason
