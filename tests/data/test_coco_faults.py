"""Faults in COCO data: single annotations are left out, counted and named; a file of wrong structure is refused."""

import json

import pytest
from PIL import Image

from hatnet.data import DataError, open_data
from hatnet.data.broken_files import broken_files, result_file, why_broken
from hatnet.data.coco_json import read_annotations
from tests.data.dense_files import SIZE, annotation, content, polygon, run_lengths, write_coco

pytest.importorskip("pycocotools", reason="pycocotools is not installed: pip install -e '.[dense]'")

from pycocotools import mask as coco_mask


def compressed(x, y, w, h):
    code = coco_mask.frPyObjects(run_lengths(x, y, w, h), *SIZE)
    return {"size": list(SIZE), "counts": code["counts"].decode("ascii")}


GOOD = [annotation(number) for number in range(1, 4)]
HEIGHT, WIDTH = SIZE

FAULTS = {
    "unknown image": ({"image_id": 9}, "unknown image_id (9)"),
    "image as text": ({"image_id": "1"}, "unknown image_id ('1')"),
    "unknown category": ({"category_id": 4}, "unknown category_id (4)"),
    "category as a list": ({"category_id": [3]}, "unknown category_id ([3])"),
    "crowd": ({"iscrowd": 2}, "iscrowd is neither 0 nor 1 (2)"),
    "no box": ({"bbox": None}, "its box is not four finite numbers (None)"),
    "three numbers": ({"bbox": [1, 2, 3]}, "its box is not four finite numbers"),
    "text in a box": ({"bbox": [1, 2, 3, "4"]}, "its box is not four finite numbers"),
    "NaN": ({"bbox": [1, 2, float("nan"), 4]}, "its box is not four finite numbers"),
    "infinity": ({"bbox": [1, 2, float("inf"), 4]}, "its box is not four finite numbers"),
    "huge": ({"bbox": [1, 2, 10**400, 4]}, "its box is not four finite numbers"),
    "huge size": ({"bbox": [0, 0, 10**200, 10**200]}, "its box is mostly outside the image"),
    "huge sum": ({"bbox": [0, 0, 10**308, 10**308]}, "its box is mostly outside the image"),
    "huge numbers that cancel": ({"bbox": [-(10**400), 1, 10**400 + 9, 4.5]}, "its box is not four finite numbers"),
    "no width": ({"bbox": [1, 2, 0, 4]}, "its box has no area"),
    "negative height": ({"bbox": [1, 2, 3, -4]}, "its box has no area"),
    "thin": ({"bbox": [20, 5, 1e-9, 4]}, "its box has no area"),
    "mask elsewhere": ({"segmentation": polygon(15, 12, 3, 4)}, "its mask is outside its box"),
    "run lengths elsewhere": ({"segmentation": run_lengths(15, 12, 3, 4)}, "its mask is outside its box"),
    "text elsewhere": ({"segmentation": compressed(15, 12, 3, 4)}, "its mask is outside its box"),
    "run lengths below": ({"segmentation": run_lengths(4, 8, 5, 6)}, "its mask is outside its box"),
    "run lengths to the left": ({"segmentation": run_lengths(0, 2, 4, 6)}, "its mask is outside its box"),
    "right of the image": ({"bbox": [WIDTH, 2, 3, 4]}, "its box is outside the image"),
    "above the image": ({"bbox": [1, -4, 3, 4]}, "its box is outside the image"),
    "beyond the top left": ({"bbox": [-50, -50, 20, 20]}, "its box is outside the image"),
    "mostly beyond the top left": ({"bbox": [-50, -50, 51, 51]}, "its box is mostly outside the image"),
    "corners instead of sizes": ({"bbox": [20, 10, 29, 19]}, "its box is mostly outside the image"),
    "fractions": ({"bbox": [0.2, 0.2, 0.5, 0.5]}, "its box is within the first pixel"),
    "fractions at the border": ({"bbox": [-0.1, 0.2, 0.5, 0.001]}, "its box is within the first pixel"),
    "no mask": ({"segmentation": None}, "its mask is missing"),
    "empty mask": ({"segmentation": []}, "its mask is missing"),
    "two corners": ({"segmentation": [[1, 1, 5, 5]]}, "its mask has a polygon without three corners"),
    "flat polygon": ({"segmentation": polygon(4, 2, 5, 6)[0]}, "its mask is one list of numbers instead of a list of"),
    "odd corners": ({"segmentation": [[1, 1, 5, 5, 1, 5, 2]]}, "its mask has a polygon without three corners"),
    "text corners": ({"segmentation": [["1"] * 6]}, "its mask has a polygon with values that are not finite"),
    "NaN corner": (
        {"segmentation": [[1, 1, 5, 5, 1, float("nan")]]},
        "its mask has a polygon with values that are not",
    ),
    "huge corner": ({"segmentation": [[1, 1, 5, 5, 1, 10**400]]}, "its mask has a polygon with values that are not"),
    "corners that cancel": (
        {"segmentation": [[1, 1, 5, 5, 10**400, -(10**400)]]},
        "its mask has a polygon with values that are not",
    ),
    "far corner": ({"segmentation": [[1, 1, 5, 5, 1, 1e9]]}, "its mask has a polygon outside the image"),
    "thin polygon": ({"segmentation": polygon(6.6, 3, 0.2, 4)}, "its mask covers no pixel"),
    "thin polygons": (
        {"segmentation": polygon(6.6, 3, 0.2, 4) + polygon(5, 3.6, 3, 0.1)},
        "its mask covers no pixel",
    ),
    "other size": ({"segmentation": run_lengths(1, 2, 3, 4, (30, 20))}, "its mask has another size than its image"),
    "too short": ({"segmentation": {"size": [20, 30], "counts": [10, 5]}}, "its mask has run lengths that do not add"),
    "huge run": ({"segmentation": {"size": [20, 30], "counts": [10**400, 5]}}, "its mask has run lengths that are"),
    "negative run": ({"segmentation": {"size": [20, 30], "counts": [700, -100]}}, "its mask has run lengths that are"),
    "text too short": ({"segmentation": {"size": [20, 30], "counts": "zz"}}, "its mask has run lengths that"),
    "no code": ({"segmentation": {"size": [20, 30], "counts": "\u00e9"}}, "its mask has run lengths that cannot be"),
    "cut code": ({"segmentation": {"size": [20, 30], "counts": "PPP"}}, "its mask has run lengths that cannot be"),
    "no counts": ({"segmentation": {"size": [20, 30]}}, "its mask has run lengths that are not"),
    "nothing": ({"segmentation": {"size": [20, 30], "counts": [600]}}, "its mask is empty"),
}


