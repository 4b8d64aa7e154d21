"""A picture from a file, as it is shown and as a network takes it, with Pillow (extra `cli`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hatnet.data.photo import CHELSEA, open_image, resized, size_of_image, size_resized


def shown_size(path: Path | None, size: int, square: bool) -> tuple[int, int]:
    """Height and width that `read_picture` will give, found without decoding the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it can't be read as an image, or `size` is not positive.

    >>> shown_size(None, size=30, square=False)
    (30, 45)
    """
    if size < 1:
        raise ValueError(f"size={size} must be at least 1 pixel")
    height, width = size_of_image(path or CHELSEA)
    return (size, size) if square else size_resized(height, width, size)


def read_picture(path: Path | None, channels: int, size: int, square: bool) -> NDArray[np.float64]:
    """Read an image and resize its shorter side (bicubic).

    Args:
        path: any file that Pillow reads; the bundled photo where None.
        channels: that the network takes: 3 for colour, 1 for grey.
        size: of the shorter side in pixels.
        square: whether to cut out the square in the middle, as networks are tested, or to keep all of it.

    Returns:
        (H, W, 3), or (H, W) for one channel, in [0, 1].

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it can't be read as an image, `size` is not positive, or the network takes other channels.

    >>> read_picture(None, channels=1, size=30, square=False).shape
    (30, 45)
    """
    if channels not in (1, 3):
        raise ValueError(f"the network takes {channels} channels; an image file gives 1 (grey) or 3 (colour)")
    if size < 1:
        raise ValueError(f"size={size} must be at least 1 pixel")
    image = resized(open_image(path or CHELSEA, "RGB" if channels == 3 else "L"), size, square)
    return np.asarray(image, dtype=np.float64) / 255


def to_image(picture: NDArray[np.float64], mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """A picture (H, W) or (H, W, 3) as a network takes it, (C, H, W), mean and standard deviation taken out.

    >>> to_image(np.full((2, 3), 0.75), mean=(0.5,), std=(0.5,)).shape
    torch.Size([1, 2, 3])
    """
    channels = np.atleast_3d(picture)  # (H, W, C)
    return torch.from_numpy(((channels - np.asarray(mean)) / np.asarray(std)).transpose(2, 0, 1).copy())
