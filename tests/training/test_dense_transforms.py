"""Images and labels are scaled, cut and flipped together."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import masks_to_boxes

from hatnet.training.detection import Detection
from hatnet.training.segmentation import Segmentation
from tests.training.dense_runs import SMALL, data_for, recipe_for

OBJECTS = recipe_for("instances")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return data_for("instances", tmp_path_factory.mktemp("transforms") / "data", side=64)


def bounds(masks):
    """The boxes of masks: the far edges of their pixels."""
    return masks_to_boxes(masks) + torch.tensor([0, 0, 1, 1])


@pytest.mark.parametrize("scales", [None, (1.0, 1.0), (0.5, 2.0)])
def test_boxes_are_the_bounds_of_their_masks_after_scale_crop_and_flip(data, scales):
    """Within two pixels, since masks have whole pixels. A cut ellipse may be smaller than its cut box."""
    recipe = replace(OBJECTS, image_size=64, scales=scales)
    transform, seen = Detection("instances").for_training(recipe, data), 0
    for seed in range(30):
        torch.manual_seed(seed)
        index = seed % len(data.train)
        image, target = transform(data.train.image(index), data.train.label(index))
        assert (image.shape, image.dtype, type(image)) == ((3, 64, 64), torch.float32, Tensor)
        assert {len(value) for value in target.values()} == {len(target["boxes"])}
        assert all(type(value) is Tensor for value in target.values())
        if not len(target["boxes"]):
            continue
        found = bounds(target["masks"])
        square = target["labels"] == 1  # rectangles fill their boxes
        assert ((found - target["boxes"])[square].abs() <= 2).all()
        inside = (found >= target["boxes"] - 2) & torch.tensor([True, True, False, False])
        inside |= (found <= target["boxes"] + 2) & torch.tensor([False, False, True, True])
        assert inside.all()
        if scales in (None, (1.0, 1.0)):
            assert torch.equal(found, target["boxes"])
        seen += len(found)
    assert seen > 30


def test_pixels_are_scaled_to_0_1_and_colours_follow_their_masks(data):
    """Rectangles are (220, 60, 60) and ellipses (60, 60, 220); a later object may cover an earlier one."""
    transform = Detection("instances").for_training(replace(OBJECTS, image_size=64, scales=(0.7, 1.5)), data)
    for seed in range(10):
        torch.manual_seed(seed)
        image, target = transform(data.train.image(0), data.train.label(0))
        assert 0 <= image.min() <= image.max() <= 1
        for label, mask in zip(target["labels"].tolist(), target["masks"].bool(), strict=True):
            red, _, blue = image[:, mask].median(dim=1).values.tolist()
            assert (red > blue) == (label == 1)


@pytest.mark.parametrize("task", [Segmentation(), Detection("instances")])
def test_distorted_colours_leave_places_and_labels_alone(task, data):
    """The same draws with and without: flips and crops come first. One channel order in six is the given one."""
    image, target = data.train.image(0), data.train.label(0)
    label = tv_tensors.Mask(target["masks"].amax(0).long()) if isinstance(task, Segmentation) else target
    recipe = replace(SMALL if isinstance(task, Segmentation) else OBJECTS, image_size=64, scales=(0.8, 1.25))
    changed = 0
    for seed in range(12):
        found = []
        for distort in (False, True):
            torch.manual_seed(seed)
            found.append(task.for_training(replace(recipe, distort=distort), data)(image, label))
        (plain, places), (distorted, same) = found
        assert (distorted.shape, distorted.dtype, type(distorted)) == (plain.shape, torch.float32, Tensor)
        assert 0 <= distorted.min() <= distorted.max() <= 1
        changed += not torch.equal(plain, distorted)
        pairs = [(places, same)] if isinstance(places, Tensor) else [(places[key], same[key]) for key in places]
        assert all(torch.equal(*pair) for pair in pairs)
    assert changed > 8


def test_objects_outside_the_crop_or_without_a_pixel_in_it_are_left_out():
    corner = torch.zeros(1, 64, 64, dtype=torch.uint8)
    corner[0, :8, :8] = 1
    target = {
        "boxes": tv_tensors.BoundingBoxes([[0.0, 0, 8, 8]], format="XYXY", canvas_size=(64, 64)),
        "labels": torch.tensor([1]), "masks": tv_tensors.Mask(corner), "image_id": torch.tensor(5),
    }  # fmt: skip
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    whole = replace(OBJECTS, image_size=64, scales=None, flip=False)
    _, kept = Detection("instances").for_training(whole, None)(image, target)
    assert kept["labels"].tolist() == [1]
    _, boxes = Detection().for_training(whole, None)(image, target)
    assert set(boxes) == {"boxes", "labels"}
    for task, counts in ((Detection("instances"), set()), (Detection(), set())):
        cut = task.for_training(replace(whole, scales=(4.0, 4.0)), None)
        for seed in range(20):
            torch.manual_seed(seed)
            _, kept = cut(image, target)
            counts.add(len(kept["labels"]))
            assert (kept["boxes"][:, 2:] - kept["boxes"][:, :2] >= 1).all(), "at least a pixel of the box is left"
            assert "masks" not in kept or kept["masks"].flatten(1).any(1).all()
        assert counts == {0, 1}, "the object is in some crops"
    empty = target | {"masks": tv_tensors.Mask(torch.zeros_like(corner))}
    assert len(Detection("instances").for_training(whole, None)(image, empty)[1]["labels"]) == 0, "no pixel is left"


def test_masks_of_classes_are_cut_with_their_image_and_unknown_outside():
    """Class 1 where the image is bright; outside of the image, which is smaller than the crop, pixels are unknown."""
    image = torch.zeros(3, 20, 30, dtype=torch.uint8)
    image[:, :, :15] = 200
    mask = tv_tensors.Mask((image[0] > 100).long())
    transform = Segmentation().for_training(replace(SMALL, image_size=32, scales=(0.5, 1.0)), None)
    sides = set()
    for seed in range(20):
        torch.manual_seed(seed)
        pixels, label = transform(image, mask)
        assert (pixels.shape, label.shape, label.dtype, type(label)) == ((3, 32, 32), (32, 32), torch.int64, Tensor)
        known = label != 255
        sides.add(int(known.any(1).sum()))
        assert (pixels[0][~known] == 0).all()
        wrong = (label == 1) != (pixels[0] > 100 / 255)
        assert wrong[known].float().mean() < 0.1  # only along the edge, where the image is interpolated
    assert min(sides) < 20 < max(sides)


def test_test_images_are_whole_and_their_labels_keep_their_size(data):
    image = torch.randint(0, 256, (3, 20, 30), dtype=torch.uint8)
    mask = tv_tensors.Mask(torch.zeros(20, 30, dtype=torch.int64))
    pixels, label = Segmentation().for_testing(replace(SMALL, image_size=40), data)(image, mask)
    assert (pixels.shape, label.shape) == ((3, 40, 60), (20, 30))
    pixels, target = Detection().for_testing(SMALL, data)(data.test.image(0), data.test.label(0))
    assert torch.allclose(pixels, data.test.image(0) / 255)
    assert torch.equal(target["boxes"], data.test.label(0)["boxes"])
    assert int(target["image_id"]) == 10
