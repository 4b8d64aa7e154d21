"""Bring the pixels of an image to 8 bits per channel, with transparent pixels composited on a background."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageColor

Colour = tuple[int, int, int]

WHITE_OF_BITS = {"L;2": 3, "L;4": 15}  # white in a file with so few bits of grey, which Pillow scales to 255


def parse_colour(name: str) -> Colour:
    """Red, green and blue of an opaque colour, given as CSS does: `white`, `#ff8800`, `rgb(255, 136, 0)`.

    >>> parse_colour("#ff8800")
    (255, 136, 0)
    """
    try:
        channels: tuple[int, ...] = ImageColor.getrgb(name)
    except (ValueError, TypeError, AttributeError):  # the last two for what is no text
        channels = ()
    if len(channels) != 3:  # four with an alpha
        raise ValueError(f"background={name!r} must be an opaque colour such as white, black or '#ff8800'")
    return channels[0], channels[1], channels[2]


def without_transparency(image: Image.Image, background: Colour) -> Image.Image:
    """Composite an image with 8 bits per channel on a colour: a c + (1 - a) b for a pixel c with opacity a.

    An image without a transparent pixel keeps its mode and its bits; grey of 16 bits is brought to 8. Pillow keeps
    colours that were multiplied by their opacity (modes RGBa and La) in 8 bits, so they come back within rounding.
    """
    image = _with_8_bits(image)
    layer = with_transparency(image)
    if layer is None:
        return image
    if layer.getchannel("A").getextrema() == (255, 255):
        image.info.pop("transparency", None)  # it hides nothing, but Pillow warns about it
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), layer).convert("RGB")


def with_transparency(image: Image.Image) -> Image.Image | None:
    """An image with 8 bits per channel and its opacity (RGBA); None if the file has no opacity."""
    image = _with_8_bits(image)
    if not image.has_transparency_data:
        return None
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")  # Pillow has no way from La to RGBA


def scale_transparent_colour(image: Image.Image) -> None:
    """Bring the transparent colour of an image that is not read yet, if it has one, to the scale of its pixels.

    Pillow scales the pixels of a PNG with 2 or 4 bits per channel, or colours with 16, to 8 bits, but not this colour.
    Colours of 16 bits that agree in their upper 8 cannot be told apart afterwards.
    """
    key, stored = image.info.get("transparency"), [tile.args for tile in getattr(image, "tile", ())]
    if isinstance(key, int) and stored and stored[0] in WHITE_OF_BITS:
        image.info["transparency"] = key * 255 // WHITE_OF_BITS[stored[0]]
    elif isinstance(key, tuple) and stored[:1] == ["RGB;16B"]:
        image.info["transparency"] = tuple(value >> 8 for value in key)


def _with_8_bits(image: Image.Image) -> Image.Image:
    """The image; one of grey with 16 bits, whose transparent colour becomes an opacity, with 8."""
    image.load()
    if image.mode[0] not in "IF":
        return image
    key, pixels = image.info.get("transparency"), np.asarray(image)
    image = _in_8_bits(pixels, image.mode)
    if isinstance(key, int) and (pixels == key).any():
        image.putalpha(Image.fromarray(np.where(pixels == key, 0, 255).astype(np.uint8)))
    return image


def _in_8_bits(pixels: NDArray[Any], mode: str) -> Image.Image:
    """Bring grey of 16 bits to 8; Pillow would clip it at 255 and show white."""
    # numbers of 32 bits that use no more than 8 may be either
    if mode == "F" or pixels.min() < 0 or pixels.max() > 65535 or (mode == "I" and pixels.max() < 256):
        raise ValueError(
            f"its pixels (mode {mode}) go from {pixels.min():g} to {pixels.max():g}, and it is not known which "
            "number is white; save it with 8 or 16 bits per channel"
        )
    return Image.fromarray((pixels / 257).round().astype(np.uint8))
