"""Average precision: of perfect predictions, of an example by hand, and gathered from several processes."""

import math
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from hatnet.data import DataError
from hatnet.training.average_precision import average_precision, found_objects, from_bytes, to_bytes
from hatnet.training.detection import Detection, DetectionResult, evaluate
from tests.training.dense_runs import SMALL, data_for
from tests.training.runs import ALONE


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return data_for("instances", tmp_path_factory.mktemp("detection") / "data", side=64)


def perfect(target):
    """The objects of an image, as a detector would return them."""
    count = len(target["labels"])
    masks = target["masks"][:, None].float()
    return {"boxes": target["boxes"].clone(), "labels": target["labels"], "scores": torch.ones(count), "masks": masks}


def batches_of(images, answers):
    """One batch per image, and a model that returns the answers in turn."""
    targets = [images.label(index) for index in range(len(images))]
    model = Mock(side_effect=[[answer(target)] for answer, target in zip(answers, targets, strict=True)], roi_heads=1)
    return model, [([torch.zeros(3, 64, 64)], [target]) for target in targets]


def test_the_truth_as_prediction_has_the_precision_1(data):
    model, batches = batches_of(data.test, [perfect] * len(data.test))
    found = evaluate(model, batches, ALONE, data.test)
    for precision in (found.box, found.mask):
        assert precision.overall["AP"] == precision.overall["AP50"] == precision.overall["AP75"] == 1
        assert precision.of_class == [1, 1]
    assert found.images == len(data.test)


def test_masks_and_boxes_are_judged_separately(data):
    """Masks that are moved by half of the image match nothing; their boxes still match."""

    def moved(target):
        return perfect(target) | {"masks": perfect(target)["masks"].roll(32, dims=-1)}

    model, batches = batches_of(data.test, [moved] * len(data.test))
    found = evaluate(model, batches, ALONE, data.test)
    assert found.box.overall["AP"] == 1
    assert found.mask.overall["AP"] < 0.2


def test_no_predictions_have_the_precision_0(data):
    def nothing(target):
        return {name: value[:0] for name, value in perfect(target).items()}

    model, batches = batches_of(data.test, [nothing] * len(data.test))
    found = evaluate(model, batches, ALONE, data.test)
    assert found.box.overall["AP"] == found.mask.overall["AP"] == 0
    assert math.isnan(found.box.overall["AP_large"]), "no object is that large"


class Truth:
    """Ground truth of one image with two objects of one class, by hand."""

    def ground_truth(self):
        from pycocotools.coco import COCO

        coco = COCO()
        boxes = ([0, 0, 10, 10], [20, 20, 10, 10])
        annotations = [
            {"id": k, "image_id": 1, "category_id": 1, "bbox": box, "area": 100, "iscrowd": 0}
            for k, box in enumerate(boxes, 1)
        ]
        images = [{"id": 1, "width": 40, "height": 40}]
        coco.dataset = {
            "info": {},
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "a"}],
        }
        coco.createIndex()
        return coco


def test_average_precision_of_an_example_by_hand(capsys):
    """Scores fall: a hit, a miss, a hit of IoU 8 / 10 = 0.8.

    At IoU 0.5 precision is 1 up to recall 1/2 and 2/3 from there to 1: of 101 recalls, 0 to 0.50 are 51. At 0.85 and
    above only the first hit counts: precision 1 up to recall 1/2, and 0 beyond.
    """
    boxes = torch.tensor([[0.0, 0, 10, 10], [30, 0, 40, 10], [20, 20, 28, 30]])
    prediction = {"boxes": boxes, "labels": torch.ones(3, dtype=torch.int64), "scores": torch.tensor([0.9, 0.8, 0.7])}
    found = average_precision(Truth().ground_truth(), [1], found_objects(1, prediction), "box")
    assert boxes[0].tolist() == [0, 0, 10, 10], "predictions are not changed"
    at_50, at_85 = (51 + 50 * 2 / 3) / 101, 51 / 101
    assert found.overall["AP50"] == pytest.approx(at_50)
    assert found.overall["AP75"] == pytest.approx(at_50)
    assert found.overall["AP"] == pytest.approx((7 * at_50 + 3 * at_85) / 10)  # 0.50 to 0.80, 0.85 to 0.95
    assert found.of_class == pytest.approx([found.overall["AP"]])
    capsys.readouterr()


