"""The palette of the attention maps: viridis, which stays ordered for colour-blind readers and in print."""

from __future__ import annotations

import numpy as np

OPACITY = 0.8  # of cells, so that the photo shows through; scales lie on grey with the same opacity
STEPS = 100  # from the darkest to the brightest colour, finer than the eye

VIRIDIS = np.array(
    [
        (68, 1, 84), (72, 37, 118), (65, 68, 135), (53, 96, 141), (42, 120, 142), (33, 144, 140),
        (34, 168, 132), (67, 191, 113), (122, 209, 81), (187, 223, 39), (253, 231, 37),
    ]
)  # fmt: skip


def colour(share: float) -> str:
    """The colour of a value, given as a share of the scale from 0 to 1; grey for NaN.

    >>> colour(0), colour(0.55), colour(1)
    ('#440154', '#229c88', '#fde725')
    """
    if np.isnan(share):
        return "#808080"
    position = round(np.clip(share, 0, 1) * STEPS) / STEPS * (len(VIRIDIS) - 1)
    channels = [round(float(np.interp(position, range(len(VIRIDIS)), VIRIDIS[:, channel]))) for channel in range(3)]
    return "#{:02x}{:02x}{:02x}".format(*channels)


def scale() -> str:
    """The whole palette from left to right as a CSS background, as it looks over the grey photo."""
    stops = ", ".join(f"{colour(share)}{round(255 * OPACITY):02x}" for share in np.linspace(0, 1, len(VIRIDIS)))
    return f"linear-gradient(to right, {stops}), #808080"
