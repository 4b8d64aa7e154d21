"""Places for the labels of objects in a picture, where they hide few other labels and no small object."""

from collections.abc import Iterator, Sequence

from matplotlib.textpath import TextPath

FONT = 6.5  # of labels, in points
PADDING = 0.35  # around a label, as a multiple of the font's size

Box = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels, downwards


def label_places(
    texts: Sequence[str], boxes: Sequence[Box], size: tuple[int, int], pixels_per_inch: float
) -> list[Box]:
    """The box of each text beside the box of its object, in a picture of `size`, (width, height).

    Places are chosen in order. `boxes` may be more than the texts: no label should hide them. A place costs the area of
    other labels below it, and for each object the covered fraction of the object times the area of the label, so that
    small objects count most.
    """
    placed: list[Box] = []
    for text, box in zip(texts, boxes, strict=False):
        width, height = _size(text, pixels_per_inch)
        area = width * height

        def cost(at: Box, area: float = area) -> float:
            labels = sum(_overlap(at, other) for other in placed)
            objects = sum(_overlap(at, other) / max(_area(other), 1e-9) for other in boxes)
            return 4 * labels + area * objects

        placed.append(min(_candidates(box, width, height, size), key=cost))  # the first of equal ones
    return placed


def _size(text: str, pixels_per_inch: float) -> tuple[float, float]:
    """Width and height of a label in pixels."""
    extents = TextPath((0, 0), text.replace("$", "S"), size=FONT).get_extents()  # between $ it would read mathematics
    scale = pixels_per_inch / 72
    return (float(extents.width) + 2 * PADDING * FONT) * scale, (1 + PADDING) * FONT * scale


def _candidates(box: Box, width: float, height: float, size: tuple[int, int]) -> Iterator[Box]:
    """Above, below, right, left and inside the box of an object, moved into the picture."""
    x1, y1, x2, y2 = box
    middle = (y1 + y2 - height) / 2
    corners = [
        (x1, y1 - height), (x1, y2), (x2 - width, y1 - height), (x2 - width, y2), (x2, y1), (x1 - width, y1),
        (x2, middle), (x1 - width, middle), (x2, y2 - height), (x1 - width, y2 - height), (x1, y1), (x1, y2 - height),
    ]  # fmt: skip
    for x, y in corners:
        left, top = min(max(x, 0), max(size[0] - width, 0)), min(max(y, 0), max(size[1] - height, 0))
        yield left, top, left + width, top + height


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(width, 0) * max(height, 0)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
