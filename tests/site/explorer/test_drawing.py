"""Colours, numbers and cells on the explorer's canvases."""

import re

import matplotlib
import numpy as np
import pytest

from tests.site.explorer.conftest import BRIGHTNESS, SIZE, canvas, choose, point

pytestmark = pytest.mark.long

WITHOUT_SUPPORTS = """() => {
  const root = document.querySelector("attention-explorer").shadowRoot, {sheet} = root.querySelector("style");
  const rules = [...sheet.cssRules].map(rule => rule instanceof CSSSupportsRule);
  sheet.deleteRule(rules.indexOf(true));
  return [".near", ".far"].map(way => getComputedStyle(root.querySelector("table " + way)).backgroundColor);
}"""

INKS = """async steps => {
  const {colour, inkOn} = await import("./attention-explorer.js");
  return steps.map(share => [colour(share).map(Math.round), inkOn(colour(share))]);
}"""

NUMBERS_DRAWN = """() => {
  window.drawn = [];
  const {strokeText, fillText} = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.strokeText = function (...number) {
    window.drawn.push(["halo", this.strokeStyle, this.lineWidth / devicePixelRatio, ...number]);
    strokeText.apply(this, number);
  };
  CanvasRenderingContext2D.prototype.fillText = function (...number) {
    window.drawn.push(["ink", this.fillStyle, 0, ...number]);
    fillText.apply(this, number);
  };
}"""


def test_colours_are_those_of_viridis(open_explorer):
    """Up to interpolation between eleven colours; and lighter at every step, also for colour-blind readers."""
    shares = [index / 100 for index in range(101)]
    script = "async shares => { const {colour} = await import('./attention-explorer.js'); return shares.map(colour); }"
    got = np.array(open_explorer().evaluate(script, shares))
    assert np.abs(got - 255 * matplotlib.colormaps["viridis"](shares)[:, :3]).max() < 15
    assert (np.diff(got @ (0.2126, 0.7152, 0.0722)) > 0).all()


def test_browsers_without_light_dark_show_colours_too(open_explorer):
    """Browsers of 2023 skip its rule, so this test removes it."""
    page = open_explorer(choices={"kind": "composed"})
    assert page.evaluate(WITHOUT_SUPPORTS) == ["rgb(0, 114, 178)", "rgb(213, 94, 0)"]


def contrast(*colours):
    """The contrast of two colours, as WCAG defines it from their relative luminances."""
    shares = np.array([matplotlib.colors.to_rgb(colour) for colour in colours])
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    low, high = sorted(linear @ (0.2126, 0.7152, 0.0722))
    return (high + 0.05) / (low + 0.05)


def test_numbers_in_cells_are_readable_on_every_colour(open_explorer):
    """A contrast of at least 4.5 at every step, with black or white, whichever gives more."""
    inks = open_explorer().evaluate(INKS, [index / 100 for index in range(101)])
    assert len({tuple(channels) for channels, _ in inks}) > 90
    for channels, ink in inks:
        assert ink in ("#fff", "#000")
        colour = np.divide(channels, 255)
        assert contrast(colour, ink) >= 4.5, channels
        assert contrast(colour, ink) == max(contrast(colour, "#000"), contrast(colour, "#fff"))


def test_numbers_in_cells_are_readable_over_every_picture(open_explorer):
    """The picture shows through the cells, but the digits have a halo in the full colour of their cell."""
    page = open_explorer()
    page.evaluate(NUMBERS_DRAWN)
    choose(page, "kind", "global")
    drawn = page.evaluate("drawn")
    assert len(drawn) == 2 * 4 * 6  # as many cells, halo and ink each
    for halo, ink in zip(drawn[::2], drawn[1::2], strict=True):
        assert (halo[0], ink[0]) == ("halo", "ink")
        assert halo[3:] == ink[3:]  # the same digits at the same place
        assert halo[2] >= 4  # pixels, half of them around
        assert re.fullmatch("#[0-9a-f]{6}", halo[1])  # opaque
        assert contrast(halo[1], ink[1]) >= 4.5


def test_cells_are_drawn_where_they_belong(open_explorer, pair):
    page, maps = open_explorer(choices={"kind": "global"}), pair[0]
    row = maps.global_(0, 0, (8, 15))
    point(page, "map", 0.99, 0.99, "click")  # moves the outline of the key out of the way

    def brightness(place, down=0.3, across=0.2):
        y, x = ((at + inner) * 8 / side for at, inner, side in zip(place, (down, across), SIZE, strict=True))
        return canvas(page, "map").evaluate(BRIGHTNESS, [x, y])

    highest, lowest = (np.unravel_index(index, row.shape) for index in (row.argmax(), row.argmin()))
    assert brightness(highest) > brightness(lowest) + 50
