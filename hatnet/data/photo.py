"""From an image file to the input of a network: resize, crop and normalise, with Pillow (extra `cli`)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hatnet.checks import require_type, require_whole
from hatnet.data.image_file import CHELSEA, WHITE, open_image, size_of_image

# ImageNet's channel statistics, of pixels in [0, 1]; the authors' checkpoints expect images normalised with them.
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])


LARGEST = 4096  # the largest `size`, and the side of a square with the most pixels; 400 MB as float64 RGB


def load_photo(path: str | Path | None = None, size: int = 224, background: str = WHITE) -> NDArray[np.float64]:
    """Read an image in colour, resize its shorter side to `size` pixels (bicubic) and crop the centre square.

    Transparent pixels are composited on the `background`, such as `black` or `#ff8800`. Returns RGB, (3, size, size),
    in [0, 1]; of the bundled photo if `path` is None. Raises as `read_picture` does.

    >>> load_photo(size=32).shape
    (3, 32, 32)
    """
    return read_picture(None if path is None else Path(path), 3, size, True, background).transpose(2, 0, 1)


def normalise(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract ImageNet's mean from RGB pixels in [0, 1], divide by its standard deviation: (3, H, W) -> (3, H, W).

    >>> normalise(np.full((3, 1, 1), 0.485))[0, 0, 0]
    np.float64(0.0)
    """
    return (pixels - MEAN[:, None, None]) / STD[:, None, None]


def read_picture(
    path: Path | None, channels: int, size: int, square: bool, background: str = WHITE
) -> NDArray[np.float64]:
    """Read an image, as it is shown on a `background`, and resize its shorter side to `size` pixels (bicubic).

    Returns (H, W, 3), or (H, W) for one channel, in [0, 1]; of the bundled photo if `path` is None. `square` cuts out
    the square in the middle, as for testing networks. Raises as `open_image` does, and ValueError for other `channels`,
    or for a `size` that is no whole number from 1 to 4096 or gives more than 4096 x 4096 pixels.

    >>> read_picture(None, channels=1, size=30, square=False).shape
    (30, 45)
    """
    from PIL.Image import Resampling

    if channels not in (1, 3):
        raise ValueError(f"the network takes {channels} channels; an image file gives 1 (grey) or 3 (colour)")
    require_whole("size", size, 1, LARGEST)
    require_type("square", square, bool, "True or False")
    image = open_image(path or CHELSEA, "RGB" if channels == 3 else "L", background)
    height, width = size_resized(image.height, image.width, size)
    if (width, height) != image.size:  # pixels of the right size stay as they are
        image = image.resize((width, height), Resampling.BICUBIC)
    if square:
        left, top = (width - size) // 2, (height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image) / 255


def size_when_read(path: Path | None, size: int, square: bool) -> tuple[int, int]:
    """Height and width of the result of `read_picture`, without decoding the file; raises as that does.

    >>> size_when_read(None, size=30, square=False)
    (30, 45)
    """
    require_whole("size", size, 1, LARGEST)
    require_type("square", square, bool, "True or False")
    height, width = size_of_image(path or CHELSEA)
    resized = size_resized(height, width, size)  # raises for too many pixels
    return (size, size) if square else resized


def to_image(picture: NDArray[np.float64], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Subtract the mean and divide by the standard deviation of each channel: (H, W) or (H, W, 3) -> (C, H, W).

    >>> to_image(np.full((2, 3), 0.75), mean=(0.5,), std=(0.5,)).shape
    torch.Size([1, 2, 3])
    """
    channels = np.atleast_3d(picture)  # (H, W, C)
    return torch.from_numpy(((channels - np.asarray(mean)) / np.asarray(std)).transpose(2, 0, 1).copy())


def size_resized(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width after resizing the shorter side to `size` pixels; ValueError for more than 4096 x 4096 pixels.

    >>> size_resized(300, 451, 30)
    (30, 45)
    """
    scale = size / min(height, width)
    resized = max(size, round(height * scale)), max(size, round(width * scale))
    if resized[0] * resized[1] > LARGEST**2:
        raise ValueError(
            f"an image of {width} x {height} pixels would become {resized[1]} x {resized[0]}, more than the limit of "
            f"{LARGEST} x {LARGEST} pixels; crop it, or make it smaller"
        )
    return resized
