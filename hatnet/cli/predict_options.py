"""Options and limits of `hatnet predict` that its parts share."""

from dataclasses import dataclass

SHOWN = 200  # rows of the table


@dataclass(frozen=True)
class DenseOptions:
    """Options for weights that do not predict one class per image.

    Attributes:
        score: for detection and instances: objects with a lower score, from 0 to 1, are left out; 0.5 if not given.
        image_size: for segmentation, detection and instances: the shorter side in pixels to which images are resized;
            that of the training if not given.
    """

    score: float | None = None
    image_size: int | None = None


NOT_GIVEN = DenseOptions()
