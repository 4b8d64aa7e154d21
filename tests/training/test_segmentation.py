"""Segmentation: the loss and the metrics equal those computed pixel by pixel."""

import json
import math
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from hatnet.data import DataError
from hatnet.training.checkpoint_evaluation import CheckpointEvaluation
from hatnet.training.segmentation import MEAN_IOU, Segmentation, SegmentationResult, evaluate
from tests.training.dense_runs import SMALL
from tests.training.runs import ALONE

CLASSES = ("background", "box", "disc", "never")


def some_batches(random, sizes):
    """Images whose pixels are their own logits, and masks with unknown pixels; class 3 does not occur."""
    images = [torch.tensor(random.normal(size=(4, *size)), dtype=torch.float32) for size in sizes]
    for image in images:
        image[3] = -100
    masks = [torch.tensor(random.choice([0, 1, 2, 255], size)) for size in sizes]
    return images, masks


def logits_of_pixels():
    """A model that returns its input."""
    return Mock(side_effect=lambda images: images, config=Mock(num_classes=4))


def counted(images, masks):
    """IoU of each class and the fraction of pixels that are right, with loops over pixels."""
    union, shared, right, known = [0] * 4, [0] * 4, 0, 0
    for image, mask in zip(images, masks, strict=True):
        for y in range(mask.shape[0]):
            for x in range(mask.shape[1]):
                true, found = int(mask[y, x]), int(image[:, y, x].argmax())
                if true == 255:
                    continue
                known, right = known + 1, right + (true == found)
                for k in range(4):
                    union[k] += k in (true, found)
                    shared[k] += k == true == found
    return [s / u if u else math.nan for s, u in zip(shared, union, strict=True)], right / known


def test_metrics_equal_counting_pixels_one_by_one():
    images, masks = some_batches(np.random.default_rng(0), [(5, 7)] * 3)
    task = Segmentation()
    batches = [task.collate([*zip(images[:2], masks[:2], strict=True)]), task.collate([(images[2], masks[2])])]
    found = evaluate(logits_of_pixels(), batches, ALONE)
    iou, right = counted(images, masks)
    assert found.class_iou == pytest.approx(iou, nan_ok=True)
    assert math.isnan(found.class_iou[3]), "neither there nor predicted"
    assert found.mean_iou == pytest.approx(np.nanmean(iou))
    assert found.pixel_accuracy == pytest.approx(right)
    assert found.images == 3
    true = torch.stack(masks).flatten()
    assert found.confusion.sum(1).tolist() == [int((true == k).sum()) for k in range(4)], "rows are true classes"
    losses = [
        -image.log_softmax(0).gather(0, mask.clamp(max=3)[None])[0][mask != 255]
        for image, mask in zip(images, masks, strict=True)
    ]
    assert found.loss == pytest.approx(float(torch.cat(losses).mean()), rel=1e-5)


def test_images_of_several_sizes_are_tested_one_by_one_and_logits_get_the_size_of_the_mask():
    images, masks = some_batches(np.random.default_rng(1), [(4, 6), (8, 3)])
    listed = Segmentation().collate([*zip(images, masks, strict=True)])
    assert isinstance(listed[0], list)
    found = evaluate(logits_of_pixels(), [listed], ALONE)
    assert found.class_iou == pytest.approx(counted(images, masks)[0], nan_ok=True)
    large = masks[0].repeat_interleave(2, 0).repeat_interleave(2, 1)
    flat = torch.zeros(4, 4, 6)
    flat[1] = 1  # the same class everywhere, at any size
    found = evaluate(logits_of_pixels(), [(flat[None], large[None])], ALONE)
    assert int(found.confusion.sum()) == int((large != 255).sum())
    assert found.confusion[:, 1].sum() == found.confusion.sum()


def test_the_loss_is_the_mean_over_known_pixels_and_0_without_any():
    images, masks = some_batches(np.random.default_rng(2), [(5, 6)] * 2)
    logits, labels = torch.stack(images), torch.stack(masks)
    loss = Segmentation().loss(torch.nn.Identity(), logits, labels, SMALL)
    terms = [
        -float(logits[b, :, y, x].log_softmax(0)[labels[b, y, x]]) for b, y, x in (labels != 255).nonzero().tolist()
    ]
    assert float(loss) == pytest.approx(np.mean(terms), rel=1e-5)
    nothing = Segmentation().loss(torch.nn.Identity(), logits, torch.full_like(labels, 255), SMALL)
    assert float(nothing) == 0


def test_a_test_without_images_or_without_known_pixels_is_an_error():
    with pytest.raises(DataError, match="not one test image can be read"):
        evaluate(logits_of_pixels(), [], ALONE)
    unknown = torch.zeros(1, 4, 3, 3), torch.full((1, 3, 3), 255)
    with pytest.raises(DataError, match="no test image has a pixel of known class"):
        evaluate(logits_of_pixels(), [unknown], ALONE)


def test_as_many_classes_as_the_mark_of_unknown_pixels_are_refused():
    crowd = SimpleNamespace(name="crowd", classes=tuple(map(str, range(256))), channels=3)
    with pytest.raises(DataError, match="crowd has 256 classes, at most 255 are possible"):
        Segmentation().config(SMALL, crowd)


def test_evaluation_json_has_the_table_of_classes(curves, tmp_path):
    confusion = torch.tensor([[6, 2, 0, 0], [1, 3, 0, 0], [0, 0, 4, 0], [0, 0, 0, 0]])
    found = SegmentationResult(confusion, 0.5, 2)
    CheckpointEvaluation(tmp_path / "x.safetensors", "shapes", CLASSES, found, Segmentation()).write(tmp_path)
    facts = json.loads((tmp_path / "evaluation.json").read_text())
    assert facts["class IoU"] == {"background": 6 / 9, "box": 0.5, "disc": 1.0, "never": None}
    assert facts["class accuracy"]["background"] == 0.75
    assert facts["mean_IoU"] == pytest.approx((6 / 9 + 0.5 + 1) / 3)
    assert facts["pixel_accuracy"] == 13 / 16
    assert facts["confusion of pixels (rows true, columns predicted)"] == confusion.tolist()
    drawing = (tmp_path / "evaluation.svg").read_text()
    assert "Pixels of 2 test images of shapes" in drawing
    assert "Mean: 72.22 % (dashed)" in drawing
    assert MEAN_IOU.text(found.mean_iou) == "72.22 %"


def test_the_worst_class_comes_first_and_one_without_pixels_last():
    confusion = torch.tensor([[9, 0, 0], [0, 0, 0], [9, 0, 1]])
    table = Segmentation().by_class(SegmentationResult(confusion, 0.5, 1), ("good", "absent", "bad"))
    assert [row[0] for row in table.rows] == ["bad", "good", "absent"]
