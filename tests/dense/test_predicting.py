"""Predictions equal the model's outputs in pixels of the file, for images of any size, and survive COCO's format."""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask
from torch.nn import functional as F
from torchvision.transforms.v2 import functional

import hatnet
from hatnet.dense import predict
from hatnet.dense.coco_results import coco_results
from hatnet.dense.predicting import DenseSettings, Objects, Segmentation, predict_files
from hatnet.dense.source import find_dense
from tests.dense.networks import MODELS, THIN, filled, thin

CLASSES = ["top", "shoe", "bag"]
LIMITS = {"detection": "score_thresh", "instances": "box_score_thresh"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A narrow model of each task, and the file that holds it; both read images of 64 to 128 pixels."""
    folder, found = tmp_path_factory.mktemp("models"), {}
    for task in MODELS:
        settings = {LIMITS[task]: 0.1} if task in LIMITS else {}
        model = filled(thin(task, width=16, **settings)).float()
        found[task] = (model, folder / f"{task}.safetensors")
        hatnet.save(model, found[task][1], {"classes": CLASSES, "image_size": 64})
    return found


def picture(path, height, width, seed=0):
    """A smooth random picture, as a file and as floats (3, H, W)."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    pixels = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
    Image.fromarray(pixels).save(path)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1)


def test_the_classes_are_the_largest_logits_of_an_image_of_the_size_in_training(models, tmp_path):
    model, file = models["segmentation"]
    pixels = picture(tmp_path / "a.png", 64, 90)
    (found,) = predict(tmp_path / "a.png", file)
    assert isinstance(found, Segmentation)
    want = model((pixels / 255)[None])[0].argmax(0)
    assert np.array_equal(found.labels, want.numpy())
    assert np.array_equal(found.picture, pixels.permute(1, 2, 0).numpy())
    assert found.names == tuple(CLASSES)
    shares = {label: (want == label).double().mean().item() for label in want.unique().tolist()}
    assert found.shares == pytest.approx(shares)
    assert list(found.shares.values()) == sorted(found.shares.values(), reverse=True)


@pytest.mark.parametrize(("height", "width", "size"), [(100, 70, None), (33, 150, 48), (20, 20, 64), (500, 40, 32)])
def test_pixels_are_classified_at_the_size_of_the_file(models, tmp_path, height, width, size):
    """As in evaluation: the shorter side is resized for the network, and all logits together to the file's size."""
    model, file = models["segmentation"]
    pixels = picture(tmp_path / "a.png", height, width)
    (found,) = predict(tmp_path / "a.png", file, image_size=size)
    small = functional.resize(pixels, [size or 64], antialias=True)
    logits = model(functional.to_dtype(small, torch.float32, scale=True)[None])
    want = F.interpolate(logits, size=(height, width), mode="bilinear", align_corners=False)[0].argmax(0)
    assert found.labels.shape == (height, width)
    assert (found.labels == want.numpy()).mean() > 0.999  # up to ties
    assert min(found.picture.shape[:2]) == (size or 64)
    assert found.compact().labels.shape == found.picture.shape[:2]


@pytest.mark.parametrize("task", LIMITS)
def test_objects_are_those_of_the_detector_surest_first_without_unsure_ones(models, tmp_path, task):
    model, file = models[task]
    pixels = picture(tmp_path / "a.png", 64, 90)
    (want,) = model([functional.to_dtype(pixels, torch.float32, scale=True)])
    limit = want["scores"].median().item() - 1e-6
    (found,) = predict([tmp_path / "a.png"], file, score=limit)
    assert isinstance(found, Objects)
    area = (want["boxes"][:, 2:] > want["boxes"][:, :2]).all(1)
    keep = (want["scores"] >= limit) & area
    assert 0 < keep.sum() == len(found.scores) < len(want["scores"])
    order = want["scores"][keep].argsort(descending=True, stable=True)
    assert found.scores == tuple(want["scores"][keep][order].tolist())
    assert found.labels == tuple(want["labels"][keep][order].tolist())
    assert found.names == tuple(CLASSES[label - 1] for label in found.labels)
    assert np.allclose(found.boxes, want["boxes"][keep][order].detach().numpy())
    if task == "detection":
        assert found.masks is None
    else:
        assert np.array_equal(found.masks, (want["masks"][keep][order][:, 0] >= 0.5).numpy())
        assert found.masks.any()


