"""`hatnet predict` with weights of dense tasks writes a figure and COCO's JSON, and refuses bad input early."""

import json
import warnings
from functools import partial

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import hatnet
from hatnet.cli import predict_dense
from hatnet.dense import predict
from tests.dense.networks import MODELS, filled, thin
from tests.images import write_image

CLASSES = ["top", "shoe", "bag"]
SUFFIXES = (".png", ".svg", ".json")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights for each task."""
    folder = tmp_path_factory.mktemp("weights")
    for task in MODELS:
        model = filled(thin(task, width=8)).float()
        hatnet.save(model, folder / f"{task}.safetensors", {"classes": CLASSES, "image_size": 64, "data": "scenes"})
    return {task: folder / f"{task}.safetensors" for task in MODELS}


@pytest.fixture
def run(hatnet_command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return partial(hatnet_command, "predict")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inside pycocotools, of NumPy
@pytest.mark.parametrize("task", ["detection", "instances"])
def test_objects_are_printed_drawn_and_written_as_coco_reads_them(run, tmp_path, weights, task):
    """The file is a data set in COCO's format. Compared with itself it has an average precision of 1."""
    image = write_image(tmp_path / "mine.png", (80, 60)).name
    (found,) = predict(image, weights[task], score=0.7)
    assert 1 < len(found.scores) < 100
    status, out, err = run(image, "--weights", weights[task], "--score", 0.7)
    assert (status, err) == (0, "")
    assert "trained on scenes" in out
    rows = [f"{name} {score:.2f}" for name, score in zip(found.names, found.scores, strict=True)]
    _, *table = [" ".join(line.split()) for line in out.splitlines() if line.count(",") == 3]
    assert [row.partition(",")[0].rpartition(" ")[0] for row in table] == [f"{image} {rows[0]}", *rows[1:]]
    assert out.split()[-3:] == [str(tmp_path / f"mine-prediction{suffix}") for suffix in SUFFIXES]
    coco = COCO(tmp_path / "mine-prediction.json")
    assert coco.loadCats(coco.getCatIds()) == [{"id": number, "name": n} for number, n in enumerate(CLASSES, 1)]
    assert coco.loadImgs(1) == [{"id": 1, "file_name": image, "width": 80, "height": 60}]
    entries = coco.loadAnns(coco.getAnnIds())
    assert [entry["category_id"] for entry in entries] == list(found.labels)
    assert np.allclose([entry["score"] for entry in entries], found.scores, atol=1e-6)
    boxes = np.array([entry["bbox"] for entry in entries])
    boxes[:, 2:] += boxes[:, :2]
    assert np.allclose(boxes, found.boxes, atol=2e-3)
    if task == "instances":
        assert np.array_equal([coco.annToMask(entry) for entry in entries], found.masks)
    content = json.loads((tmp_path / "mine-prediction.json").read_text())
    assert (content["info"]["task"], content["info"]["unreadable"]) == (task, [])
    results = coco.loadRes(content["annotations"])
    scores = COCOeval(coco, results, "bbox")
    for step in (scores.evaluate, scores.accumulate, scores.summarize):
        step()
    assert scores.stats[0] == 1


def test_the_classes_of_pixels_are_printed_drawn_and_written(run, tmp_path, weights):
    image = write_image(tmp_path / "mine.png", (80, 60))
    (found,) = predict(image, weights["segmentation"], image_size=48)
    status, out, err = run(image, "--weights", weights["segmentation"], "--image-size", 48, "--out", "x.json")
    assert (status, err, out.split()[-1]) == (0, "", str(tmp_path / "x.json"))
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["categories"] == [{"id": number, "name": name} for number, name in enumerate(CLASSES)]
    rebuilt = np.full((60, 80), 99)
    for entry in content["annotations"]:
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            rebuilt[coco_mask.decode(entry["segmentation"]) == 1] = entry["category_id"]
    assert np.array_equal(rebuilt, found.labels)
    assert {entry["category_id"]: entry["share"] for entry in content["annotations"]} == found.shares
    assert all(f"{CLASSES[label]} " in out and f"{100 * share:.1f} %" in out for label, share in found.shares.items())


