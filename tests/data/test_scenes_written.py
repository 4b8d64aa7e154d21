"""Scenes on the disk: COCO's format holds them exactly, and a folder is complete or absent."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hatnet.cli.scenes import scenes as scenes_command
from hatnet.data import DataError, open_data
from hatnet.data.scenes import named
from hatnet.data.scenes.compose import PARTS, compose
from hatnet.data.scenes.cutouts import Garments
from hatnet.data.scenes.writer import Settings, is_complete, open_objects, replace_scenes, write_scenes
from tests.data.dense_files import write_cutouts

pytest.importorskip("pycocotools", reason="pycocotools is not installed: pip install -e '.[dense]'")

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

SMALL = Settings(size=64, train=3, val=5, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "out"
    write_scenes(out, SMALL, Garments())
    return out


@pytest.fixture
def small(monkeypatch):
    """`scenes` is a data set of a few small scenes."""
    monkeypatch.setattr(named, "Settings", lambda **given: replace(SMALL, **given))


def test_what_is_read_is_what_was_composed(folder):
    """The masks of the reader equal the arrays of the composed scene; JPEG changes pixels a little."""
    data, garments = open_data(f"coco:{folder}", task="instances"), Garments()
    assert data.classes == ("top", "trouser", "dress", "shoe", "bag")
    for part, images in zip(PARTS, (data.train, data.test), strict=True):
        assert len(images) == getattr(SMALL, part)
        for index in range(len(images)):
            scene, target = compose(garments, part, index, 64, 3), images.label(index)
            owner = np.zeros((64, 64), int)
            for number, mask in enumerate(target["masks"].numpy(), start=1):
                assert not owner[mask > 0].any(), "masks do not overlap"
                owner[mask > 0] = number
            assert np.array_equal(owner, scene.owner)
            assert target["labels"].tolist() == [label + 1 for label in scene.labels]
            difference = images.image(index).permute(1, 2, 0).numpy().astype(int) - scene.pixels
            assert np.abs(difference).mean() < 4


def test_boxes_and_areas_are_those_of_the_masks(folder):
    """By pycocotools' own decoder, and counted by hand."""
    for part in PARTS:
        coco = COCO(str(folder / "annotations" / f"instances_{part}.json"))
        assert len({record["id"] for record in coco.dataset["annotations"]}) == len(coco.dataset["annotations"]) > 5
        for record in coco.dataset["annotations"]:
            rows, columns = np.nonzero(coco.annToMask(record))
            left, top = columns.min(), rows.min()
            assert record["bbox"] == [left, top, columns.max() - left + 1, rows.max() - top + 1]
            assert record["area"] == len(rows)


def test_a_segmentation_of_scenes_has_each_visible_pixel(folder):
    data, garments = open_data(f"coco:{folder}", task="segmentation"), Garments()
    assert data.classes == ("background", "top", "trouser", "dress", "shoe", "bag")
    for index in range(len(data.test)):
        scene = compose(garments, "val", index, 64, 3)
        expected = np.array([0, *(label + 1 for label in scene.labels)])[scene.owner]
        assert np.array_equal(data.test.label(index), expected)


@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_the_ground_truth_given_as_predictions_has_an_average_precision_of_1(kind, folder, capsys):
    test = open_data(f"coco:{folder}", task="instances").test
    truth = test.ground_truth()
    found = [
        {key: record[key] for key in ("image_id", "category_id", "bbox", "segmentation")} | {"score": 0.9}
        for record in truth.dataset["annotations"]
    ]
    evaluation = COCOeval(truth, truth.loadRes(found), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1)
    wrong = [record | {"category_id": record["category_id"] % 5 + 1} for record in found]
    evaluation = COCOeval(truth, truth.loadRes(wrong), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] < 0.2


def test_scenes_are_written_when_first_opened_and_only_then(tmp_path, small, capsys):
    data = open_data("scenes", tmp_path, task="instances")
    assert (data.name, len(data.train), len(data.test)) == ("scenes", 3, 5)
    assert "Writing 8 scenes of 64 x 64 pixels to" in capsys.readouterr().out
    (root,) = tmp_path.iterdir()
    assert root.name == "scenes-64-version-2"
    files = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert len(open_data("scenes", tmp_path, task="segmentation").classes) == 6
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == files
    assert capsys.readouterr().out == ""
    larger = open_data("scenes-96", tmp_path, task="detection")
    assert (larger.name, larger.test.image(0).shape) == ("scenes-96", (3, 96, 96))