def written(path, *annotations, **changes):
    file = path / "a.json"
    file.write_text(json.dumps(content(*annotations) | changes))
    return file


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_annotation_is_left_out_and_named_with_its_file_and_id(name, tmp_path):
    changes, reason = FAULTS[name]
    file = written(tmp_path, *GOOD, annotation(77) | changes)
    found = read_annotations(file, masks=True)
    assert f"{file}: 1 of 4 annotations are faulty" in found.note
    assert f"annotation 77: {reason}" in found.note
    assert [record["id"] for record in found.of_image[0]] == [1, 2, 3]
    if "mask" in reason:
        assert read_annotations(file, masks=False).note == "", "masks are not used"


def test_training_and_evaluation_have_the_same_objects(tmp_path):
    """Polygons without a pixel are in neither: nobody could find them."""
    thin = annotation(4, segmentation=polygon(6.6, 3, 0.2, 4))
    train = open_data(f"coco:{write_coco(tmp_path, content(*GOOD, thin))}", task="instances").train
    target, truth = train.label(0), train.ground_truth()
    assert len(target["labels"]) == len(target["masks"]) == len(truth.anns) == 3


def test_an_area_that_no_float_can_hold_is_computed_anew(tmp_path):
    file = written(tmp_path, annotation(1, area=10**400), annotation(2, area=-(10**200)))
    assert [record["area"] for record in read_annotations(file, masks=True).of_image[0]] == [30, 30]


