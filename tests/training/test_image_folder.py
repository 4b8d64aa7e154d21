"""Folders of images: classes, labels, and files that cannot be read. They are found before training, and left out."""

import errno
import json
import os
import re
import struct
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from hatnet.data import SOURCES, DataError, ImageFolder, fingerprint, leave_out, left_out, open_data
from hatnet.data.broken_files import broken_files, result_file, why_broken
from hatnet.data.image_list import find_images
from hatnet.training import Processes
from hatnet.training.shared_data import open_shared_data, without_broken_files
from tests.training.image_files import folder_data, write_folder
from tests.training.runs import ALONE

LOOKED_AGAIN = Mock(side_effect=AssertionError("looked again"))


def test_folders_of_images_are_read_with_their_class_names(tmp_path):
    data = folder_data(tmp_path)
    assert isinstance(data.train, ImageFolder), "not loaded into memory"
    assert data.classes == ("cat", "dog")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    pixels = np.asarray(Image.open(tmp_path / "train" / "dog" / "1.png"))
    assert np.array_equal(data.train.image(4).permute(1, 2, 0).numpy(), pixels)


def test_links_are_followed_once_and_hidden_files_are_no_images(tmp_path):
    root = write_folder(tmp_path / "photos")
    more = write_folder(tmp_path / "more", parts=(".",))
    cats = root / "train" / "cat"
    (cats / "more").symlink_to(more / "cat")
    (cats / "self").symlink_to(cats)
    (cats / ".thumbnails").mkdir()
    for name in ("._0.png", ".thumbnails/0.png"):
        (cats / name).write_bytes((cats / "0.png").read_bytes())
    expected = [*(cats / f"{number}.png" for number in range(3)), *(cats / "more" / f"{n}.png" for n in range(3))]
    data = open_data(f"folder:{root}")
    assert [path for path in data.train.paths if "dog" not in path.parts] == expected
    assert find_images(cats) == expected
    assert data.note == ""


def test_what_is_not_used_is_told(tmp_path):
    write_folder(tmp_path)
    for name in ("train/cat/a.HEIC", "val/dog/notes", "val/x.png"):
        (tmp_path / name).touch()
    (tmp_path / "fox").mkdir()
    note = open_data(f"folder:{tmp_path}").note
    assert note == (
        f"Not used in {tmp_path}: the folders fox; 1 images outside class folders, such as x.png; "
        "2 other files (.heic, without extension)."
    )


@pytest.mark.parametrize(
    ("parts", "extra", "message"),
    [
        (("train", "val"), ["train/fox"], r"same class folders; only in one of them \(1\): fox"),
        (("train", "val"), ["train/fox", "val/fox"], "no images in .*fox"),
        (("train",), [], "no folder .*test.*must hold train and val"),
        (("Train", "validation"), [], "has the folders Train, validation, which look like parts: call them train and"),
        ((".",), ["a\nb"], r"unprintable characters in its name, 'a\\nb'"),
        ((".",), [b"\xff"], "unprintable characters in its name"),
    ],
)
def test_incomplete_folders_are_refused(parts, extra, message, tmp_path):
    write_folder(tmp_path, parts=parts)
    for name in extra:
        (tmp_path / os.fsdecode(name)).mkdir()
    with pytest.raises(DataError, match=message):
        open_data(f"folder:{tmp_path}")


def test_the_same_files_are_left_out_again(tmp_path):
    """By their positions among all files, whether they were left out at once or in turn."""
    whole = folder_data(tmp_path, images=5)
    once = whole.train.without({whole.train.paths[1], whole.train.paths[7]})
    twice = once.without({whole.train.paths[4], whole.train.paths[9]})
    assert (once.left_out, twice.left_out) == ([1, 7], [1, 4, 7, 9])
    assert twice.labels.tolist() == [0, 0, 0, 1, 1, 1]
    places = left_out(replace(whole, train=twice))
    assert places == {"train": [1, 4, 7, 9], "test": []}
    for images in (whole.train, once, twice):
        again = leave_out(replace(whole, train=images), places)
        assert (again.train.paths, again.train.left_out) == (twice.paths, twice.left_out)
        assert torch.equal(again.train.labels, twice.labels)
        assert again.test.paths == whole.test.paths
    assert leave_out(open_data("fashion-subset"), left_out(open_data("fashion-subset"))).train.labels.shape == (12_000,)