def changed(path):
    """Another last byte; the size stays."""
    path.write_bytes(path.read_bytes()[:-1] + b" ")


DAMAGES = {
    "image gone": lambda root: (root / "val" / "000003.jpg").unlink(),
    "image cut": lambda root: (root / "val" / "000003.jpg").write_bytes(b""),
    "annotations gone": lambda root: (root / "annotations" / "instances_val.json").unlink(),
    "annotations cut": lambda root: (root / "annotations" / "instances_val.json").write_text("{"),
    "annotations changed": lambda root: changed(root / "annotations" / "instances_val.json"),
    "facts gone": lambda root: (root / "scenes.json").unlink(),
    "facts cut": lambda root: (root / "scenes.json").write_text("{"),
    "other facts": lambda root: (root / "scenes.json").write_text("[]"),
    "other seed": lambda root: (root / "scenes.json").write_text(
        json.dumps(json.loads((root / "scenes.json").read_text()) | {"seed": 4})
    ),
}


def test_scenes_of_an_earlier_version_of_the_package_are_kept(tmp_path, folder):
    """Their facts do not name the fraction of plain photos, which was 0."""
    shutil.copytree(folder, tmp_path / "out")
    path = tmp_path / "out" / "scenes.json"
    facts = json.loads(path.read_text())
    del facts["plain_photos"]
    path.write_text(json.dumps(facts))
    assert is_complete(tmp_path / "out", SMALL)
    assert not is_complete(tmp_path / "out", replace(SMALL, plain_photos=0.5))


@pytest.mark.parametrize("name", DAMAGES)
def test_incomplete_scenes_are_written_again(name, tmp_path, folder):
    root = tmp_path / "out"
    shutil.copytree(folder, root)
    assert is_complete(root, SMALL)
    DAMAGES[name](root)
    assert not is_complete(root, SMALL)
    replace_scenes(root, SMALL, Garments())
    assert is_complete(root, SMALL)
    for path in folder.rglob("*.*"):
        assert (root / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert list(tmp_path.iterdir()) == [root]


def test_images_are_compared_by_their_number_and_size_alone(tmp_path, folder):
    """As docs/dense-data.md says: reading 73 MB would take longer than it is worth."""
    shutil.copytree(folder, tmp_path / "out")
    changed(tmp_path / "out" / "val" / "000003.jpg")
    assert is_complete(tmp_path / "out", SMALL)


def test_a_stopped_command_leaves_nothing(tmp_path):
    def stop(name):
        if name == "000003.jpg":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path / "out", SMALL, Garments(), stop)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_killed_processes_are_removed_after_a_day(tmp_path):
    for name, age in (("old", 90_000), ("new", 60)):
        (tmp_path / f".out.part.{name}").mkdir()
        os.utime(tmp_path / f".out.part.{name}", (time.time() - age,) * 2)
    replace_scenes(tmp_path / "out", SMALL, Garments())
    assert {path.name for path in tmp_path.iterdir()} == {"out", ".out.part.new"}


@pytest.mark.parametrize("end", [KeyboardInterrupt, OSError], ids=["Ctrl-C", "full disk"])
def test_a_command_that_ends_while_it_draws_the_picture_leaves_nothing(end, tmp_path, monkeypatch):
    def drawn(images, classes):
        assert len(images) == 2
        if end is OSError:
            raise OSError("no space left on device")
        signal.raise_signal(signal.SIGINT)
        return Image.new("RGB", (8, 8))

    monkeypatch.setattr(sys.modules[scenes_command.__module__], "contact_sheet", drawn)
    with pytest.raises(end):
        scenes_command(tmp_path / "out", size=64, train=2, val=2)
    assert list(tmp_path.iterdir()) == []


def test_objects_that_are_too_thin_for_scenes_are_refused_and_leave_nothing(tmp_path):
    for number in range(4):
        line = np.kron(np.eye(96, dtype=np.uint8), np.ones((4, 4), np.uint8))[..., None]
        path = tmp_path / "objects" / "line" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(line * np.uint8([number, 0, 0, 255])).save(path)
    settings = replace(SMALL, objects=str(tmp_path / "objects"))
    with pytest.raises(
        DataError, match=r"no object could be placed in the 3 scenes of train: one must cover 0\.3 % of"
    ):
        write_scenes(tmp_path / "out", settings, open_objects(settings))
    assert [path.name for path in tmp_path.iterdir()] == ["objects"]


