"""Preparation of images: sizes, normalisation, augmentation, mixing."""

from dataclasses import replace

import pytest
import torch

from hatnet.data import open_data
from hatnet.data.transforms import for_testing, for_training, mixing
from hatnet.training.batches import Augmented
from hatnet.training.recipes import get_recipe
from hatnet.training.sampling import Draw
from tests.training.image_files import folder_data
from tests.training.runs import SMALL, small_data, start


def test_augmentation_depends_only_on_seed_and_position():
    data = open_data("fashion-subset")
    recipe = replace(get_recipe("cifar10"), image_size=28)
    images = Augmented(data.train, for_training(recipe, data), seed=1)
    first, _ = images[Draw(5, 17)]
    images[Draw(6, 18)]
    again, _ = images[Draw(5, 17)]
    elsewhere, _ = images[Draw(5, 18)]
    other_seed, _ = Augmented(data.train, for_training(recipe, data), seed=2)[Draw(5, 17)]
    assert torch.equal(first, again)
    assert not torch.equal(first, elsewhere)
    assert not torch.equal(first, other_seed)


def test_test_images_are_normalised_to_mean_0_and_variance_1():
    data = open_data("fashion-subset")
    transform = for_testing(get_recipe("fashion"), data)
    pixels = torch.stack([transform(data.test.image(index)) for index in range(0, len(data.test), 5)])
    assert abs(float(pixels.mean())) < 0.05
    assert abs(float(pixels.std()) - 1) < 0.05


def test_photos_of_any_size_become_squares(tmp_path):
    data = folder_data(tmp_path, (53, 31), (31, 53))
    recipe = replace(get_recipe("imagenet"), image_size=32)
    for transform in (for_training(recipe, data), for_testing(recipe, data)):
        assert transform(data.train.image(0)).shape == transform(data.test.image(0)).shape == (3, 32, 32)


def test_mixed_labels_are_distributions():
    mix = mixing(get_recipe("cifar10"), classes=10)
    assert mix is not None
    torch.manual_seed(0)
    images, labels = mix(torch.rand(8, 3, 32, 32), torch.arange(8))
    assert images.shape == (8, 3, 32, 32)
    assert torch.allclose(labels.sum(1), torch.ones(8))
    assert mixing(get_recipe("fashion"), classes=10) is None


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((), r"the images of fashion-subset have 28 x 28 pixels, image_size=32: give --crop-padding None"),
        (((40, 30), (40, 30)), r"train/cat/0.png has 30 x 40 pixels, image_size=32: give --crop-padding None"),
        (((32, 32), (64, 64)), r"val/cat/0.png has 64 x 64 pixels, image_size=32: give --crop-padding None"),
    ],
)
def test_images_of_the_wrong_size_are_refused_before_anything_is_written(sizes, message, tmp_path):
    data = folder_data(tmp_path / "photos", *sizes, images=8) if sizes else small_data()
    with pytest.raises(ValueError, match=message):
        start(tmp_path / "run", replace(SMALL, image_size=32), data)
    assert not (tmp_path / "run").exists()
    resized = replace(SMALL, image_size=32, crop_padding=None)
    images, _ = next(start(tmp_path / "run", resized, data).batches)
    assert images.shape[2:] == (32, 32)


def test_images_of_the_right_size_are_not_resized(tmp_path):
    data = folder_data(tmp_path / "photos", images=8)
    data.test.paths[0].write_text("not an image")  # a file without a size
    assert next(start(tmp_path / "run", data=data).batches)[0].shape[2:] == (28, 28)
