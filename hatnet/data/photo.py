"""From an image file to what the networks take, with Pillow (extra `cli`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

CHELSEA = Path(__file__).parents[1] / "assets" / "chelsea.png"  # 451 x 300 pixels, CC0

ORIENTATION = 0x0112  # of EXIF

# ImageNet's channel statistics, of pixels in [0, 1]; the authors' checkpoints expect them taken out.
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


def load_photo(path: str | Path | None = None, size: int = 224) -> NDArray[np.float64]:
    """Read an image, resize its shorter side to `size` pixels (bicubic) and crop the centre square.

    Args:
        path: any file Pillow reads; the bundled photo where None.
        size: in pixels.

    Returns:
        RGB, (3, size, size), float64 in [0, 1].

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image that can be read, or `size` is not positive.

    >>> load_photo(size=32).shape
    (3, 32, 32)
    """
    if size < 1:
        raise ValueError(f"size={size} must be at least 1 pixel")
    photo = resized(open_image(CHELSEA if path is None else Path(path), "RGB"), size, square=True)
    return np.asarray(photo, dtype=np.float64).transpose(2, 0, 1) / 255


def open_image(path: Path, mode: Literal["RGB", "L"]) -> Image.Image:
    """An image file turned upright, with 8 bits a channel: in colour (RGB) or in grey (L).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not an image that can be read, or its pixels have no known white.
    """
    with _opened(path) as file:
        turn = _turn(file)  # before the pixels are read, which makes a TIFF upright by itself
        image = _in_8_bits(file).convert(mode)
        return image if turn is None else image.transpose(turn)


def resized(image: Image.Image, size: int, square: bool) -> Image.Image:
    """An image with its shorter side of `size` pixels (bicubic), and of that all or the square in the middle."""
    from PIL import Image

    height, width = size_resized(image.height, image.width, size)
    if (width, height) != image.size:  # pixels that fit are left alone
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size)) if square else image


def size_resized(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width with a shorter side of `size` pixels.

    >>> size_resized(300, 451, 100)
    (100, 150)
    """
    scale = size / min(height, width)
    return max(size, round(height * scale)), max(size, round(width * scale))


def size_of_image(path: Path) -> tuple[int, int]:
    """Height and width of an image file when turned upright, found without decoding it; raises as `open_image` does.

    >>> size_of_image(CHELSEA)
    (300, 451)
    """
    from PIL.Image import Transpose

    with _opened(path) as file:
        on_its_side = _turn(file) in (
            Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90
        )  # fmt: skip
        width, height = file.size[::-1] if on_its_side else file.size
    return height, width


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    from PIL import Image

    if not path.is_file():
        raise FileNotFoundError(f"no image file at {path}")
    try:
        with Image.open(path) as file:
            yield file
    except MemoryError:
        raise
    except Exception as error:  # damaged files make decoders fail in any way, struct.error and TypeError included
        raise ValueError(f"{path} can't be read as an image: {error}") from error


def _turn(file: Image.Image) -> Image.Transpose | None:
    """What makes an image upright, by its EXIF; None where nothing has to be done.

    `ImageOps.exif_transpose` writes all of EXIF anew as well, and fails where a part that no one needs is damaged.
    """
    from PIL.Image import Transpose

    if file.format == "TIFF":
        return None  # Pillow turns it while reading
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }  # fmt: skip
    return turns.get(file.getexif().get(ORIENTATION, 1))


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits brought to 8, where Pillow would cut it off at 255 and show white."""
    from PIL import Image

    if image.mode[0] not in "IF":
        return image
    pixels = np.asarray(image)
    # 32 bits that use no more than 8 may be either
    if image.mode == "F" or pixels.min() < 0 or pixels.max() > 65535 or (image.mode == "I" and pixels.max() < 256):
        raise ValueError(
            f"its pixels (mode {image.mode}) go from {pixels.min():g} to {pixels.max():g}, and which is white is not "
            "known; save it with 8 or 16 bits a channel"
        )
    return Image.fromarray((pixels / 257).round().astype(np.uint8))


def normalise(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take ImageNet's mean and standard deviation out of RGB pixels in [0, 1]: (3, H, W) -> (3, H, W).

    >>> normalise(np.full((3, 1, 1), 0.485))[0, 0, 0]
    np.float64(0.0)
    """
    return (pixels - MEAN[:, None, None]) / STD[:, None, None]