def test_a_fingerprint_depends_on_file_names_not_on_their_folder(tmp_path):
    one, moved, renamed = (folder_data(tmp_path / name) for name in ("one", "moved", "renamed"))
    assert fingerprint(one) == fingerprint(moved)
    renamed.train.paths[0] = renamed.train.paths[0].with_name("another.png")
    assert fingerprint(one) != fingerprint(renamed)


def test_broken_files_are_found_and_the_result_is_kept(tmp_path):
    images = folder_data(tmp_path / "images").train
    cut, text = images.paths[1], images.paths[4]
    cut.write_bytes(cut.read_bytes()[:200])  # the header is whole, the pixels are not
    text.write_text("not an image")
    seen = []
    assert broken_files(images, tmp_path / "kept", step=seen.append) == [cut, text]
    assert len(seen) == 6
    assert broken_files(images, tmp_path / "kept", step=LOOKED_AGAIN) == [cut, text]
    assert images.without({cut, text}).labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(("size", "kept"), [((50, 1), True), ((51, 1), False), ((3, 151), False)])
def test_strips_that_resizing_would_make_too_large_are_left_out(size, kept, tmp_path):
    """With a shorter side of 224, 1 x 20,000 pixels become 224 x 4,480,000."""
    images = folder_data(tmp_path / "images").train
    strip = images.paths[1]
    Image.new("RGB", size).save(strip)
    assert broken_files(images, tmp_path / "kept") == ([] if kept else [strip])
    if not kept:
        reason = f"{strip} has {size[1]} x {size[0]} pixels, one side more than 50 times the other; crop it"
        assert why_broken(images, strip) == reason


def test_results_of_older_checks_are_not_used(tmp_path, monkeypatch):
    images = folder_data(tmp_path / "images").train
    monkeypatch.setattr("hatnet.data.broken_files.CHECKS", 1)
    before = result_file(images, tmp_path)
    monkeypatch.undo()
    assert result_file(images, tmp_path) != before


def test_files_are_readable_again_when_their_disk_is_back(tmp_path, monkeypatch):
    images = folder_data(tmp_path / "photos").train
    images.paths[2].write_text("not an image")
    with monkeypatch.context() as away:
        away.setattr("hatnet.data.image_folder.open_image", Mock(side_effect=OSError(errno.EIO, "disk away")))
        assert broken_files(images, tmp_path / "kept") == images.paths
    assert broken_files(images, tmp_path / "kept") == [images.paths[2]]
    read = Mock(return_value=np.zeros((2, 2, 3)))
    monkeypatch.setattr("hatnet.data.image_folder.open_image", read)
    assert broken_files(images, tmp_path / "kept") == []
    read.assert_called_once_with(images.paths[2], "RGB")  # only the file recorded as broken


def test_the_result_holds_however_the_folder_is_spelled(tmp_path, monkeypatch):
    absolute = folder_data(tmp_path / "photos").train
    absolute.paths[1].write_text("not an image")
    monkeypatch.chdir(tmp_path)
    relative = open_data("folder:photos").train
    assert broken_files(relative, tmp_path / "kept") == [relative.paths[1]]
    broken = broken_files(absolute, tmp_path / "kept", step=LOOKED_AGAIN)
    assert broken == [absolute.paths[1]]
    assert len(absolute.without(set(broken))) == 5


MAKE = 0x10F  # the EXIF tag of the camera's maker


@pytest.mark.parametrize("damaged", [0x100, 0x11A])
def test_a_photo_with_damaged_exif_data_is_still_turned_upright(damaged, tmp_path):
    """Tags that should hold numbers hold words. One such photo must not stop the search."""
    exif = Image.Exif()
    exif[0x112] = 6  # to be turned by 90 degrees
    exif[MAKE] = "words"
    order = ">" if b"MM" in exif.tobytes()[:8] else "<"
    words, numbers = (struct.pack(f"{order}HH", tag, 2) for tag in (MAKE, damaged))  # 2: text
    facts = exif.tobytes().replace(words, numbers)
    assert facts != exif.tobytes()
    images = folder_data(tmp_path).train
    images.paths[0] = tmp_path / "photo.jpg"
    Image.new("RGB", (40, 30)).save(images.paths[0], exif=facts)
    assert broken_files(images, tmp_path / "kept") == []
    assert images.image(0).shape == (3, 40, 30)


