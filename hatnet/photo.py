"""From an image file to what the networks take, with Pillow (extra `cli`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

CHELSEA = Path(__file__).parent / "assets" / "chelsea.png"  # 451 x 300 pixels, CC0

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
    from PIL import Image, ImageOps

    if size < 1:
        raise ValueError(f"size={size} must be at least 1 pixel")
    path = CHELSEA if path is None else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no image file at {path}")
    try:
        with Image.open(path) as file:
            photo = ImageOps.exif_transpose(file).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} can't be read as an image: {error}") from error
    scale = size / min(photo.size)
    width, height = (max(size, round(side * scale)) for side in photo.size)
    photo = photo.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    photo = photo.crop((left, top, left + size, top + size))
    return np.asarray(photo, dtype=np.float64).transpose(2, 0, 1) / 255


def normalise(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take ImageNet's mean and standard deviation out of RGB pixels in [0, 1]: (3, H, W) -> (3, H, W).

    >>> normalise(np.full((3, 1, 1), 0.485))[0, 0, 0]
    np.float64(0.0)
    """
    return (pixels - MEAN[:, None, None]) / STD[:, None, None]
