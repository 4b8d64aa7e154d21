"""Image files of random pixels."""

import numpy as np
from PIL import Image


def write_image(path, size=(40, 30), mode="RGB"):
    """Write an image of random pixels, width and height in `size`, and return its path."""
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], len(mode)), dtype=np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(path)
    return path