def test_unreadable_files_odd_names_and_many_images(run, tmp_path, weights):
    (tmp_path / "in[").mkdir()
    for name in ("red]a$b_$ [bold]x.png", "z.png"):
        write_image(tmp_path / "in[" / name, (40, 40))
    (tmp_path / "in[" / "sad].png").write_text("no image")
    status, out, err = run("in[", "--weights", weights["segmentation"], "--maps", 1)
    assert status == 1
    assert err.count("left out: in[/sad].png cannot be read as an image") == 1
    assert "The first 1 of 2 images are drawn; --maps sets how many." in " ".join(out.split())
    content = json.loads((tmp_path / "predictions.json").read_text())
    assert [each["file_name"] for each in content["images"]] == ["in[/red]a$b_$ [bold]x.png", "in[/z.png"]
    assert [each["image"] for each in content["info"]["unreadable"]] == ["in[/sad].png"]
    assert {entry["image_id"] for entry in content["annotations"]} == {1, 2}
    assert len({entry["id"] for entry in content["annotations"]}) == len(content["annotations"])
    assert "z.png" not in (tmp_path / "predictions.svg").read_text()
    status, _, err = run("in[/sad].png", "--weights", weights["detection"], "--out", "none.json")
    assert (status, "none of 1 files can be read as an image" in err) == (2, True)
    assert not (tmp_path / "none.json").exists()


def test_an_image_without_objects_has_a_row_and_a_picture(run, tmp_path, weights):
    image = write_image(tmp_path / "mine.png", (80, 60))
    status, out, _ = run(image, "--weights", weights["instances"], "--score", 1)
    assert status == 0
    assert "Objects with a score of at least 1" in out
    content = json.loads((tmp_path / "mine-prediction.json").read_text())
    assert (len(content["images"]), content["annotations"]) == (1, [])
    assert "mine.png: no objects" in (tmp_path / "mine-prediction.svg").read_text()


@pytest.mark.long
def test_other_windows_are_printed_and_used(run, tmp_path, weights):
    image = write_image(tmp_path / "mine.png", (80, 60))
    files = ("--weights", weights["segmentation"], "--out")
    status, out, _ = run(image, *files, "a.json", "--grid-sizes", 2, 2, 2)
    assert (status, "grid_sizes: 8 8 8 (the weights') -> 2 2 2 (given)" in " ".join(out.split())) == (0, True)
    run(image, *files, "b.json")
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json"))
    assert len(first["info"]["changed"]) == 1
    assert first["annotations"] != second["annotations"]


@pytest.mark.parametrize(
    ("task", "arguments", "message"),
    [
        ("segmentation", ["--score", 0.5], "--score is for weights that find objects"),
        ("detection", ["--score", 1.5], "score=1.5 must be from 0 to 1"),
        ("detection", ["--top", 5], "--top is for weights that predict one class per image; these are for detection"),
        ("instances", ["--memory", 1], "--memory is for weights that predict one class per image"),
        ("segmentation", ["--image-size", 31], "too small"),
        ("segmentation", ["--image-size", 10**6], "image_size=1000000 must be a whole number from 1 to 4096"),
        ("segmentation", ["--grid-sizes", 7], "grid_sizes=(7,) must have 3 entries"),
        ("detection", ["--device", "meta"], "device 'meta' can't be used here"),
        ("detection", ["--out", "page.html"], "with .json for the numbers"),
        (None, ["--score", 0.5], "--score and --image-size are for weights of segmentation, detection or instances"),
        (None, ["--image-size", 64], "--score and --image-size are for weights of segmentation"),
    ],
)
def test_bad_input_is_named_before_a_network_runs(run, tmp_path, monkeypatch, weights, task, arguments, message):
    monkeypatch.setattr(hatnet.Backbone, "forward_features", lambda *_: pytest.fail("the network ran"))
    image = write_image(tmp_path / "mine.png", (80, 60))
    status, _, err = run(image, "--weights", weights[task] if task else "fashion-mnist", *arguments)
    assert status == 2
    assert message in " ".join(err.split())
    assert list(tmp_path.iterdir()) == [image]


@pytest.mark.long
def test_without_pycocotools_masks_are_drawn_and_boxes_written(run, tmp_path, monkeypatch, weights):
    image = write_image(tmp_path / "mine.png", (80, 60))
    monkeypatch.setattr(predict_dense, "find_spec", lambda name: None)
    status, _, err = run(image, "--weights", weights["instances"])
    assert (status, "pip install 'hatnet[dense]'" in err) == (2, True)
    assert run(image, "--weights", weights["instances"], "--out", "x.svg")[0] == 0
    assert run(image, "--weights", weights["detection"], "--out", "x.json")[0] == 0


def test_the_python_function_for_classes_names_the_one_for_dense_models(weights):
    with pytest.raises(ValueError, match=r"for detection, .*hatnet.dense.predict"):
        hatnet.predict("x.png", weights["detection"])
