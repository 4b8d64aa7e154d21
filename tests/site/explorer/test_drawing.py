"""Colours, numbers and cells on the explorer's canvases."""

import dataclasses
import re

import matplotlib
import numpy as np
import pytest

from hatnet.maps.explorer import encode, picture_from_model
from tests.site.explorer.conftest import BRIGHTNESS, SIZE, canvas, choose, point, shown, text, write_pair

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

# Records what the canvases draw: [what, colour, box]. A number's box is that of its digits.
DRAWN = """() => {
  window.drawn = [];
  const {fillRect, fillText, strokeRect} = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.fillRect = function (...box) {
    drawn.push(["cell", this.fillStyle, box]);
    fillRect.apply(this, box);
  };
  CanvasRenderingContext2D.prototype.fillText = function (digits, x, y) {
    const {actualBoundingBoxLeft: left, actualBoundingBoxRight: right, actualBoundingBoxAscent: up,
      actualBoundingBoxDescent: down} = this.measureText(digits);
    drawn.push(["number", this.fillStyle, [x - left, y - up, left + right, up + down], digits]);
    fillText.call(this, digits, x, y);
  };
  CanvasRenderingContext2D.prototype.strokeRect = function (...box) {
    drawn.push(["line", this.lineWidth, box, this.canvas.closest("figure").className]);
    strokeRect.apply(this, box);
  };
}"""

DOMINATED = [0.9, 0.04, 0.02, 0.01, 0.005, 0.0025] + [0.0225 / 58] * 58  # a window of 8 x 8

FEW = [(0.3, 0.3, 0.05, 0.35), (0.05, 0.3, 0.3, 0.05)]  # weights of four cells in each of two networks

PIXEL = """(canvas, [x, y]) => [...canvas.getContext("2d").getImageData(
  Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data]"""