def test_good_annotations_are_not_called_faulty(tmp_path):
    odd = [
        annotation(5, box=(0, 0, WIDTH, HEIGHT)),
        annotation(6, box=(0.5, 0.5, 0.8, 0.9), segmentation=polygon(0, 0, 2, 2)),
        annotation(7, segmentation=polygon(-1, -1, WIDTH + 2, HEIGHT + 2)),
        annotation(8, segmentation={"size": [20, 30], "counts": [0, 600]}),
        annotation(13, segmentation=polygon(6.6, 3, 0.2, 4) + polygon(5, 3, 2, 2)),
        annotation(11, segmentation=run_lengths(8, 7, 3, 4)),  # one pixel within the box
        annotation(12, segmentation=compressed(0, 0, 5, 3)),
        {**annotation(9), "iscrowd": True},
        {key: value for key, value in annotation(10).items() if key != "iscrowd"},
    ]
    assert read_annotations(written(tmp_path, *odd), masks=True).note == ""


def test_many_faults_are_counted_by_reason_and_too_many_are_refused(tmp_path):
    good = [annotation(number) for number in range(1, 101)]
    bad = [annotation(number, category=8) for number in range(101, 121)] + [annotation(200, box=(1, 1, 0, 1))]
    note = read_annotations(written(tmp_path, *good, *bad), masks=True).note
    assert (
        "21 of 121 annotations are faulty and are left out: 20 x unknown category_id, 1 x its box has no area" in note
    )
    assert note.count("annotation ") == 5, "the first ones are named"
    with pytest.raises(DataError, match=r"a\.json: 21 of 61 annotations are faulty: 20 x unknown category_id"):
        read_annotations(written(tmp_path, *good[:40], *bad), masks=True)
    with pytest.raises(DataError, match="1 of 1 annotations are faulty"):
        read_annotations(written(tmp_path, bad[0]), masks=True)


