"""Image files of any kind become pictures of the right size and brightness, and unreadable files are refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from hatnet.data.image_file import CHELSEA
from hatnet.data.photo import load_photo, normalise, read_picture, size_when_read, to_image
from hatnet.weights.source import find_source
from tests.images import write_image


def test_unreadable_image_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no image file at .*none.jpg"):
        load_photo(tmp_path / "none.jpg")
    for name, content in (("text.png", b"not a picture"), ("half.png", CHELSEA.read_bytes()[:100_000])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=f"{name} cannot be read as an image"):
            load_photo(tmp_path / name)
    with pytest.raises(ValueError, match="size=0 must be at least 1"):
        load_photo(size=0)


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


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_of_16_bits_is_as_bright_as_the_same_in_8(tmp_path, channels):
    eight = np.random.default_rng(2).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(eight).save(tmp_path / "8.png")
    Image.fromarray(eight.astype(np.uint16) * 257).save(tmp_path / "16.png")
    want, found = (read_picture(tmp_path / f"{bits}.png", channels, 28, square=True) for bits in (8, 16))
    assert np.array_equal(want, found)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.linspace(-1, 1, 784, dtype=np.float32), r"\(mode F\) go from -1 to 1"),
        (np.full(784, 200, dtype=np.int32), r"\(mode I\) go from 200 to 200"),  # bright, or black if 65535 is white
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