@pytest.mark.parametrize("task", LIMITS)
@pytest.mark.parametrize(("height", "width"), [(150, 220), (40, 50), (90, 700)])
def test_boxes_and_masks_of_a_resized_image_are_in_pixels_of_the_file(models, tmp_path, task, height, width):
    """The detector sees 64 pixels, or at most 128 on the longer side. Rows and columns have their own scale."""
    model, file = models[task]
    pixels = picture(tmp_path / "a.png", height, width)
    (found,) = predict(tmp_path / "a.png", file, score=0)
    scale = min(64 / min(height, width), 128 / max(height, width))
    small = pixels
    if scale < 1:
        small = functional.resize(pixels, [round(height * scale), round(width * scale)], antialias=True)
    (want,) = model([functional.to_dtype(small, torch.float32, scale=True)])
    rows, columns = height / small.shape[1], width / small.shape[2]
    boxes = want["boxes"].detach().numpy() * [columns, rows, columns, rows]
    boxes = boxes[(boxes[:, 2:] > boxes[:, :2]).all(1)]
    assert len(found.boxes) == len(boxes) > 0
    assert np.allclose(sorted(found.boxes.tolist()), sorted(boxes.tolist()), atol=1e-3)
    assert found.boxes.min() >= 0
    assert (found.boxes <= [width + 1e-3, height + 1e-3] * 2).all()
    assert found.size == (height, width)
    if task == "instances":
        assert found.masks.shape == (len(boxes), height, width)
        best = want["masks"][want["scores"].argmax()]
        again = F.interpolate(best[None], size=(height, width), mode="bilinear", align_corners=False)[0, 0] >= 0.5
        assert np.array_equal(found.masks[0], again.numpy())


def test_the_size_of_images_can_be_changed_and_keeps_the_limit_of_the_longer_side(models, tmp_path):
    picture(tmp_path / "a.png", 100, 120)
    _, file = models["detection"]
    (small,), (large,) = (list(predict(tmp_path / "a.png", file, score=0, image_size=size)) for size in (32, 96))
    assert (small.picture.shape[:2], large.picture.shape[:2]) == ((32, 38), (96, 115))
    assert not np.array_equal(small.boxes[:3], large.boxes[:3])


@pytest.mark.parametrize("task", MODELS)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (64, 1), (8, 8), (3, 500)])
def test_the_smallest_and_longest_images_are_predicted_or_named(models, tmp_path, task, size):
    _, file = models[task]
    Image.new("RGB", size).save(tmp_path / "a.png")
    reasons = []
    found = list(predict(tmp_path / "a.png", file, unreadable=lambda *each: reasons.append(each)))
    assert len(found) + len(reasons) == 1
    if found and task == "segmentation":
        assert found[0].labels.shape == size[::-1]
    for path, reason in reasons:
        assert (path, "crop it" in reason) == (tmp_path / "a.png", True)
    assert found or max(size) >= 130 * min(size)


def test_grey_networks_read_grey_images_and_classes_without_names_are_numbers(tmp_path):
    for task, first in (("segmentation", 0), ("detection", 1)):
        settings = {} if task == "segmentation" else {"score_thresh": 0.1}
        model = filled(thin(task, replace(THIN, in_channels=1), width=16, **settings)).float()
        hatnet.save(model, tmp_path / "m.safetensors")
        picture(tmp_path / "a.png", 64, 64)
        (found,) = predict(tmp_path / "a.png", tmp_path / "m.safetensors", image_size=64, score=0.1)
        grey = torch.from_numpy(np.array(Image.open(tmp_path / "a.png").convert("L")))
        assert np.array_equal(found.picture, grey.numpy())
        if task == "segmentation":
            assert found.names == ("0", "1", "2")
            assert np.array_equal(found.labels, model((grey / 255)[None, None])[0].argmax(0).numpy())
        else:
            assert found.names == tuple(map(str, found.labels))
            assert min(found.labels) >= first


@pytest.mark.long
def test_half_precision_weights_predict_in_float32(models, tmp_path):
    model, _ = models["segmentation"]
    half = filled(thin("segmentation", width=16)).half()
    hatnet.save(half, tmp_path / "half.safetensors", {"image_size": 64})
    pixels = picture(tmp_path / "a.png", 64, 64)
    (found,) = predict(tmp_path / "a.png", tmp_path / "half.safetensors")
    want = half.float()((pixels / 255)[None])[0].argmax(0).numpy()
    assert np.array_equal(found.labels, want)
    assert (found.labels == model((pixels / 255)[None])[0].argmax(0).numpy()).mean() > 0.9