SCALES = """async cases => {
  const {Scale} = await import("./attention-explorer.js");
  return cases.map(([values, ...scale]) => values.map(value => new Scale(...scale).share(value)));
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


@pytest.fixture(scope="module")
def made_up(folder, model, images):
    """A function that makes a page of two networks side by side, each with one row of weights at every query."""

    def make(kind, rows):
        files = []
        for network, row in enumerate(rows):
            picture = picture_from_model(model, images[0], "made up")
            name = f"stages.0.blocks.0.attention.{kind}_weights"
            made = {**picture.weights, name: np.broadcast_to(row, picture.weights[name].shape)}
            picture = dataclasses.replace(picture, weights=made)
            files.append(f"{kind}-{network}.bin")
            (folder / files[-1]).write_bytes(encode([picture], config=model.config, provenance="Made up."))
        return write_pair(folder, kind, [[file] for file in files])

    return make


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


def test_numbers_in_cells_are_readable(open_explorer):
    """Each number stands inside an opaque cell with a contrast of at least 4.5."""
    page = open_explorer()
    page.evaluate(DRAWN)
    choose(page, "kind", "global")
    drawn = [each for each in page.evaluate("drawn") if each[0] != "line"]
    assert len(drawn) == 2 * 4 * 6  # as many cells, each with its number
    for cell, number in zip(drawn[::2], drawn[1::2], strict=True):
        assert (cell[0], number[0]) == ("cell", "number")
        assert re.fullmatch("#[0-9a-f]{6}", cell[1])  # opaque
        assert contrast(cell[1], number[1]) >= 4.5
        (left, top, width, height), (x, y, across, down) = cell[2], number[2]
        assert left < x
        assert x + across < left + width
        assert top < y
        assert y + down < top + height


@pytest.mark.parametrize("kind", ["local", "global"])
def test_outlines_do_not_cross_numbers(open_explorer, garments, kind):
    """On a map, only the key has an outline, along the edges of its cell. Rulers mark the query and its window, whose
    edges, after 7 tokens, cut cells of 4 in two.
    """
    page = open_explorer("garments.html", choices={"kind": kind})
    page.evaluate(DRAWN)
    point(page, "map", 0.4, 0.4, "click")
    drawn = page.evaluate("drawn")
    numbers = [box for what, _, box, *_ in drawn if what == "number"]
    lines = [(width, box) for what, width, box, *figure in drawn if what == "line" and figure == ["map"]]
    assert numbers
    assert lines
    for thick, (left, top, width, height) in lines:
        for x, y, across, down in numbers:
            apart = x + across < left - thick / 2 or x > left + width + thick / 2
            apart |= y + down < top - thick / 2 or y > top + height + thick / 2
            inside = left + thick / 2 < x and x + across < left + width - thick / 2
            inside &= top + thick / 2 < y and y + down < top + height - thick / 2
            assert apart or inside


def test_rulers_mark_the_rows_and_columns_of_the_query_and_its_window(open_explorer):
    """In shares of the map: query (8, 15) of 16 x 23 tokens of 2 pixels, its window from (8, 8) on."""
    page = open_explorer(choices={"kind": "global"})
    frame = canvas(page, "map").bounding_box()
    for name, (top, left, size) in {"query": (16, 30, 2), "window": (16, 16, 16)}.items():
        across = page.locator(f"attention-explorer .across .{name}").bounding_box()
        down = page.locator(f"attention-explorer .down .{name}").bounding_box()
        assert (across["x"] - frame["x"]) / frame["width"] == pytest.approx(left / SIZE[1], abs=0.01)
        assert across["width"] / frame["width"] == pytest.approx(min(size, SIZE[1] - left) / SIZE[1], abs=0.01)
        assert (down["y"] - frame["y"]) / frame["height"] == pytest.approx(top / SIZE[0], abs=0.01)
        assert down["height"] / frame["height"] == pytest.approx(min(size, SIZE[0] - top) / SIZE[0], abs=0.01)


def test_equal_weights_have_equal_colours(open_explorer, made_up):
    """Whatever the picture beneath, in both networks side by side, and in no other way."""
    rows = [np.resize(values, 24) / 6 for values in FEW]
    page = open_explorer(made_up("global", rows), choices={"kind": "global"})
    point(page, "map", 0.99, 0.99, "click")  # moves the outline of the key out of the way
    seen = {}
    for network, values in enumerate(FEW):
        for cell in range(24):
            y, x = ((at + 0.25) * 8 / side for at, side in zip(divmod(cell, 6), SIZE, strict=True))
            pixel = page.locator("attention-explorer .map canvas").nth(network).evaluate(PIXEL, [x, y])
            seen.setdefault(values[cell % 4], set()).add(tuple(pixel))
    assert all(len(colours) == 1 for colours in seen.values())
    assert len(set.union(*seen.values())) == len(seen) == 3


def test_scales_are_linear_or_logarithmic_or_a_power(open_explorer):
    """From 0 or a least number to a largest one, and no further."""
    linear, logarithmic, root = open_explorer().evaluate(
        SCALES,
        [
            [[0, 0.1, 0.4, 0.9], 0.4],
            [[0, 0.001, 0.01, 0.0316227766, 0.1, 0.5], 0.1, 0.001],
            [[0, 0.1, 0.4, 0.9], 0.4, 0, 0.5],
        ],
    )
    assert linear == pytest.approx([0, 0.25, 1, 1])
    assert logarithmic == pytest.approx([0, 0, 0.5, 0.75, 1, 1])
    assert root == pytest.approx([0, 0.5, 1, 1])


def test_a_weight_that_dominates_leaves_colours_to_the_others(open_explorer, made_up):
    """On a linear scale an equal share would stand at 1.7 per cent. Here it stands at a third, in an even row too, and
    the scale has the number at two thirds. A row without such a weight has a linear scale.
    """
    page = open_explorer(made_up("local", [DOMINATED, [1 / 64] * 64]))
    point(page, "map", 0.01, 0.99, "click")  # moves the outline of the key out of the way
    power = np.log(1 / 3) / np.log(1 / 64 / 0.9)
    shares = [(weight / 0.9) ** power for weight in (0.9, 0.04, 0.02, 0.01, 0.005, 0.0025, 1 / 64)]
    maps = page.locator("attention-explorer .map canvas")
    pixels = [maps.first.evaluate(PIXEL, [(column + 0.2) / 8, 0.02]) for column in range(6)]
    pixels.append(maps.last.evaluate(PIXEL, [0.5, 0.02]))
    want = 255 * matplotlib.colormaps["viridis"](shares)
    np.testing.assert_allclose(np.array(pixels)[:, :3], want[:, :3], atol=15)
    assert f"the weight to the power of {power:.2f}: an equal share is at a third" in text(page, ".meaning")
    assert text(page, ".numbers") == f"0 equal 0.0156 {0.9 * (2 / 3) ** (1 / power):#.2g} 0.900"
    frame, *ticks = (
        page.locator(f"attention-explorer .ramp{end}").first.bounding_box() for end in ("", " i", " .upper")
    )
    places = [(tick["x"] + 1 - frame["x"]) / frame["width"] for tick in ticks]
    assert places == pytest.approx([1 / 3, 2 / 3], abs=0.01)
    choose(page, "kind", "global")
    assert "power" not in text(page, ".meaning")
    assert not page.locator("attention-explorer span.upper").first.is_visible()


def test_the_scale_of_a_composed_map_leaves_the_query_out(open_explorer, pair):
    """Logarithmic from the smallest weight to the largest beside the query's own, so that most cells differ."""
    page, row = open_explorer(choices={"kind": "composed"}), pair[0].composed(0, 0, (8, 15))
    others = np.delete(row.ravel(), 8 * 23 + 15)
    assert text(page, ".most") == f"≥ {shown(others.max())}"
    assert text(page, ".least") == f"≤ {shown(max(others.min(), others.max() / 1000))}"
    point(page, "map", 0.01, 0.99, "click")
    colours = {
        tuple(canvas(page, "map").evaluate(PIXEL, [(x + 0.5) * 2 / SIZE[1], (y + 0.5) * 2 / SIZE[0]]))
        for y in range(15) for x in range(22)
    }  # fmt: skip
    assert len(colours) > 20


def test_cells_are_drawn_where_they_belong(open_explorer, pair):
    page, maps = open_explorer(choices={"kind": "global"}), pair[0]
    row = maps.global_(0, 0, (8, 15))
    point(page, "map", 0.99, 0.99, "click")  # moves the outline of the key out of the way

    def brightness(place, down=0.3, across=0.2):
        y, x = ((at + inner) * 8 / side for at, inner, side in zip(place, (down, across), SIZE, strict=True))
        return canvas(page, "map").evaluate(BRIGHTNESS, [x, y])

    highest, lowest = (np.unravel_index(index, row.shape) for index in (row.argmax(), row.argmin()))
    assert brightness(highest) > brightness(lowest) + 50
