"""Data in COCO's format: what the reader returns is what pycocotools and hand-made masks say."""

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from hatnet.data import DataError, fingerprint, left_out, open_data
from hatnet.data.coco import DENSE
from tests.data.dense_files import SIZE, annotation, content, polygon, run_lengths, write_coco

pytest.importorskip("pycocotools", reason="pycocotools is not installed: pip install -e '.[dense]'")

from pycocotools.coco import COCO

HEIGHT, WIDTH = SIZE
CROWD = annotation(6, 1, 3, (20, 1, 6, 3), iscrowd=1, segmentation=run_lengths(20, 1, 6, 3))
MIXED = content(
    annotation(1, 1, 7, (4, 2, 5, 6)),
    annotation(2, 1, 3, (6, 4, 8, 9), segmentation=run_lengths(6, 4, 8, 9)),
    annotation(4, 2, 7, (0.5, 0.5, 9.0, 19.5), segmentation=polygon(0.5, 0.5, 4, 7) + polygon(5, 12, 4.5, 8)),
    CROWD,
)


def opened(root, task="instances", **parts):
    return open_data(f"coco:{write_coco(root, **parts)}", task=task)


def test_classes_are_numbered_in_the_order_of_their_ids(tmp_path):
    data = opened(tmp_path, train=MIXED)
    assert (data.classes, data.kind) == (("apple", "pear"), "objects")
    assert data.train.label(0)["labels"].tolist() == [2, 1]
    assert data.train.labels.tolist() == [0, 0, 0]


def test_objects_are_those_that_pycocotools_reads(tmp_path):
    train = opened(tmp_path, train=MIXED).train
    coco = COCO(str(tmp_path / "annotations" / "instances_train.json"))
    for index in range(3):
        target, records = train.label(index), coco.imgToAnns[train.image_id(index)]
        plain = [record for record in records if not record["iscrowd"]]
        assert train.image(index).shape == (3, *SIZE)
        assert int(target["image_id"]) == index + 1
        boxes = [(x, y, x + w, y + h) for x, y, w, h in (record["bbox"] for record in plain)]
        assert np.array_equal(target["boxes"], np.float32(boxes).reshape(-1, 4))
        masks = np.array([coco.annToMask(record) for record in plain], np.uint8).reshape(-1, *SIZE)
        assert np.array_equal(target["masks"], masks)
        assert target["masks"].dtype == torch.uint8
    assert len(train.label(2)["boxes"]) == 0, "an image without objects stays"
    assert train.label(2)["masks"].shape == (0, *SIZE)


def test_rectangles_cover_the_pixels_that_they_should(tmp_path):
    masks = opened(tmp_path, train=MIXED).train.label(0)["masks"].numpy()
    for mask, (x, y, w, h) in zip(masks, ((4, 2, 5, 6), (6, 4, 8, 9)), strict=True):
        expected = np.zeros(SIZE, np.uint8)
        expected[y : y + h, x : x + w] = 1
        assert np.array_equal(mask, expected)


def test_segmentation_paints_objects_and_leaves_overlaps_and_crowds_unknown(tmp_path):
    data = opened(tmp_path, "segmentation", train=MIXED)
    assert (data.classes, data.kind) == (("background", "apple", "pear"), "segmentation")
    expected = np.zeros(SIZE, np.int64)
    expected[2:8, 4:9] = 2
    expected[4:13, 6:14] = 1
    expected[4:8, 6:9] = 255  # an apple and a pear
    expected[1:4, 20:26] = 255  # the crowd
    painted = data.train.label(0)
    assert np.array_equal(painted, expected)
    assert painted.dtype == torch.int64
    assert not data.train.label(2).any()


def test_an_object_within_a_crowd_keeps_its_class(tmp_path):
    """The crowd marks what is not annotated one by one, so the class of the object is known."""
    crowd = annotation(1, 1, 3, (4, 2, 20, 12), iscrowd=1, segmentation=run_lengths(4, 2, 20, 12))
    within = [annotation(2, 1, 7, (6, 4, 5, 6)), annotation(3, 1, 3, (15, 4, 5, 6))]
    expected = np.zeros(SIZE, np.int64)
    expected[2:14, 4:24] = 255
    expected[4:10, 6:11] = 2
    expected[4:10, 15:20] = 1
    for part, records in enumerate(([crowd, *within], [*within, crowd])):
        train = opened(tmp_path / str(part), "segmentation", train=content(*records)).train
        assert np.array_equal(train.label(0), expected), "in any order"


def test_objects_of_one_class_may_overlap_in_a_segmentation(tmp_path):
    twice = content(annotation(1, 1, 3, (4, 2, 5, 6)), annotation(2, 1, 3, (6, 4, 5, 6)))
    painted = opened(tmp_path, "segmentation", train=twice).train.label(0)
    assert painted.unique().tolist() == [0, 1]


def test_crowds_and_only_they_are_missing_from_training_and_kept_for_evaluation(tmp_path):
    train = opened(tmp_path, train=MIXED).train
    assert len(train.label(0)["labels"]) == 2
    truth = train.ground_truth()
    assert sorted(truth.anns) == [1, 2, 3, 4], "no annotation has the id 0"
    assert [each["iscrowd"] for each in truth.imgToAnns[1]] == [0, 0, 1]
    assert {each["category_id"] for each in truth.anns.values()} == {1, 2}


