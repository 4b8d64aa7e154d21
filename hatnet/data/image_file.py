"""Open image files safely, with Pillow (extra `cli`): upright, opaque, with 8 bits per channel, or a clear error."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hatnet.checks import require_choice

if TYPE_CHECKING:
    from PIL import Image

ASSETS = Path(__file__).parents[1] / "assets"
CHELSEA = ASSETS / "chelsea.png"  # 451 x 300 pixels, CC0
EMBEDDED = ASSETS / "fashion-mnist-subset.npz"

WHITE = "white"  # the default background of transparent pixels
ORIENTATION = 0x0112  # the tag in EXIF


def open_image(path: Path, mode: Literal["RGB", "L"], background: str = WHITE) -> Image.Image:
    """Read an image file, turned upright, with 8 bits per channel: in colour (RGB) or in grey (L).

    Transparent pixels are composited on the `background`, a colour as `parse_colour` takes it. Raises
    FileNotFoundError, or ValueError if the colour is unknown, if it is no image, or if it is not known which of its
    numbers is white.
    """
    from hatnet.data.transparency import parse_colour, scale_transparent_colour, without_transparency

    colour = parse_colour(background)
    require_choice("mode", mode, ("RGB", "L"))
    with _opened(path) as file:
        scale_transparent_colour(file)
        turn = _turn(file)  # before the pixels are read: reading turns a TIFF upright
        image = without_transparency(file, colour).convert(mode)
        return image if turn is None else image.transpose(turn)


def open_picture(path: Path) -> Image.Image | None:
    """Read an image file as `open_image` does, with its opacity (RGBA); None if it has none. Raises as `open_image`."""
    from hatnet.data.transparency import scale_transparent_colour, with_transparency

    with _opened(path) as file:
        scale_transparent_colour(file)
        turn = _turn(file)
        image = with_transparency(file)
        return None if image is None else image if turn is None else image.transpose(turn)


def size_of_image(path: Path) -> tuple[int, int]:
    """Height and width of an image file when turned upright, without decoding it; raises as `open_image` does.

    >>> size_of_image(CHELSEA)
    (300, 451)
    """
    from PIL.Image import Transpose

    sideways = (Transpose.TRANSPOSE, Transpose.ROTATE_270, Transpose.TRANSVERSE, Transpose.ROTATE_90)
    with _opened(path) as file:
        width, height = file.size[::-1] if _turn(file) in sideways else file.size
    return height, width


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    from PIL import Image

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no image file at {path}")
    try:
        with Image.open(path) as file:
            yield file
    except MemoryError:
        raise
    except Exception as error:  # damaged files make decoders fail in any way, also with struct.error or TypeError
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _turn(file: Image.Image) -> Image.Transpose | None:
    """The turn that makes an image upright. `ImageOps.exif_transpose` fails if any part of the EXIF is damaged."""
    from PIL.Image import Transpose

    if file.format == "TIFF":
        return None  # Pillow turns it while reading
    turns = {
        2: Transpose.FLIP_LEFT_RIGHT, 3: Transpose.ROTATE_180, 4: Transpose.FLIP_TOP_BOTTOM, 5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270, 7: Transpose.TRANSVERSE, 8: Transpose.ROTATE_90,
    }  # fmt: skip
    return turns.get(file.getexif().get(ORIENTATION, 1))