def test_the_area_of_a_mask_decides_its_size_not_that_of_its_box():
    """Two thin diagonal bars of 180 pixels in boxes of about 1,100: the surer one is wrong, so precision is 1/2."""
    bars = torch.zeros(2, 1, 64, 64)
    for k in range(30):
        bars[0, 0, k, k : k + 6] = bars[1, 0, 32 + k, k : k + 6] = 1
    boxes = torch.tensor([[0.0, 0, 35, 30], [0, 32, 35, 62]])
    prediction = {"boxes": boxes, "labels": torch.tensor([1, 1]), "scores": torch.tensor([0.8, 0.9]), "masks": bars}
    truth = Truth().ground_truth()
    (true, _) = found_objects(1, prediction)
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 180, "bbox": true["bbox"]}
    truth.dataset["annotations"] = [annotation | {"segmentation": true["segmentation"]}]
    truth.dataset["images"] = [{"id": 1, "width": 64, "height": 64}]
    truth.createIndex()
    found = average_precision(truth, [1], found_objects(1, prediction), "mask").overall
    assert (found["AP"], found["AP_small"]) == pytest.approx((0.5, 0.5))
    assert math.isnan(found["AP_medium"])


class Two:
    """The first of two processes; the other one sends `other`."""

    device = ALONE.device

    def __init__(self, other):
        self.other = other

    def gather(self, mine):
        return [mine, self.other]


def test_objects_of_all_processes_count(data, capsys):
    model, batches = batches_of(data.test, [perfect] * len(data.test))
    half = len(data.test) // 2
    rest = [
        (int(target["image_id"]), found_objects(int(target["image_id"]), perfect(target)))
        for _, (target,) in batches[half:]
    ]
    other = to_bytes([number for number, _ in rest], [entry for _, found in rest for entry in found])
    assert from_bytes([other])[0] == [number for number, _ in rest]
    found = evaluate(model, batches[:half], Two(other), data.test)
    assert (found.images, found.box.overall["AP"]) == (len(data.test), 1)
    alone = evaluate(model.__class__(side_effect=model.side_effect, roi_heads=1), [], Two(other), data.test)
    assert (alone.images, alone.box.overall["AP"]) == (len(rest), 1), "images that were not seen do not count"


def test_losses_are_added_and_the_network_is_called():
    network = Mock(return_value={"a": torch.tensor(1.0), "b": torch.tensor(2.5)})
    assert float(Detection().loss(network, ["image"], ["target"], SMALL)) == 3.5
    network.assert_called_once_with(["image"], ["target"])


def test_data_without_ground_truth_is_refused(data):
    with pytest.raises(DataError, match="the training images of plain have no ground_truth"):
        Detection().require_fit(SMALL, SimpleNamespace(parts={"training": object()}, name="plain"))
    Detection().require_fit(SMALL, data)


def test_a_test_without_images_is_an_error(data):
    with pytest.raises(DataError, match="not one test image can be read"):
        evaluate(Mock(), [], ALONE, data.test)


def test_the_table_of_classes_and_its_drawing(curves, tmp_path, data):
    model, batches = batches_of(data.test, [perfect] * len(data.test))
    found = evaluate(model, batches, ALONE, data.test)
    task = Detection("instances")
    table = task.by_class(found, data.classes)
    assert table.facts == {"class box AP": {"box": 1.0, "disc": 1.0}, "class mask AP": {"box": 1.0, "disc": 1.0}}
    assert table.rows[0] == ("box", "100.0 %", "100.0 %")
    task.draw(found, data.classes, "shapes", tmp_path / "x.svg")
    drawing = (tmp_path / "x.svg").read_text()
    assert "Boxes: 100.0 % (dashed)" in drawing
    assert "Masks: 100.0 % (dashed)" in drawing
    only_boxes = DetectionResult(3, found.box, None)
    assert Detection().by_class(only_boxes, data.classes).columns == ("class", "box AP")
    values = {metric.name: metric.value(only_boxes) for metric in task.metrics}
    assert values["box_AP"] == 1
    assert math.isnan(values["mask_AP"])


def test_masks_are_cut_at_one_half():
    mask = torch.tensor([[[[0.4, 0.6], [0.5, 0.9]]]])
    prediction = {"boxes": torch.tensor([[0.0, 0, 2, 2]]), "labels": torch.tensor([1]), "scores": torch.tensor([1.0])}
    (entry,) = found_objects(7, prediction | {"masks": mask})
    from pycocotools import mask as coding

    assert np.array_equal(coding.decode(entry["segmentation"]), [[0, 1], [0, 1]])
    assert entry["bbox"] == [0, 0, 2, 2]
