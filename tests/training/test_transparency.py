"""Transparent pixels are composited on a background: a c + (1 - a) b, computed by hand."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hatnet.data.image_file import open_image
from hatnet.data.image_folder import read_image
from hatnet.data.photo import load_photo, read_picture
from hatnet.data.transparency import without_transparency

RED, BLUE = (255, 0, 0, 255), (0, 0, 255, 0)  # blue is hidden
HALF = (200, 100, 0, 51)  # opacity 1/5: 200 / 5 + 255 * 4 / 5 = 244 on white, 40 on black


def pixels_of(path, mode="RGB", **background):
    return np.asarray(open_image(path, mode, **background)).tolist()


def rgba(*pixels):
    return Image.fromarray(np.array([pixels], dtype=np.uint8))


def png(path, bits, kind, row, key=None):
    """A PNG of one row, byte by byte: Pillow writes neither 16 bits with alpha nor few bits with a key."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    width = len(row) * 8 // bits // {0: 1, 2: 3, 4: 2, 6: 4}[kind]
    chunks = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, bits, kind, 0, 0, 0))]
    if key is not None:
        chunks.append(chunk(b"tRNS", key))
    chunks += [chunk(b"IDAT", zlib.compress(b"\0" + row)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    return path


@pytest.mark.parametrize(
    ("background", "expected"),
    [
        ({}, [[255, 0, 0], [255, 255, 255], [244, 224, 204]]),
        ({"background": "black"}, [[255, 0, 0], [0, 0, 0], [40, 20, 0]]),
        ({"background": "#0a64c8"}, [[255, 0, 0], [10, 100, 200], [48, 100, 160]]),
    ],
)
@pytest.mark.parametrize("kind", ["png", "tiff", "webp"])
def test_colours_are_composited(kind, background, expected, tmp_path):
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    rgba(RED, BLUE, HALF).save(tmp_path / f"photo.{kind}", **options)
    assert pixels_of(tmp_path / f"photo.{kind}", **background) == [expected]


def test_grey_with_alpha_is_composited_in_both_modes(tmp_path):
    Image.fromarray(np.array([[[100, 255], [9, 0], [200, 51]]], dtype=np.uint8)).save(tmp_path / "grey.png")
    assert pixels_of(tmp_path / "grey.png", "L") == [[100, 255, 244]]
    assert pixels_of(tmp_path / "grey.png", "L", background="black") == [[100, 0, 40]]
    assert pixels_of(tmp_path / "grey.png")[0][2] == [244, 244, 244]


@pytest.mark.parametrize("transparency", [1, b"\xff\x00\x33"])
def test_palettes_with_transparent_entries_are_composited(transparency, tmp_path):
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), "P")
    image.putpalette([255, 0, 0, 0, 0, 255, 200, 100, 0])
    image.save(tmp_path / "palette.png", transparency=transparency)
    last = [200, 100, 0] if transparency == 1 else [244, 224, 204]
    assert pixels_of(tmp_path / "palette.png") == [[[255, 0, 0], [255, 255, 255], last]]
    image.save(tmp_path / "palette.gif", transparency=1)
    assert pixels_of(tmp_path / "palette.gif", background="black")[0][1] == [0, 0, 0]


@pytest.mark.parametrize(
    ("bits", "row", "key", "grey"),
    [
        (1, b"\x55", 1, [0, 9, 0, 9, 0, 9, 0, 9]),
        (2, b"\x1b", 2, [0, 85, 9, 255]),
        (4, b"\x1f", 1, [9, 255]),
        (8, b"\x64\x65", 0x65, [100, 9]),
        (16, b"\x64\x64\x64\x65", 0x6465, [100, 9]),  # they differ in the lower byte only
    ],
)
def test_a_transparent_grey_of_any_depth_is_composited(bits, row, key, grey, tmp_path):
    path = png(tmp_path / "key.png", bits, 0, row, struct.pack(">H", key))
    assert pixels_of(path, "L", background="#090909") == [grey]


def test_a_transparent_colour_is_composited_with_8_and_16_bits(tmp_path):
    key = struct.pack(">3H", 1, 2, 3)
    assert pixels_of(png(tmp_path / "8.png", 8, 2, b"\1\2\3\1\2\4", key)) == [[[255] * 3, [1, 2, 4]]]
    hidden, shown = struct.pack(">3H", 0x1234, 0x5678, 0x9ABC), struct.pack(">3H", 0x1134, 0x5678, 0x9ABC)
    assert pixels_of(png(tmp_path / "16.png", 16, 2, hidden + shown, hidden)) == [[[255] * 3, [0x11, 0x56, 0x9A]]]


def test_alpha_of_16_bits_is_composited(tmp_path):
    grey = png(tmp_path / "grey.png", 16, 4, struct.pack(">4H", 200 * 257, 51 * 257, 7, 0))
    assert pixels_of(grey, "L") == [[244, 255]]
    colour = png(tmp_path / "colour.png", 16, 6, struct.pack(">4H", 200 * 257, 100 * 257, 0, 51 * 257))
    assert pixels_of(colour) == [[[244, 224, 204]]]


@pytest.mark.parametrize("mode", ["RGBa", "La", "PA"])
def test_premultiplied_and_palette_alpha_are_composited_within_rounding(mode):
    grey, alpha = (Image.fromarray(np.array([row], dtype=np.uint8)) for row in ([255, 0, 200], [255, 0, 51]))
    if mode == "PA":
        image = grey.convert("P").convert("PA")
        image.putalpha(alpha)
    else:
        image = Image.merge("LA", (grey, alpha))
        image = image.convert("La") if mode == "La" else image.convert("RGBA").convert("RGBa")
    assert image.mode == mode
    found = np.asarray(without_transparency(image, (255, 255, 255)).convert("L"), dtype=int)
    assert np.abs(found - [[255, 255, 244]]).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
@pytest.mark.parametrize("read", ["RGB", "L"])
def test_opaque_images_keep_their_bits(mode, read, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).convert(mode)
    image.save(tmp_path / "opaque.png", **({"transparency": b"\xff" * 256} if mode == "P" else {}))
    without = image.convert("RGB") if mode in ("RGBA", "P") and read == "RGB" else image
    assert pixels_of(tmp_path / "opaque.png", read) == np.asarray(without.convert(read)).tolist()


def test_photos_and_training_images_show_no_hidden_pixels(tmp_path):
    """Compositing comes before resizing, so that hidden colours do not bleed into visible ones."""
    image = Image.new("RGBA", (64, 64), (255, 0, 0, 0))
    image.paste((0, 255, 0, 255), (0, 0, 32, 64))
    image.save(tmp_path / "photo.png")
    assert read_image(tmp_path / "photo.png")[:, 0, 63].tolist() == [255, 255, 255]
    assert load_photo(tmp_path / "photo.png", 16)[:, 0, 15].tolist() == [1, 1, 1]
    assert load_photo(tmp_path / "photo.png", 16, background="black")[0].max() == 0  # red is never seen
    assert read_picture(tmp_path / "photo.png", 1, 16, True, "black")[0, 15] == 0


@pytest.mark.parametrize("background", ["blurple", "#ff000080", "", "rgba(1, 2, 3, 4)", None, 7, (1, 2, 3)])
def test_unknown_backgrounds_are_refused(background):
    with pytest.raises(ValueError, match="must be an opaque colour such as white"):
        load_photo(size=32, background=background)
