"""Image files of any kind become RGB squares, and unreadable ones are refused."""

import pytest
from PIL import Image

from hatnet.data.photo import CHELSEA, load_photo


def test_unreadable_image_files_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no image file at .*none.jpg"):
        load_photo(tmp_path / "none.jpg")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"text.png can't be read as an image"):
        load_photo(tmp_path / "text.png")
    (tmp_path / "half.png").write_bytes(CHELSEA.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=r"half.png can't be read as an image"):
        load_photo(tmp_path / "half.png")
    with pytest.raises(ValueError, match="size=0 must be at least 1"):
        load_photo(size=0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
@pytest.mark.parametrize("size", [(300, 451), (50, 50), (451, 40)])
def test_images_of_any_mode_and_size_become_rgb_squares(tmp_path, mode, size):
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.new("RGB", size, (255, 0, 0)).convert(mode).save(tmp_path / f"photo.{suffix}")
    pixels = load_photo(tmp_path / f"photo.{suffix}", 64)
    assert pixels.shape == (3, 64, 64)
    assert pixels.min() >= 0
    assert pixels.max() <= 1