@pytest.mark.long
@pytest.mark.parametrize(("signal_", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_process_leaves_nothing(signal_, status, tmp_path):
    command = [sys.executable, "-m", "hatnet", "scenes", "out", "--train", "100000"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not list(tmp_path.rglob("000003.jpg")):
            time.sleep(0.05)
            assert process.poll() is None
        process.send_signal(signal_)
        out, err = process.communicate(timeout=600)
    assert process.returncode == status, out + err
    assert list(tmp_path.iterdir()) == []


def test_two_processes_may_write_the_same_scenes(tmp_path):
    """The one that ends second finds the scenes of the other, and takes them."""
    root = tmp_path / "out"
    done = []

    def other(name):
        if not done:
            done.append(replace_scenes(root, SMALL, Garments()))

    replace_scenes(root, SMALL, Garments(), other)
    assert is_complete(root, SMALL)
    assert list(tmp_path.iterdir()) == [root]


def test_a_folder_with_files_is_never_written_to(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for call in (lambda out: write_scenes(out, SMALL, Garments()), lambda out: scenes_command(out, train=1, val=1)):
        with pytest.raises(FileExistsError, match="out exists already; remove it, or give the scenes another folder"):
            call(tmp_path / "out")
    assert (tmp_path / "out" / "mine.txt").read_text() == "mine"
    assert len(list(tmp_path.rglob("*"))) == 2
    (tmp_path / "empty").mkdir()
    write_scenes(tmp_path / "empty", replace(SMALL, train=1, val=1), Garments())
    assert (tmp_path / "empty" / "val" / "000001.jpg").is_file()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"size": 63}, "size=63 must be a whole number from 64 to 512"),
        ({"size": 513}, "size=513 must be"),
        ({"train": 0}, "train=0 must be a whole number from 1 to 1000000"),
        ({"val": 10**7}, "val=10000000 must be"),
        ({"seed": -1}, "seed=-1 must be a whole number from 0"),
        ({"plain_photos": 1.5}, "plain_photos=1.5 must be from 0 to 1"),
        ({"plain_photos": "half"}, "plain_photos='half' must be from 0 to 1"),
    ],
)
def test_settings_out_of_range_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Settings(**given)


@pytest.mark.parametrize("name", ["scenes-63", "scenes-1000", "scenes-0", "scenes-", "scenes-x", "scene"])
def test_other_names_are_refused(name, tmp_path):
    with pytest.raises(
        DataError, match=r"must be scenes, or scenes-SIZE with 64 to 512|unknown data set .*did you mean"
    ):
        open_data(name, tmp_path, task="instances")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_the_scenes_of_its_settings(tmp_path):
    scenes_command(tmp_path / "out", size=64, train=2, val=1, seed=5, plain_photos=1.0)
    data = open_data(f"coco:{tmp_path / 'out'}", task="instances")
    for index in range(2):
        scene = compose(Garments(), "train", index, 64, 5, plain=1.0)
        shown = data.train.image(index).permute(1, 2, 0).numpy()
        assert np.abs(shown.astype(int) - scene.pixels).mean() < 4
        assert data.train.label(index)["labels"].tolist() == [label + 1 for label in scene.labels]


def test_the_command_writes_a_data_set_of_ones_own_pictures_and_a_contact_sheet(tmp_path, capsys):
    objects = write_cutouts(tmp_path / "objects")
    Image.new("RGB", (20, 20)).save(objects / "fish" / "opaque.png")
    scenes_command(tmp_path / "out", objects=objects, size=112, train=3, val=2)
    printed = capsys.readouterr().out
    assert "1 pictures in" in printed
    assert "Writing 5 scenes of 112 x 112 pixels with 2 classes, in about " in printed
    assert printed.splitlines()[-1].endswith("out/scenes.png")
    data = open_data(f"coco:{tmp_path / 'out'}", task="instances")
    assert (data.classes, len(data.train), len(data.test)) == (("fish", "kite"), 3, 2)
    sheet = np.asarray(Image.open(tmp_path / "out" / "scenes.png"))
    assert sheet.shape == (2 * 228 + 4, 2 * 228 + 4, 3)
    plain, drawn = sheet[4:228, 4:228], sheet[232:456, 4:228]
    expected = data.test.image(0).permute(1, 2, 0).numpy()
    assert np.array_equal(plain, expected.repeat(2, 0).repeat(2, 1))
    changed = (plain != drawn).any(axis=2)
    mask = data.test.label(0)["masks"].amax(0).bool().numpy().repeat(2, 0).repeat(2, 1)
    assert changed[mask].mean() > 0.95
    assert changed[~mask].mean() < 0.3