def test_detection_needs_no_masks_and_has_none(tmp_path):
    boxes_only = content({key: value for key, value in annotation(1).items() if key != "segmentation"})
    data = opened(tmp_path, "detection", train=boxes_only, val=boxes_only)
    assert sorted(data.train.label(0)) == ["boxes", "image_id", "labels"]
    with pytest.raises(DataError, match=r"1 of 1 annotations are faulty: 1 x its mask is missing"):
        open_data(f"coco:{tmp_path}", task="instances")


def test_images_are_changed_with_their_boxes_and_masks_by_torchvision(tmp_path):
    from torchvision.transforms import v2

    train = opened(tmp_path, train=MIXED).train
    image, target = v2.RandomHorizontalFlip(1.0)(train.image(0), train.label(0))
    assert torch.equal(image, train.image(0).flip(-1))
    assert torch.equal(target["masks"], train.label(0)["masks"].flip(-1))
    assert target["boxes"][0].tolist() == [30 - 9, 2, 30 - 4, 8]
    assert target["labels"].tolist() == [2, 1]


@pytest.mark.parametrize("task", DENSE)
def test_parts_keep_images_and_annotations_together(task, tmp_path):
    train = opened(tmp_path, task, train=MIXED).train
    chosen = train.part(torch.tensor([1, 0]))
    assert [chosen.image_id(index) for index in range(2)] == [2, 1]
    assert torch.equal(chosen.image(1), train.image(0))
    fewer = train.without_places([1])
    assert ([fewer.image_id(index) for index in range(2)], fewer.left_out) == ([1, 3], [1])
    label, same = fewer.label(0), train.label(0)
    assert torch.equal(label, same) if task == "segmentation" else torch.equal(label["boxes"], same["boxes"])


def test_the_fingerprint_changes_with_an_annotation_and_not_with_the_folder(tmp_path):
    first, second, third = (tmp_path / name for name in "abc")
    moved = content(annotation(1, box=(4, 2, 5, 7)))
    prints = [fingerprint(opened(root, train=given)) for root, given in ((first, None), (second, None), (third, moved))]
    assert prints[0] == prints[1]
    assert prints[0] != prints[2]
    assert left_out(open_data(f"coco:{first}", task="detection")) == {"train": [], "test": []}


def test_the_layout_of_coco_itself_is_read(tmp_path):
    write_coco(tmp_path)
    for part in ("train", "val"):
        (tmp_path / part).rename(tmp_path / f"{part}2017")
        file = tmp_path / "annotations" / f"instances_{part}.json"
        file.rename(file.with_name(f"instances_{part}2017.json"))
    assert open_data(f"coco:{tmp_path}", task="detection").train.image(0).shape == (3, *SIZE)


def test_a_box_is_cut_to_its_image_and_a_missing_area_computed(tmp_path):
    given = annotation(1, box=(-2, 15, 10, 8), segmentation=polygon(-2, 15, 10, 8))
    del given["area"]
    train = opened(tmp_path, train=content(given)).train
    assert train.label(0)["boxes"].tolist() == [[0, 15, 8, 20]]
    assert train.ground_truth().anns[1]["area"] == 8 * 5


def test_no_box_ends_outside_its_image_by_rounding(tmp_path):
    """In float32, 22.3 + 7.7 may be more than 30."""
    lefts = [22 + number / 97 for number in range(97)]
    records = [annotation(n, box=(x, 2, WIDTH - x, 5)) for n, x in enumerate(lefts, start=1)]
    boxes = opened(tmp_path, "detection", train=content(*records)).train.label(0)["boxes"]
    assert boxes[:, 2].tolist() == [WIDTH] * 97


def test_an_image_that_its_exif_data_turn_is_reported_with_what_to_do(tmp_path):
    """The JSON file describes the pixels as stored; the image is read upright."""
    train = opened(tmp_path).train
    stored = Image.open(train.paths[0])
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    stored.convert("RGB").save(train.paths[0].with_suffix(".jpg"), exif=exif)
    train.paths[0].with_suffix(".jpg").rename(train.paths[0])
    with pytest.raises(
        DataError, match="annotate it upright, with its height and width exchanged .* or remove the EXIF"
    ):
        train.image(0)


@pytest.mark.parametrize("name", ["scenes", "coco:x", "ade20k:x"])
def test_data_for_other_tasks_is_refused_with_the_right_tasks(name, tmp_path):
    with pytest.raises(DataError, match=r"is for .*segmentation.*, not for classification"):
        open_data(name, tmp_path)
    with pytest.raises(DataError, match="'cifar10' is for classification, not for detection"):
        open_data("cifar10", tmp_path, task="detection")
    with pytest.raises(ValueError, match="task='boxes' must be one of classification, segmentation"):
        open_data(name, tmp_path, task="boxes")


def test_annotations_in_a_file_are_compared_with_images_of_the_part(tmp_path):
    write_coco(tmp_path)
    other = content(annotation(1))
    other["categories"][0]["name"] = "plum"
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(other))
    with pytest.raises(DataError, match="must have the same categories; only in one of them: 7 pear, 7 plum"):
        open_data(f"coco:{tmp_path}", task="detection")


@pytest.mark.parametrize("task", DENSE)
def test_a_missing_pycocotools_is_an_error_before_work_starts(tmp_path, task, monkeypatch):
    root = write_coco(tmp_path, train=MIXED)
    monkeypatch.setitem(sys.modules, "pycocotools.mask", None)
    with pytest.raises(ModuleNotFoundError, match="pycocotools"):
        open_data(f"coco:{root}", task=task)
