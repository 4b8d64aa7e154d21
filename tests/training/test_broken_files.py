"""Files that cannot be read are found before training, in one process, and the result is kept."""

import errno
import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hatnet.data import SOURCES, ImageTensor, Split, open_data
from hatnet.data.broken_files import broken_files
from hatnet.training import Processes
from hatnet.training.shared_data import open_shared_data, without_broken_files
from tests.training.image_files import write_folder


def test_broken_files_are_found_and_the_result_is_kept(tmp_path):
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


def test_files_are_readable_again_when_their_disk_is_back(tmp_path, monkeypatch):
    """Files recorded as broken are tried again, and only those."""
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


def test_the_result_holds_however_the_folder_is_spelled(tmp_path, monkeypatch):
    folder = write_folder(tmp_path / "photos")
    (folder / "train" / "cat" / "1.png").write_text("not an image")
    monkeypatch.chdir(tmp_path)
    relative, absolute = (open_data(f"folder:{name}").train for name in ("photos", folder))
    assert broken_files(relative, tmp_path / "kept") == [relative.paths[1]]
    broken = broken_files(absolute, tmp_path / "kept", step=lambda _: pytest.fail("looked again"))
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
    write_folder(tmp_path)
    photo = tmp_path / "train" / "cat" / "0.jpg"
    Image.new("RGB", (40, 30)).save(photo, exif=facts)
    data = open_data(f"folder:{tmp_path}")
    assert broken_files(data.train, tmp_path / "kept") == []
    assert data.train.image(data.train.paths.index(photo)).shape == (3, 40, 30)


def test_an_unwritable_cache_is_an_error_before_files_are_read(tmp_path):
    data = open_data(f"folder:{write_folder(tmp_path / 'data')}")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        broken_files(data.train, tmp_path / "file", step=lambda _: pytest.fail("read a file"))


def test_a_dangling_link_is_a_broken_file(tmp_path):
    folder = write_folder(tmp_path / "photos")
    link, loop = folder / "train" / "cat" / "a.png", folder / "train" / "dog" / "loop.png"
    link.symlink_to(tmp_path / "away.png")
    loop.symlink_to(loop)
    images = open_data(f"folder:{folder}").train
    for _ in range(2):
        assert broken_files(images, tmp_path / "kept") == [link, loop]
    Image.new("RGB", (8, 8)).save(tmp_path / "away.png")
    assert broken_files(images, tmp_path / "kept") == [loop], "it leads somewhere now"


def test_ten_broken_files_are_printed_with_the_path_of_the_full_list(tmp_path, capsys):
    data = open_data(f"folder:{write_folder(tmp_path / 'photos', images=7)}")
    for path in data.train.paths[:12]:
        path.write_text("not an image")
    kept = without_broken_files(data, tmp_path / "kept", Processes(0, 1, torch.device("cpu")))
    assert (len(kept.train), len(kept.test)) == (2, 14)
    printed = capsys.readouterr().out
    assert "12 of 14 training images cannot be read and are left out:" in printed
    assert str(data.train.paths[9]) in printed
    assert str(data.train.paths[10]) not in printed
    answer = Path(re.search(r"\.\.\. and 2 more; (.*) lists all", printed)[1])
    assert json.loads(answer.read_text())["files"] == [str(path) for path in data.train.paths[:12]]


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_process_fetches_and_the_others_wait(rank, tmp_path, monkeypatch):
    did = []
    source = replace(SOURCES["fashion-subset"], open=lambda _, download: did.append(download) or small_split())
    monkeypatch.setitem(SOURCES, "fashion-subset", source)
    monkeypatch.setattr(Processes, "wait", lambda _: did.append("wait"))
    open_shared_data("fashion-subset", tmp_path, True, Processes(rank, 2, torch.device("cpu")))
    assert did == ([True, "wait"] if rank == 0 else ["wait", False])


def small_split():
    one = ImageTensor(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.zeros(1, dtype=torch.long))
    return Split("one", one, one, ("a",), (0.5,), (0.5,))
