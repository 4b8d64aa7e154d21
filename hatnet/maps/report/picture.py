"""Drawings over the photo, in SVG whose unit is a pixel of the photo.

All pictures show the same two images, which the page holds once: `#photo` and, below cells, the paler `#grey`.
"""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

import numpy as np
from PIL import Image

from hatnet.maps.report.colour import OPACITY, colour
from hatnet.maps.report.markup import Markup, element
from hatnet.maps.report.query import Array, Box, Weights

LONGEST_SIDE = 640  # of the embedded photo, in pixels
MOST_TITLES = 400  # a map of more cells has no titles to hover over, to keep the file small


def photo_definitions(photo: Array) -> Markup:
    """The images `#photo` and `#grey` of a photo (3, H, W), in a drawing that is not shown itself."""
    pixels = np.clip(photo, 0, 1).transpose(1, 2, 0)
    grey = 0.5 + 0.9 * (pixels @ (0.299, 0.587, 0.114) - 0.5)
    size = {"width": pixels.shape[1], "height": pixels.shape[0], "preserveAspectRatio": "none"}
    images = [element("image", id=name, href=_jpeg(of), **size) for name, of in (("photo", pixels), ("grey", grey))]
    return element("svg", element("defs", images), width=0, height=0, class_="definitions", aria_hidden="true")


def picture(view: Box, label: str, *drawing: Markup) -> Markup:
    """An SVG that shows `view`, with `label` as its text for those who do not see it."""
    corner = f"{view.left} {view.top} {view.width} {view.height}"
    return element("svg", *drawing, viewBox=corner, class_="picture", role="img", aria_label=label)


def backdrop(image: str, part: Box) -> Markup:
    """A part of `photo` or `grey`."""
    corner = f"{part.left} {part.top} {part.width} {part.height}"
    return element("svg", element("use", href=f"#{image}"), viewBox=corner, **_geometry(part))


def cells(weights: Weights, values: Array, largest: float, titles: bool = True) -> Markup:
    """The cells of a map, coloured by `values` (rows, columns) on a scale from 0 to `largest`.

    With titles each is an element of its own; without, one path holds all cells of a colour, a fifth of the size.
    """
    places = [(weights.cell(row, column), float(value)) for (row, column), value in np.ndenumerate(values)]
    if titles and values.size <= MOST_TITLES:
        drawn = [
            element("rect", element("title", f"{value:.4f}"), **_geometry(cell), fill=colour(value / largest))
            for cell, value in places
        ]
    else:
        paths: dict[str, str] = {}
        for cell, value in places:
            square = f"M{cell.left} {cell.top}h{cell.width}v{cell.height}h-{cell.width}z"
            paths[colour(value / largest)] = paths.get(colour(value / largest), "") + square
        drawn = [element("path", d=path, fill=fill) for fill, path in paths.items()]
    return element("g", drawn, class_="cells", fill_opacity=OPACITY)


def outline(box: Box, kind: str) -> Markup:
    """A line around a `token` or a `window`, light on dark so that it is seen on every colour."""
    lines = [element("rect", **_geometry(box), class_=name) for name in ("casing", "line")]
    return element("g", lines, class_=kind)


def veil(photo: Box, hole: Box) -> Markup:
    """Darkens the photo outside `hole`."""
    outer = f"M0 0h{photo.width}v{photo.height}h-{photo.width}z"
    inner = f"M{hole.left} {hole.top}v{hole.height}h{hole.width}v-{hole.height}z"
    return element("path", d=outer + inner, class_="veil", fill_rule="evenodd")


def pin(number: int, x: float, y: float, radius: float) -> Markup:
    """A numbered mark."""
    return element(
        "g",
        element("circle", cx=x, cy=y, r=radius),
        element("text", str(number), x=x, y=y + 0.38 * radius, font_size=1.15 * radius, text_anchor="middle"),
        class_="pin",
    )


def _geometry(box: Box) -> dict[str, object]:
    return {"x": box.left, "y": box.top, "width": box.width, "height": box.height}


def _jpeg(pixels: Array) -> str:
    image = Image.fromarray((pixels * 255).round().astype(np.uint8))
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=88)
    return f"data:image/jpeg;base64,{b64encode(buffer.getvalue()).decode('ascii')}"
