"""Images of any kind become network input of the right size and brightness, or are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from hatnet.data import open_data
from hatnet.data.image_file import CHELSEA, open_image, size_of_image
from hatnet.data.photo import load_photo, normalise, read_picture, size_when_read, to_image
from hatnet.data.transforms import for_testing, for_training, mixing
from hatnet.training.batches import Augmented
from hatnet.training.recipes import get_recipe
from hatnet.training.sampling import Draw
from hatnet.weights.source import find_source
from tests.images import write_image
from tests.training.image_files import folder_data
from tests.training.runs import SMALL, small_data, start


def test_unreadable_image_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no image file at .*none.jpg"):
        load_photo(tmp_path / "none.jpg")
    for name, content in (("text.png", b"not a picture"), ("half.png", CHELSEA.read_bytes()[:100_000])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image"):
            load_photo(tmp_path / name)
    with pytest.raises(ValueError, match="size=0 must be a whole number from 1 to 4096"):
        load_photo(size=0)


@pytest.mark.parametrize("size", [1.5, 0, -1, True, float("nan"), 4097, 10**6, "32", None])
def test_sizes_that_are_no_sides_are_refused_before_the_file_is_opened(size, monkeypatch):
    monkeypatch.setattr("hatnet.data.photo.open_image", lambda *_: pytest.fail("the file was opened"))
    with pytest.raises(ValueError, match=r"size=.* must be a whole number from 1 to 4096"):
        load_photo(size=size)


def test_sizes_of_numpy_are_accepted_and_too_many_pixels_are_not(tmp_path):
    assert load_photo(size=np.int64(32)).shape == (3, 32, 32)
    Image.new("L", (100, 1)).save(tmp_path / "line.png")
    with pytest.raises(ValueError, match="100 x 1 pixels would become 204800 x 2048, more than the limit of 4096"):
        read_picture(tmp_path / "line.png", 1, 2048, square=True)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
@pytest.mark.parametrize("size", [(300, 451), (50, 50), (451, 40)])
def test_images_of_any_mode_and_size_become_rgb_squares(tmp_path, mode, size):
    path = tmp_path / ("photo.jpg" if mode == "CMYK" else "photo.png")
    Image.new("RGB", size, (255, 0, 0)).convert(mode).save(path)
    pixels = load_photo(path, 64)
    assert pixels.shape == (3, 64, 64)
    assert 0 <= pixels.min() <= pixels.max() <= 1


def test_images_are_normalised_with_the_statistics_of_the_training(tmp_path):
    picture = read_picture(write_image(tmp_path / "grey.png", (28, 28), "L"), channels=1, size=28, square=True)
    with Image.open(tmp_path / "grey.png") as stored:
        assert np.array_equal(picture * 255, np.asarray(stored, dtype=float))  # pixels that fit are left alone
    image = to_image(picture, mean=(0.25,), std=(0.5,))
    assert torch.equal(image, torch.from_numpy((picture[None] - 0.25) / 0.5))
    random = find_source()
    colour = read_picture(None, channels=3, size=64, square=True)
    assert np.array_equal(colour.transpose(2, 0, 1), load_photo(size=64))
    assert np.allclose(to_image(colour, random.mean, random.std), normalise(load_photo(size=64)), atol=1e-15)


@pytest.mark.parametrize("size", [(9, 21), (21, 9), (10, 21)])
def test_a_square_is_cut_from_the_centre(size, tmp_path):
    pixels = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    Image.fromarray(pixels).save(tmp_path / "grey.png")
    side = min(size)
    top, left = ((length - side) // 2 for length in size)
    found = read_picture(tmp_path / "grey.png", channels=1, size=side, square=True)
    assert np.array_equal(found * 255, pixels[top : top + side, left : left + side])


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_of_16_bits_is_as_bright_as_the_same_in_8(tmp_path, channels):
    eight = np.asarray(Image.open(write_image(tmp_path / "8.png", (28, 28), "L")))
    Image.fromarray(eight.astype(np.uint16) * 257).save(tmp_path / "16.png")
    want, found = (read_picture(tmp_path / f"{bits}.png", channels, 28, square=True) for bits in (8, 16))
    assert np.array_equal(want, found)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.linspace(-1, 1, 784, dtype=np.float32), r"\(mode F\) go from -1 to 1"),
        (np.full(784, 200, dtype=np.int32), r"\(mode I\) go from 200 to 200"),  # bright, or black if 65535 is white
        (np.full(784, 65_536, dtype=np.int32), r"\(mode I\) go from 65536 to 65536"),
        (np.linspace(-9, 300, 784, dtype=np.int32), r"\(mode I\) go from -9 to 300"),
    ],
)
def test_numbers_whose_white_is_unknown_are_refused(pixels, message, tmp_path):
    Image.fromarray(pixels.reshape(28, 28)).save(tmp_path / "map.tiff")
    message = rf"map.tiff cannot be read as an image: its pixels {message}, and it is not known which number is white"
    with pytest.raises(ValueError, match=message):
        read_picture(tmp_path / "map.tiff", 1, 28, square=True)


@pytest.mark.parametrize("kind", ["jpg", "png", "tiff"])
@pytest.mark.parametrize(("orientation", "size"), [(1, (20, 30)), (3, (20, 30)), (6, (30, 20)), (9, (20, 30))])
def test_the_size_is_known_before_the_image_is_decoded(tmp_path, kind, orientation, size):
    photo = Image.new("RGB", (30, 20))
    photo.getexif()[0x0112] = orientation
    photo.save(tmp_path / f"photo.{kind}", exif=photo.getexif())
    assert size_when_read(tmp_path / f"photo.{kind}", 20, square=False) == size
    assert read_picture(tmp_path / f"photo.{kind}", 3, 20, square=False).shape[:2] == size


@pytest.mark.parametrize("kind", ["png", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright_as_pillow_does(orientation, kind, tmp_path):
    path = write_image(tmp_path / "stored.png", (5, 3))
    with Image.open(path) as stored:
        stored.getexif()[0x0112] = orientation
        stored.save(tmp_path / f"turned.{kind}", exif=stored.getexif())
        want = ImageOps.exif_transpose(stored)
    assert (orientation == 1) == np.array_equal(want, stored)
    assert np.array_equal(open_image(tmp_path / f"turned.{kind}", "RGB"), want)
    assert size_of_image(tmp_path / f"turned.{kind}") == want.size[::-1]


def test_augmentation_depends_only_on_seed_and_position():
    data = open_data("fashion-subset")
    recipe = replace(get_recipe("cifar10"), image_size=28)
    images = Augmented(data.train, for_training(recipe, data), seed=1)
    first, _ = images[Draw(5, 17)]
    elsewhere, _ = images[Draw(5, 18)]
    again, _ = images[Draw(5, 17)]
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
    torch.manual_seed(0)
    images, labels = mixing(get_recipe("cifar10"), classes=10)(torch.rand(8, 3, 32, 32), torch.arange(8))
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
