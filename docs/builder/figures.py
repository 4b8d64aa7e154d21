"""Figures of tutorials for every reader: one SVG follows light and dark mode, and a second one fits a phone.

Colours become CSS variables with a value for each colour scheme. Artists on a picture or heat map keep theirs,
because what lies below them does not change.
"""

import re
import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

INK = "#1f2933"
DARK = {  # colour -> the same in the dark scheme
    INK: "#e4e7eb",
    "#000000": "#e4e7eb",
    "#ffffff": "#1e2629",  # the page: edges of bars, boxes behind labels
    "#0072b2": "#56b4e9",  # near
    "#d55e00": "#f0883e",  # far
    "#8a4f9e": "#c79bd6",  # both
    "#009e73": "#3cc79c",
    "#9ccbe8": "#2a6690",  # pale near
    "#f3be98": "#9a531f",  # pale far
    "#a5d8c6": "#2a7a62",
    "#b00000": "#ff8a80",
    "#d3d3d3": "#3a474c",
}
STYLE: dict[Any, Any] = {
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "figure.facecolor": "none",
    "grid.color": "#b0b0b0",
    "legend.facecolor": "white",
    "savefig.bbox": "tight",
    "savefig.dpi": 144,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
COLOUR = re.compile(r"\b(fill|stroke): (#[0-9a-f]{6})\b")
PHONE = 4.2  # inches; 10-point text then has about 12 pixels on a screen of 390
SINGLE = 7  # inches; a single plot up to this width is drawn for a phone only, which saves time
MANY_LABELS = 12  # a panel with more numbers than that takes the whole width


def colour_for_both_schemes(svg: str) -> str:
    """Turn colours that the dark scheme replaces into variables, and choose their values in a style sheet.

    >>> colour_for_both_schemes('<style></style><path style="fill: #0072b2"/>').split("@media")[0]
    '<style>svg{fill:#1f2933;--c0072b2:#0072b2}'
    """
    dark = {colour: _dark(colour) for _, colour in COLOUR.findall(svg)}
    dark = {colour: other for colour, other in sorted(dark.items()) if other != colour}
    light = "".join(f";--c{colour[1:]}:{colour}" for colour in dark)
    night = "".join(f";--c{colour[1:]}:{other}" for colour, other in dark.items())
    rules = f"svg{{fill:{INK}{light}}}@media(prefers-color-scheme:dark){{svg{{fill:{DARK[INK]}{night}}}}}"
    svg = COLOUR.sub(lambda found: f"{found[1]}: {_variable(found[2], dark)}", svg)
    return svg.replace("</style>", f"{rules}</style>", 1)


def adapt_kept_figure(svg: str) -> str:
    """A kept figure for both schemes. One with heat maps stays as it is: their labels fit the colours they have."""
    return svg if "<image" in svg else colour_for_both_schemes(svg)


def _variable(colour: str, dark: dict[str, str]) -> str:
    return f"var(--c{colour[1:]})" if colour in dark else colour


def _dark(colour: str) -> str:
    """A listed colour, or a grey with its lightness turned around; other colours suit both schemes."""
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    if colour not in DARK and red == green == blue and 16 < red < 240:
        grey = round(56 + 0.72 * (255 - red))
        return f"#{grey:02x}{grey:02x}{grey:02x}"
    return DARK.get(colour, colour)


def prepare_pictures(figure: Figure) -> None:
    """Keep images at their own resolution, and black and white on them in both schemes (one step of 255 away)."""
    for axes in figure.axes:
        for image in axes.images:
            image.set_interpolation("none")
        if is_picture(axes):
            for text in axes.texts:
                text.set_color(_protected(text.get_color()))
            for artist in (*axes.patches, *axes.lines):
                for part in ("edgecolor", "facecolor") if artist in axes.patches else ("color",):
                    colour = getattr(artist, f"get_{part}")()
                    getattr(artist, f"set_{part}")(_protected(colour))


def is_picture(axes: Axes) -> bool:
    """Whether the panel shows an image or a heat map."""
    return bool(axes.images) or any(isinstance(each, QuadMesh) for each in axes.collections)


def _protected(colour: Any) -> Any:
    return {"#000000": "#000001", "#ffffff": "#fffffe"}.get(to_hex(colour), colour) if _opaque(colour) else colour


def _opaque(colour: Any) -> bool:
    return to_hex(colour, keep_alpha=True).endswith("ff")


def is_small(figure: Figure) -> bool:
    """Whether one drawing, as narrow as a phone, suits every screen: a single plot that was not meant to be wide."""
    panels = [axes for axes in figure.axes if axes.get_subplotspec() is not None]
    return len(panels) == 1 and float(figure.get_figwidth()) <= SINGLE


def stack(figure: Figure) -> None:
    """Lay a figure out again, as wide as a phone: plots below one another, pictures in two columns."""
    places = {axes: axes.get_subplotspec() for axes in figure.axes}
    rows_before = max((place.get_gridspec().nrows for place in places.values() if place), default=0)
    panels = [axes for axes, place in places.items() if place is not None]
    if not panels:
        return
    small = all(is_picture(axes) and len(axes.texts) <= MANY_LABELS for axes in panels)
    columns = min(2, len(panels)) if small else 1
    width, own = PHONE / columns, float(figure.get_figheight()) / rows_before
    heights = [_height(axes, width, own) for axes in panels]
    heights = [max(heights[at : at + columns]) for at in range(0, len(panels), columns)]
    figure.set_size_inches(PHONE, sum(heights))
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    for number, axes in enumerate(panels):
        axes.set_subplotspec(grid[divmod(number, columns)])
        _fit(axes, width)
    if columns == 1:
        _label_again(panels)


def _height(axes: Axes, width: float, own: float) -> float:
    """Inches for a panel of this width, with its title and labels; `own` is its height in the wide layout."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    if axes.get_aspect() == "auto":
        return max(2.9, own)
    return float(width * abs((top - bottom) / (right - left))) + (0.5 if axes.axison else 0.2)


def _fit(axes: Axes, width: float) -> None:
    """Break long titles and labels."""
    for text in (axes.title, axes.xaxis.label):
        room = int(72 * width / (0.52 * float(text.get_fontsize())))
        text.set_text("\n".join(textwrap.fill(line, room) for line in text.get_text().splitlines()))


def _label_again(panels: list[Axes]) -> None:
    """Below one another, panels that shared an axis need its labels."""
    for axes in panels:
        if axes.axison and len(axes.get_yticks()):
            axes.tick_params(labelleft=True)
        if not axes.get_ylabel():
            axes.set_ylabel(
                next(
                    (other.get_ylabel() for other in axes.get_shared_y_axes().get_siblings(axes) if other.get_ylabel()),
                    "",
                )
            )