IMAGES, CATEGORIES = content()["images"], content()["categories"]
REFUSED = {
    "no list of images": ({"images": None}, "has no list 'images'"),
    "no list of annotations": ({"annotations": {}}, "has no list 'annotations'"),
    "no images": ({"images": []}, "has no images"),
    "no annotations": ({"annotations": []}, "has no annotations, so there is nothing to learn"),
    "no categories": ({"categories": []}, "has no categories"),
    "image without id": ({"images": [{"file_name": "x"}]}, r"images\[0\] has no whole number as its id"),
    "image id as text": ({"images": [IMAGES[0] | {"id": "1"}]}, r"images\[0\] has no whole number as its id"),
    "image id twice": ({"images": [*IMAGES, IMAGES[1]]}, "the image id 2 is used twice"),
    "no name": ({"images": [IMAGES[0] | {"file_name": 3}]}, r"images\[0\] \(id 1\): file_name=3 must be a path in"),
    "outside": ({"images": [IMAGES[0] | {"file_name": "../x.png"}]}, "must be a path in the folder of images"),
    "absolute": ({"images": [IMAGES[0] | {"file_name": "/x.png"}]}, "must be a path in the folder of images"),
    "half a character": ({"images": [IMAGES[0] | {"file_name": "\ud800.png"}]}, "must be a path in the folder of"),
    "file twice": (
        {"images": [*IMAGES, IMAGES[0] | {"id": 7, "file_name": "./1.png"}]},
        r"the images 1 and 7 are the same file, '\./1\.png'; make them one",
    ),
    "crowds only": ({"annotations": [annotation(1, iscrowd=1)]}, r"has crowds \(iscrowd 1\) only"),
    "no height": ({"images": [IMAGES[0] | {"height": 0}]}, "height=0 must be a whole number of pixels"),
    "width as text": ({"images": [IMAGES[0] | {"width": "9"}]}, "width='9' must be a whole number of pixels"),
    "category twice": ({"categories": [*CATEGORIES, CATEGORIES[0]]}, "the category id 7 is used twice"),
    "name twice": ({"categories": [*CATEGORIES, {"id": 9, "name": "pear"}]}, "the category name 'pear' is used twice"),
    "no category name": ({"categories": [{"id": 3}]}, r"categories\[0\] needs a whole number as id and a printable"),
    "annotation twice": ({"annotations": [*GOOD, GOOD[1]]}, "the annotation id 2 is used twice"),
    "annotation without id": ({"annotations": [{}]}, r"annotations\[0\] has no whole number as its id"),
    "text": ({"annotations": ["x"]}, r"annotations\[0\] has no whole number as its id: 'x'"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_of_wrong_structure_is_refused(name, tmp_path):
    changes, message = REFUSED[name]
    with pytest.raises(DataError, match=message) as error:
        read_annotations(written(tmp_path, *GOOD, **changes), masks=True)
    assert str(tmp_path / "a.json") in str(error.value)


@pytest.mark.parametrize("text", ["", "{", "[1, 2", '{"images": [', "\x00", "[" * 100_000])
def test_corrupt_json_is_refused_with_its_name(text, tmp_path):
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(DataError, match=r"a\.json cannot be read as JSON: .*Write or fetch it again"):
        read_annotations(file, masks=True)
    for value in ("[]", "null", "3"):
        file.write_text(value)
        with pytest.raises(DataError, match=r"a\.json has no list 'images'"):
            read_annotations(file, masks=True)


def test_missing_files_and_folders_are_named(tmp_path):
    def refused(message):
        with pytest.raises(DataError, match=message):
            open_data(f"coco:{tmp_path / 'd'}", task="detection")

    refused("no folder .*d: coco: needs the path of a folder with annotations, train and val")
    root = write_coco(tmp_path / "d")
    file = root / "annotations" / "instances_val.json"
    file.with_name("instances_val2.json").write_bytes(file.read_bytes())
    refused(r"one file instances_val\*\.json; found 2 files: instances_val.json, instances_val2.json")
    file.unlink()
    refused("no folder .*val2 with the images of .*instances_val2.json")
    file.with_name("instances_val2.json").unlink()
    refused(r"one file instances_val\*\.json; found none")
    for image in (root / "train").iterdir():
        image.unlink()
    refused("none of the first images of .*instances_train.json is there, such as .*train/1.png; a file_name must be")


def test_unreadable_images_and_those_of_another_size_are_left_out_before_training(tmp_path):
    root = write_coco(tmp_path / "d", images=5)
    Image.new("RGB", (30, 21)).save(root / "train" / "2.png")
    (root / "train" / "3.png").write_bytes(b"no image")
    (root / "train" / "5.png").unlink()
    train = open_data(f"coco:{root}", task="instances").train
    with pytest.raises(DataError, match=r"2\.png has 21 x 30 pixels, but .*train\.json gives 20 x 30 for its id 2"):
        train.image(1)
    broken = broken_files(train, tmp_path / "kept")
    assert [path.name for path in broken] == ["2.png", "3.png", "5.png"]
    size, content, missing = (why_broken(train, path) for path in broken)
    assert "2.png has 21 x 30 pixels" in size
    assert all(str(path) in reason for path, reason in zip(broken[1:], (content, missing), strict=True))
    Image.new("RGB", (30, 20)).save(broken[0])
    assert why_broken(train, broken[0]) == str(broken[0]), "mended since"


def test_another_task_checks_the_files_again(tmp_path):
    """Masks are not read for boxes, so files that were fine for detection may not be so for instances."""
    root = write_coco(tmp_path / "d")
    found = {task: open_data(f"coco:{root}", task=task).train for task in ("detection", "instances", "segmentation")}
    assert len({result_file(images, tmp_path) for images in found.values()}) == 3


def test_changed_annotations_are_read_again_by_the_search_for_broken_files(tmp_path):
    root = write_coco(tmp_path / "d")
    assert broken_files(open_data(f"coco:{root}", task="instances").train, tmp_path / "kept") == []
    file = root / "annotations" / "instances_train.json"
    wider = json.loads(file.read_text())
    wider["images"][1]["width"] = 31
    file.write_text(json.dumps(wider))
    again = broken_files(open_data(f"coco:{root}", task="instances").train, tmp_path / "kept")
    assert [path.name for path in again] == ["2.png"]


def test_categories_that_segmentation_cannot_hold_are_refused(tmp_path):
    named = content(annotation(1)) | {"categories": [{"id": 3, "name": "background"}]}
    write_coco(tmp_path / "a", named, named)
    with pytest.raises(DataError, match="a category may not be called 'background'"):
        open_data(f"coco:{tmp_path / 'a'}", task="segmentation")
    many = content(annotation(1)) | {"categories": [{"id": n, "name": str(n)} for n in range(255)]}
    write_coco(tmp_path / "b", many, many)
    with pytest.raises(DataError, match="255 categories; segmentation takes at most 254"):
        open_data(f"coco:{tmp_path / 'b'}", task="segmentation")
    assert len(open_data(f"coco:{tmp_path / 'b'}", task="detection").classes) == 255