@pytest.mark.parametrize("task", MODELS)
def test_outputs_that_are_not_finite_are_refused(tmp_path, task):
    model = filled(thin(task, width=16)).float()
    torch.nn.init.constant_(model.backbone.fpn.layer_blocks[0][0].bias, 3e38)
    hatnet.save(model, tmp_path / "m.safetensors")
    picture(tmp_path / "a.png", 64, 64)
    with pytest.raises(ValueError, match=r"the outputs for .*a\.png are not finite: the weights are damaged"):
        list(predict(tmp_path / "a.png", tmp_path / "m.safetensors", image_size=64, score=0))


@pytest.mark.parametrize("task", MODELS)
def test_another_size_is_for_one_prediction(models, tmp_path, task):
    """Afterwards, the same loaded weights predict at the size of their training again."""
    source = find_dense(models[task][1])
    picture(tmp_path / "a.png", 64, 80)

    def found(size):
        (result,) = predict_files([tmp_path / "a.png"], source, DenseSettings(image_size=size, score=0))
        return result.labels if task == "segmentation" else result.boxes

    before, larger, after = found(None), found(96), found(None)
    assert np.array_equal(before, after)
    assert not np.array_equal(before, larger)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"score": 1.5}, "score=1.5 must be from 0 to 1"),
        ({"score": float("nan")}, "score=nan"),
        ({"image_size": 0}, "image_size=0 must be a whole number from 1 to 4096"),
        ({"image_size": 31}, "too small"),
        ({"background": "blurple"}, "background='blurple'"),
        ({"device": "meta"}, "device 'meta'"),
    ],
)
def test_settings_that_do_not_fit_are_refused_at_once(models, tmp_path, settings, words):
    picture(tmp_path / "a.png", 64, 64)
    with pytest.raises(ValueError, match=words):
        predict(tmp_path / "a.png", models["detection"][1], **settings)


def test_weights_of_classification_are_refused_with_the_right_call(tmp_path):
    picture(tmp_path / "a.png", 64, 64)
    with pytest.raises(ValueError, match="for classification, not for segmentation"):
        predict(tmp_path / "a.png", "fashion-mnist")


def run_lengths(mask):
    """Lengths of runs of 0 and 1 by turns, down the columns, from the first pixel: COCO's RLE, by hand."""
    counts, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def decoded(run_lengths):
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # inside pycocotools, of NumPy
        return coco_mask.decode(run_lengths) == 1


def drawn_objects():
    rng = np.random.default_rng(3)
    masks = rng.random((4, 9, 14)) < np.array([0.2, 0.5, 0.9, 0.0])[:, None, None]
    masks[2] = True
    boxes = np.array([[0, 0, 14, 9], [1.25, 2.5, 6.75, 8.125], [0, 0, 0.5, 0.5], [3, 3, 4, 4]])
    names, labels = ("a", "b", "a", "b"), (1, 2, 1, 2)
    return Objects(
        Path("x.png"), (9, 14), names, labels, (0.9, 0.8, 0.7, 0.6), boxes, masks, np.zeros((9, 14), np.uint8)
    )


def test_coco_results_are_the_masks_boxes_and_scores():
    """Decoded by pycocotools, and compared with run lengths counted by hand."""
    found = drawn_objects()
    for place, entry in enumerate(json.loads(json.dumps(coco_results(found, 7)))):
        mask = found.masks[place]
        assert np.array_equal(decoded(entry["segmentation"]), mask)
        by_hand = {"size": [9, 14], "counts": run_lengths(mask)}
        assert coco_mask.frPyObjects(by_hand, 9, 14)["counts"].decode() == entry["segmentation"]["counts"]
        assert (entry["image_id"], entry["category_id"], entry["area"]) == (7, found.labels[place], mask.sum())
        x, y, w, h = entry["bbox"]
        assert [x, y, x + w, y + h] == pytest.approx(found.boxes[place].tolist(), abs=2e-3)
        assert entry["score"] == pytest.approx(found.scores[place], abs=1e-6)


def test_a_segmentation_gives_one_region_per_class_and_every_pixel_once():
    labels = np.random.default_rng(0).choice([0, 2, 5], (11, 6), p=[0.2, 0.5, 0.3]).astype(np.uint16)
    found = Segmentation(Path("x.png"), tuple("abcdef"), labels, np.zeros((11, 6), np.uint8))
    rebuilt = np.full(labels.shape, -1)
    for entry in coco_results(found, 1):
        region = decoded(entry["segmentation"])
        assert (rebuilt[region] == -1).all()
        rebuilt[region] = entry["category_id"]
        rows, columns = np.nonzero(labels == entry["category_id"])
        x, y, w, h = entry["bbox"]
        assert [x, y, x + w - 1, y + h - 1] == [columns.min(), rows.min(), columns.max(), rows.max()]
        assert entry["share"] == pytest.approx(region.mean())
    assert np.array_equal(rebuilt, labels)