def test_an_unwritable_cache_is_an_error_before_files_are_read(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        broken_files(folder_data(tmp_path / "data").train, tmp_path / "file", step=LOOKED_AGAIN)


def test_a_dangling_link_is_a_broken_file(tmp_path):
    write_folder(tmp_path / "photos")
    link, loop = (tmp_path / "photos" / "train" / name for name in ("cat/a.png", "dog/loop.png"))
    link.symlink_to(tmp_path / "away.png")
    loop.symlink_to(loop)
    images = open_data(f"folder:{tmp_path / 'photos'}").train
    for _ in range(2):
        assert broken_files(images, tmp_path / "kept") == [link, loop]
    Image.new("RGB", (8, 8)).save(tmp_path / "away.png")
    assert broken_files(images, tmp_path / "kept") == [loop], "it leads somewhere now"


def test_ten_broken_files_are_printed_with_the_path_of_the_full_list(tmp_path, capsys):
    data = folder_data(tmp_path / "photos", images=24)
    broken = data.train.paths[:12]
    for path in broken:
        path.write_text("not an image")
    kept = without_broken_files(data, tmp_path / "kept", ALONE)
    assert (len(kept.train), len(kept.test)) == (36, 48)
    printed = capsys.readouterr().out
    assert "12 of 48 training images cannot be used and are left out:" in printed
    assert [str(path) in printed for path in broken] == 10 * [True] + 2 * [False]
    answer = Path(re.search(r"\.\.\. and 2 more; (.*) lists all", printed)[1])
    assert json.loads(answer.read_text())["files"] == [str(path) for path in broken]


def test_more_than_a_quarter_of_broken_files_stop_the_training(tmp_path):
    """Of few images, three may be broken."""
    found = {}
    for images, broken in ((24, 12), (24, 13), (2, 3), (2, 4), (1, 2)):
        data = folder_data(tmp_path / f"{images} {broken}", images=images)
        for path in data.test.paths[:broken]:
            path.unlink()
        try:
            found[2 * images, broken] = len(without_broken_files(data, tmp_path / "kept", ALONE).test)
        except DataError as error:
            found[2 * images, broken] = str(error)
    words = "test images cannot be used. Correct them, or take them out"
    assert found == {
        (48, 12): 36, (48, 13): f"13 of 48 {words}",
        (4, 3): 1, (4, 4): f"4 of 4 {words}", (2, 2): f"2 of 2 {words}",
    }  # fmt: skip


def test_names_that_are_not_valid_unicode_are_read_and_printed(tmp_path, capsys):
    """As old archives have them."""
    folder = folder_data(tmp_path / "photos").train.paths[0].parent
    bad = Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.png"))
    bad.write_text("not an image")
    data = open_data(f"folder:{tmp_path / 'photos'}")
    kept = without_broken_files(data, tmp_path / "kept", ALONE)
    assert len(kept.train) == len(data.train) - 1
    capsys.readouterr().out.encode()
    fine = bad.with_name("fine.png")
    fine.write_bytes(kept.train.paths[0].read_bytes())
    fine.rename(Path(os.fsdecode(os.fsencode(folder) + b"/\xe9.png")))
    bad.unlink()
    data = open_data(f"folder:{tmp_path / 'photos'}")
    assert len(without_broken_files(data, tmp_path / "kept", ALONE).train) == len(data.train)


@pytest.mark.parametrize(("rank", "order"), [(0, [True, "wait"]), (1, ["wait", False])])
def test_only_the_first_process_fetches_and_the_others_wait(rank, order, tmp_path, monkeypatch):
    did = []
    source = replace(SOURCES["fashion-subset"], open=lambda _, download: did.append(download) or Mock(note=""))
    monkeypatch.setitem(SOURCES, "fashion-subset", source)
    monkeypatch.setattr(Processes, "wait", lambda _: did.append("wait"))
    open_shared_data("fashion-subset", tmp_path, True, Processes(rank, 2, torch.device("cpu")))
    assert did == order
