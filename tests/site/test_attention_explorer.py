"""The attention explorer in a real browser: its numbers are those of Python, and everybody can use it."""

import dataclasses
import itertools
import re
import shutil

import numpy as np
import pytest

from builder.maps import first_mistake
from hatnet import create_model
from hatnet.data import open_data
from hatnet.data.photo import load_photo
from hatnet.equivalence import randomise
from hatnet.maps import attention_maps
from hatnet.maps.explorer import SCRIPT, Start, look, write_explorer, write_maps
from hatnet.maps.report.colour import colour
from hatnet.weights.source import find_source
from tests.site.conftest import PATIENCE, serving

PHONE = 390
TIMES = "\N{MULTIPLICATION SIGN}"
SIZE = (31, 45)  # at stride 2 a map of 16 x 23: windows of 8 and cells of 4 do not divide it
TOLERANCE = {"rtol": 2**-10, "atol": 2**-24}  # two weights of 11 bits each are multiplied
CLASSES = ["cat", "dog", "boot"]

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>t</title><link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>:root {{ color-scheme: light dark }} body {{ background: Canvas; margin: 8px }}</style>
<script type="module" src="attention-explorer.js"></script><body>{}</body></html>"""

NUMBERS = """async cases => {
  const {read, ways, localRow, globalRow, composedRow, windowTerms} = await import("./attention-explorer.js");
  const maps = await read(new Uint8Array(await (await fetch("maps.bin")).arrayBuffer()));
  return cases.map(([picture, stage, block, head, query]) => {
    const at = [maps.header.stages[stage], maps.weights[picture][stage][block], head, query];
    const windows = at[0].window !== null, token = query[0] * at[0].map[1] + query[1];
    const brought = windows && head !== null ? windowTerms(...at, token) : [];
    return {
      local: windows ? localRow(...at) : null, global: globalRow(...at), composed: composedRow(maps.header, ...at),
      ways: ways(...at), brought: brought.reduce((sum, {weight, mean}) => sum + weight * mean, 0),
    };
  }).map(found => JSON.parse(JSON.stringify(found, (_, value) => ArrayBuffer.isView(value) ? [...value] : value)));
}"""


@pytest.fixture(scope="module")
def model():
    model = create_model("micro", num_classes=len(CLASSES)).double()
    randomise(model)
    return model


@pytest.fixture(scope="module")
def images():
    photo = load_photo(size=max(SIZE))[:, : SIZE[0], : SIZE[1]]
    return np.stack([photo, photo[:, ::-1, ::-1]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory, model, images):
    """The script, data, a page that loads them, and the page that needs nothing."""
    folder = tmp_path_factory.mktemp("explorer")
    shutil.copy(SCRIPT, folder)
    facts = {"names": ["upright", "turned"], "provenance": "Random.", "classes": CLASSES, "labels": [0, 0]}
    write_maps(folder / "maps.bin", model, images, **facts, start=Start(query=(30, 17)))
    write_maps(folder / "alone.html", model, images, **facts, start=Start(query=(30, 17)))
    (folder / "no.bin").write_bytes(b"no maps at all")
    for name, source in (("index", "maps.bin"), ("no", "no.bin")):
        element = f'<attention-explorer src="{source}"></attention-explorer>'
        (folder / f"{name}.html").write_text(PAGE.format(element), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def served(folder):
    with serving(folder) as where:
        yield where


@pytest.fixture
def open_explorer(browser, served):
    """Opens pages; at the end the test fails if any of them had an error or asked another host for something."""
    contexts, foreign, errors = [], [], []

    def open_(address="", width=1000, height=1200, **settings):
        context = browser.new_context(viewport={"width": width, "height": height}, **settings)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: foreign.append(request.url) if outside(request.url) else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.goto(address if "://" in address else served + (address or "index.html"))
        page.locator('attention-explorer .panels, attention-explorer .state:text("can\'t")').first.wait_for()
        return page

    def outside(url):
        return not url.startswith((served, "file:", "data:", "blob:"))

    yield open_
    for context in contexts:
        context.close()
    assert not foreign, foreign
    assert not errors, errors


def choose(page, name, value):
    page.locator(f"input[name={name}][value='{value}']").evaluate("input => input.click()")


def canvas(page, which):
    return page.locator(f".{which} canvas").first


def point(page, which, x, y, act="hover"):
    """Go to a place of a canvas, given in fractions of it."""
    box = canvas(page, which).bounding_box()
    getattr(canvas(page, which), act)(position={"x": x * box["width"], "y": y * box["height"]})


def query_of(page):
    """Row and column of the query, as screen readers hear them."""
    text = canvas(page, "query").get_attribute("aria-valuetext")
    return tuple(int(number) for number in re.fullmatch(r"token in row (\d+), column (\d+)", text).groups())


def plain(text):
    """With one space where there is any, x for times and - for minus."""
    return " ".join(text.translate({0xD7: "x", 0x2212: "-"}).split())


def text(page, selector):
    return plain(page.locator(f"attention-explorer {selector}").first.inner_text())


def shown(value):
    """As the explorer writes numbers of three digits."""
    if value >= 1e-4:
        return f"{value:#.3g}"
    number, power = f"{value:.2e}".split("e-")
    return f"{number} x 10\N{SUPERSCRIPT MINUS}{'⁰¹²³⁴⁵⁶⁷⁸⁹'[int(power)]}"


def as_stored(values):
    """A map of the whole network, which is stored as float16 shares of its largest number."""
    values = np.float64(values)
    return np.float16(values / values.max()) * values.max()


def test_the_script_computes_the_same_numbers_as_python(open_explorer, model, images):
    """L, G or A, and C, for every stage, block, head and mean, at the corners and inside, on a map nothing divides.

    The terms written out for (G P L)_ij add up to it, and each way sums to one.
    """
    maps = [attention_maps(model, torch_of(image)) for image in images]
    cases = [
        (picture, index, block, head, query)
        for picture in range(2)
        for index, (stage, layout) in enumerate(zip(model.config.stages, maps[0].layouts, strict=True))
        for block in range(stage.depth)
        for head in (None, *range(stage.heads))
        for query in itertools.product((0, layout.map[0] // 2, layout.map[0] - 1), (0, 5, layout.map[1] - 1))
    ]
    got = open_explorer().evaluate(NUMBERS, cases)
    for (picture, stage, block, head, query), found in zip(cases, got, strict=True):
        seen, at = maps[picture], (stage, block, query, head)
        np.testing.assert_allclose(found["global"]["values"], seen.global_(*at).ravel(), **TOLERANCE)
        np.testing.assert_allclose(found["composed"]["values"], seen.composed(*at).ravel(), **TOLERANCE)
        for way in found["ways"].values():
            assert sum(way) == pytest.approx(1, rel=2**-10)
        H, W = seen.layouts[stage].map
        if seen.layouts[stage].window is None:
            assert found["local"] is None
            continue
        np.testing.assert_allclose(found["ways"]["window"], seen.local(*at).ravel(), **TOLERANCE)
        top, left, g = found["local"]["top"], found["local"]["left"], found["local"]["rows"]
        near = np.zeros((H + g, W + g))
        near[top : top + g, left : left + g] = np.reshape(found["local"]["values"], (g, g))
        np.testing.assert_allclose(near[:H, :W], seen.local(*at), **TOLERANCE)
        if head is not None:
            brought = found["ways"]["windows then cells"][query[0] * W + query[1]]
            assert found["brought"] == pytest.approx(brought, rel=1e-9)


def torch_of(image):
    import torch

    return torch.from_numpy(image.copy())


def test_colours_are_those_of_the_report(open_explorer):
    """Viridis, from the darkest to the brightest."""
    shares = [index / 100 for index in range(101)]
    script = "async shares => { const {colour} = await import('./attention-explorer.js'); return shares.map(colour); }"
    got = open_explorer().evaluate(script, shares)
    for share, channels in zip(shares, got, strict=True):
        want = [int(colour(share)[start : start + 2], 16) for start in (1, 3, 5)]
        assert np.abs(np.subtract(channels, want)).max() <= 1, share


def test_the_pointer_chooses_a_query_and_a_click_keeps_it(open_explorer, model, images):
    """Over the picture the query follows; away from it, it is the last that was clicked. The numbers follow both."""
    page, maps = open_explorer(), attention_maps(model, torch_of(images[0]))
    assert query_of(page) == (8, 15)  # the pixel (30, 17), at 2 pixels a token
    point(page, "query", 0.01, 0.01)
    assert query_of(page) == (0, 0)
    page.locator("attention-explorer .size").hover()
    assert query_of(page) == (8, 15)
    point(page, "query", 0.99, 0.5, "click")
    page.locator("attention-explorer .size").hover()
    assert query_of(page) == (7, 22)

    row = maps.local(0, 0, (7, 22))
    assert shown(row.max()) in text(page, ".finding")
    assert "rank 1 of 56" in text(page, ".finding")  # 8 rows, 7 columns are left of the map
    place = np.unravel_index(row.argmax(), row.shape)
    assert f"({place[0]}, {place[1]})" in text(page, ".finding")

    point(page, "map", 0.1, 0.1)  # the first token of the window: row 0, column 16
    assert shown(row[0, 16]) in text(page, ".finding")
    assert f"rank {1 + (row > row[0, 16]).sum()} of 56" in text(page, ".finding")
    point(page, "map", 0.99, 0.1)  # beyond the border is no token
    assert "rank 1 of 56" in text(page, ".finding")


def test_every_setting_changes_what_is_shown(open_explorer, model, images):
    """Picture, stage, block, head and kind; the number and the caption are those of Python; the place is kept."""
    page = open_explorer()
    for picture, stage, block, head, kind in [
        (0, 0, 1, None, "local"),
        (1, 0, 1, None, "global"),
        (1, 1, 0, 1, "local"),
        (1, 1, 1, None, "composed"),
        (0, 1, 1, 0, "composed"),
        (0, 2, 0, 3, "global"),
        (0, 2, 1, None, "composed"),
    ]:
        choose(page, "picture", picture)
        choose(page, "stage", stage)
        choose(page, "block", block)
        if model.config.stages[stage].heads > 1:
            choose(page, "head", "mean" if head is None else head)
        choose(page, "kind", kind)
        maps = attention_maps(model, torch_of(images[picture]))
        query = maps.token_at(30, 17, stage)
        assert query_of(page) == query
        row = {"local": maps.local, "global": maps.global_, "composed": maps.composed}[kind](stage, block, query, head)
        assert shown(row.max()) in text(page, ".finding"), (stage, block, head, kind)
        assert "1.000" in text(page, ".readout")
        assert f"the largest {shown(row.max())}" in text(page, ".map figcaption")
        assert ("upright", "turned")[picture] in text(page, ".query figcaption")
    assert page.locator(".kinds input[value=local]").is_disabled()  # the last stage has no windows
    assert "All tokens" in text(page, ".kinds")


def test_the_formula_holds_the_numbers_of_every_way(open_explorer, model, images):
    """Two residuals, window, cells, windows then cells: each as Python has it, and a fifth of their sum."""
    page, maps = open_explorer(), attention_maps(model, torch_of(images[0]))
    choose(page, "stage", 1)
    choose(page, "head", 0)
    choose(page, "kind", "composed")
    query = query_of(page)
    parts = maps.parts(1, 0, query, 0)
    cells = maps.global_(1, 0, query, 0, over_tokens=True)
    point(page, "map", 0.02, 0.02)
    values = {
        "residual": 0,
        "window": 5 * parts.window[0, 0],
        "cells": cells[0, 0],
        "both": 5 * parts.cells[0, 0] - cells[0, 0],
    }
    cellsof = page.locator("attention-explorer .readout table tr").all()
    found = [row.locator("td").nth(2).inner_text() for row in cellsof]
    assert [row.locator("td").nth(1).inner_text() for row in cellsof] == [f"{count} {TIMES}" for count in (2, 1, 1, 1)]
    assert found == [shown(value) if value else "0" for value in values.values()]
    formula = text(page, ".readout .line")
    assert shown(maps.composed(1, 0, query, 0)[0, 0]) in formula
    assert all(number in formula for number in found)


def test_small_weights_have_the_digits_that_are_stored_and_none_is_zero(open_explorer, folder, model, images):
    """Below 6.1e-5 float16 is subnormal, below 3e-8 zero, which a softmax gives to no key on the map."""
    picture = look(model, images[0], "made up")
    near, far = (f"stages.0.blocks.0.attention.{kind}_weights" for kind in ("local", "global"))
    weights = {**picture.weights, near: picture.weights[near].copy(), far: picture.weights[far].copy()}
    weights[near][0, 0, 0, :, :5] = [0.999, 1e-9, 1.21e-6, 1.23456e-5, 3.1234e-7]  # of all queries of a window
    weights[near][0, 0, 0, :, 5:] = 1e-9
    weights[far][0] = [1 - 1e-9] + [1e-9] * (weights[far].shape[-1] - 1)
    path = folder / "small.html"
    picture = dataclasses.replace(picture, weights=weights)
    write_explorer(path, picture, config=model.config, provenance="Made up.", start=Start(query=(0, 0)))
    page = open_explorer(path.as_uri())

    canvas(page, "map").focus()
    for digits, logarithm in [
        ("0.999", None),
        ("< 3 x 10⁻⁸", "-17"),
        ("1.2 x 10⁻⁶", "-13.6"),
        ("1.23 x 10⁻⁵", "-11.3"),
        ("3 x 10⁻⁷", "-15"),
    ]:
        assert f"gives {digits} of its local attention" in text(page, ".finding")
        logarithms = page.locator("attention-explorer .readout math", has_text="ln").all_text_contents()
        assert [plain(formula).split("=")[-1].strip() for formula in logarithms] == ([logarithm] if logarithm else [])
        if digits.startswith("<"):
            assert "less than 1.9 x 10⁻⁶ times an equal share" in text(page, ".finding")
            assert plain(canvas(page, "map").get_attribute("aria-valuetext")).endswith(", < 3 x 10⁻⁸")
        page.keyboard.press("ArrowRight")

    choose(page, "kind", "global")
    canvas(page, "map").focus()
    page.keyboard.press("ArrowRight")
    assert "gives < 3 x 10⁻⁸ of its global attention to cell m = (0, 1)" in text(page, ".finding").replace(
        "\u2009", " "
    )
    assert "2 x 10⁻⁹" in text(page, ".readout .line >> nth=2")  # a sixteenth

    choose(page, "kind", "composed")
    point(page, "map", 0.5, 0.5)  # in another window, and in a cell that gets nothing
    ways = page.locator("attention-explorer .readout table tr").all()
    assert [plain(way.locator("td").nth(2).inner_text()) for way in ways] == ["0", "0", "< 3 x 10⁻⁸", "≈ 0"]
    assert "≈ 0 of what token" in text(page, ".finding")


def test_the_keyboard_is_enough(open_explorer, model):
    """Tab reaches every part once; arrows move the query and the key; Escape goes back; what was found is said."""
    page = open_explorer()
    choose(page, "stage", 1)
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                """() => { const now = document.querySelector("attention-explorer").shadowRoot.activeElement;
                return now && (now.name || now.parentElement.className); }"""
            )
        )
    assert reached == ["picture", "stage", "block", "head", "query", "kind", "map"]

    canvas(page, "query").focus()
    row, column = query_of(page)
    for key, step in {"ArrowUp": (-1, 0), "ArrowLeft": (0, -1), "ArrowDown": (1, 0), "ArrowRight": (0, 1)}.items():
        page.keyboard.press(key)
        row, column = row + step[0], column + step[1]
        assert query_of(page) == (row, column), key
    for _ in range(40):
        page.keyboard.press("ArrowRight")
    assert query_of(page) == (row, 11)  # the last column: 12 tokens
    assert page.locator(".query canvas").evaluate("canvas => getComputedStyle(canvas).outlineStyle") == "solid"

    choose(page, "kind", "global")
    canvas(page, "map").focus()
    before = text(page, ".finding")
    for _ in range(20):
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
    assert "cell m = (0, 0)" in text(page, ".finding")
    assert canvas(page, "map").get_attribute("aria-valuetext").startswith("cell in row 0, column 0, 0.")
    page.wait_for_function(
        """document.querySelector("attention-explorer").shadowRoot
        .querySelector("[role=status]").textContent.includes("they sum to 1.000")"""
    )
    page.keyboard.press("End")
    assert "cell m = (3, 5)" in text(page, ".finding")
    page.keyboard.press("Home")
    assert "cell m = (0, 0)" in text(page, ".finding")
    page.keyboard.press("Escape")
    assert text(page, ".finding") == before
    choose(page, "kind", "local")  # the query is (4, 11), in the last window, which the border cuts
    canvas(page, "map").focus()
    page.keyboard.press("End")
    assert "token j = (7, 11)" in text(page, ".finding")

    canvas(page, "query").focus()
    for key, token in {"Home": (0, 0), "End": (7, 11), "Escape": (4, 7)}.items():
        page.keyboard.press(key)
        assert query_of(page) == token

    choose(page, "kind", "global")
    page.locator("input[name=kind][value=global]").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("input[name=kind][value=composed]").is_checked()


def slider(page, which):
    """The least, the present and the largest value of a canvas, as screen readers know them."""
    return tuple(int(canvas(page, which).get_attribute(f"aria-value{name}")) for name in ("min", "now", "max"))


@pytest.mark.parametrize("kind", ["local", "global", "composed", "class"])
def test_as_sliders_the_canvases_are_those_of_columns(open_explorer, kind):
    """Right raises the value, left lowers it, Home and End go to its ends; up and down, which raise and lower a slider
    too, must not do the opposite: they change what is said alone, which names row and column.
    """
    page = open_explorer()
    choose(page, "stage", 1)
    choose(page, "kind", kind)
    which = ["map"] if kind == "class" else ["query", "map"]
    for one in which:
        assert canvas(page, one).get_attribute("role") == "slider"
        assert canvas(page, one).get_attribute("aria-roledescription") == "two-dimensional slider"
        canvas(page, one).focus()
        page.keyboard.press("Home")
        least, at_home, most = slider(page, one)
        assert at_home == least < most
        for key, step in {"ArrowRight": 1, "ArrowDown": 0, "ArrowUp": 0, "ArrowLeft": -1}.items():
            before, said = slider(page, one)[1], canvas(page, one).get_attribute("aria-valuetext")
            page.keyboard.press(key)
            assert slider(page, one) == (least, before + step, most)
            now = canvas(page, one).get_attribute("aria-valuetext")
            assert now != said
            assert f", column {before + step}" in now
        page.keyboard.press("End")
        assert slider(page, one) == (least, most, most)


def test_nothing_is_said_before_something_is_changed(open_explorer):
    """A page may hold several explorers, which would all speak when it is loaded, or turned."""
    page = open_explorer()
    said = page.locator("attention-explorer [role=status]")
    page.set_viewport_size({"width": 800, "height": 1200})
    page.wait_for_timeout(800)
    assert said.inner_text() == ""
    canvas(page, "query").press("ArrowUp")
    page.wait_for_timeout(800)
    assert "they sum to 1.000" in said.inner_text()


def outline(page, selector):
    return page.locator(f"attention-explorer {selector}").evaluate("element => getComputedStyle(element).outlineStyle")


def test_the_chosen_kind_is_seen_where_colours_are_the_readers(open_explorer):
    """High contrast overrides borders and shadows, not outlines; a focused kind differs from a chosen one."""
    page = open_explorer(forced_colors="active")
    chosen, other = ".kinds label:has([value=local])", ".kinds label:has([value=global])"
    assert (outline(page, chosen), outline(page, other)) == ("solid", "none")
    page.locator(f"attention-explorer {chosen} input").focus()
    page.keyboard.press("ArrowDown")
    assert (outline(page, chosen), outline(page, other)) == ("none", "double")


WITHOUT_SUPPORTS = """() => {
  const root = document.querySelector("attention-explorer").shadowRoot, {sheet} = root.querySelector("style");
  const rules = [...sheet.cssRules].map(rule => rule instanceof CSSSupportsRule);
  sheet.deleteRule(rules.indexOf(true));
  return [".near", ".far"].map(way => getComputedStyle(root.querySelector("table " + way)).backgroundColor);
}"""


def test_there_are_colours_without_light_dark(open_explorer):
    """Browsers of 2023 lack it; its rule is taken out here, as they skip it."""
    page = open_explorer()
    choose(page, "kind", "composed")
    assert page.evaluate(WITHOUT_SUPPORTS) == ["rgb(0, 114, 178)", "rgb(213, 94, 0)"]


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


def light(colour):
    """Relative luminance, as WCAG defines it, of #rrggbb or three channels."""
    channels = [int(colour[start : start + 2], 16) for start in (1, 3, 5)] if isinstance(colour, str) else colour
    shares = [channel / 255 for channel in channels]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def contrast(one, other):
    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_numbers_in_cells_can_be_read_on_every_colour_of_the_map(open_explorer):
    """A contrast of at least 4.5 at every step: black or white, whichever has more."""
    inks = open_explorer().evaluate(INKS, [index / 100 for index in range(101)])
    assert len({tuple(channels) for channels, _ in inks}) > 90
    for channels, ink in inks:
        ink = {"#fff": "#ffffff", "#000": "#000000"}[ink]
        assert contrast(channels, ink) >= 4.5, channels
        assert contrast(channels, ink) == max(contrast(channels, "#000000"), contrast(channels, "#ffffff"))


def test_numbers_in_cells_can_be_read_whatever_the_picture_below_them(open_explorer):
    """The picture shows through cells, not beside their digits: those have the cell's full colour around them."""
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


BRIGHTNESS = """(canvas, [x, y]) => {
  const [r, g, b] = canvas.getContext("2d").getImageData(x * canvas.width, y * canvas.height, 1, 1).data;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}"""


def test_cells_are_drawn_where_they_belong(open_explorer, model, images):
    """Sharp: two places in a cell look alike; the cell of the largest weight is bright, that of the smallest dark."""
    page, maps = open_explorer(), attention_maps(model, torch_of(images[0]))
    choose(page, "kind", "global")
    row = maps.global_(0, 0, (8, 15))
    point(page, "map", 0.99, 0.99, "click")  # the outline of the key is out of the way

    def brightness(place, down=0.3, across=0.2):
        y, x = ((at + inner) * 8 / side for at, inner, side in zip(place, (down, across), SIZE, strict=True))
        return canvas(page, "map").evaluate(BRIGHTNESS, [x, y])

    highest, lowest = (np.unravel_index(index, row.shape) for index in (row.argmax(), row.argmin()))
    assert brightness(highest) > brightness(lowest) + 50


def test_another_kind_does_not_take_a_cell_under_the_mouse_for_a_token(open_explorer):
    """The mouse rests on the map while the keyboard changes the kind: what is explained is the largest again."""
    page = open_explorer()
    choose(page, "kind", "global")
    point(page, "map", 0.01, 0.99)
    assert "cell m = (3, 0)" in text(page, ".finding")
    page.locator("input[name=kind][value=global]").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("input[name=kind][value=composed]").is_checked()
    assert "token j = (8, 15)" in text(page, ".finding")  # itself, by the residuals
    assert "rank 1 of" in text(page, ".finding")
    point(page, "map", 0.01, 0.98)  # until it moves
    assert "token j = (15, 0)" in text(page, ".finding")


@pytest.mark.parametrize(("button", "kept"), [("left", True), ("right", False), ("middle", False)])
def test_only_the_main_button_keeps_what_it_is_on(open_explorer, button, kept):
    """The others open menus or scroll; where they are held and moved, too."""
    page = open_explorer()
    choose(page, "kind", "global")
    away, finding = page.locator("attention-explorer .size"), text(page, ".finding")
    for which, found in (
        ("map", lambda: text(page, ".finding") != finding),
        ("query", lambda: query_of(page) != (8, 15)),
    ):
        box = canvas(page, which).bounding_box()
        page.mouse.move(box["x"] + 3, box["y"] + box["height"] - 3)
        page.mouse.down(button=button)
        page.mouse.move(box["x"] + 4, box["y"] + box["height"] - 4)
        page.mouse.up(button=button)
        away.hover()
        assert found() == kept, which


STICKING_OUT = """() => {
  const all = [...document.querySelector("attention-explorer").shadowRoot.querySelectorAll("*")];
  const out = all.filter(element => !element.closest(".line")
    && element.getBoundingClientRect().right > document.documentElement.clientWidth + 1);
  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) out.push(document.documentElement);
  return out.map(element => element.outerHTML.slice(0, 100));
}"""


def test_a_finger_chooses_too(open_explorer):
    """A tap on the picture keeps the query, a tap on the map the key; nothing sticks out of a narrow screen."""
    page = open_explorer(width=PHONE, has_touch=True, is_mobile=True)
    point(page, "query", 0.01, 0.99, "tap")
    assert query_of(page) == (15, 0)
    choose(page, "kind", "global")
    point(page, "map", 0.01, 0.01, "tap")
    assert "cell m = (0, 0)" in text(page, ".finding")
    choose(page, "stage", 1)
    for kind in ("composed", "rollout", "class"):
        choose(page, "kind", kind)
        assert page.evaluate(STICKING_OUT) == []


@pytest.fixture(scope="module")
def trained():
    return find_source(pretrained="fashion-mnist")


@pytest.fixture(scope="module")
def garments(trained, folder):
    """An image that the trained network is right about, one that it is wrong about; their labels; their maps.

    Beside the script there are then the explorer's data and a page that loads them.
    """
    data = open_data("fashion-subset")
    pixels, labels = data.test.pixels.double() / 255, data.test.labels
    wrong = first_mistake(trained, pixels, labels)
    chosen = [0 if wrong else 1, wrong]

    def normalise(image):
        return (image - trained.mean[0]) / trained.std[0]

    write_maps(
        folder / "garments.bin", trained.model, pixels[chosen].numpy(), names=["right", "wrong"],
        provenance=trained.words, classes=trained.classes, labels=labels[chosen].tolist(), normalise=normalise,
        start=Start(query=(10, 15), block=1, kind="global"),
    )  # fmt: skip
    element = '<attention-explorer src="garments.bin"></attention-explorer>'
    (folder / "garments.html").write_text(PAGE.format(element), encoding="utf-8")
    maps = [attention_maps(trained.model, normalise(image).float()) for image in pixels[chosen]]
    return labels[chosen].tolist(), maps


ALL_NUMBERS = """async () => {
  const {read} = await import("./attention-explorer.js");
  const {weights, whole} = await read(new Uint8Array(await (await fetch("garments.bin")).arrayBuffer()));
  return weights.map((stages, picture) => ({
    global: stages.map(blocks => blocks.map(block => [...block.global])),
    whole: whole[picture].map(map => [...map.values]),
  }));
}"""


def test_numbers_of_a_trained_network_are_those_of_python(open_explorer, trained, garments):
    """All global rows, rollout and class maps in float16; and what is written for a query, cell by cell."""
    _, seen = garments
    page = open_explorer("garments.html")
    for got, maps in zip(page.evaluate(ALL_NUMBERS), seen, strict=True):
        for stage, blocks in enumerate(got["global"]):
            for block, rows in enumerate(blocks):
                want = maps.weights[f"stages.{stage}.blocks.{block}.attention.{'global_' if stage < 2 else ''}weights"]
                assert np.array_equal(np.float16(rows), np.float16(want).ravel())
        for values, want in zip(got["whole"], [maps.rollout(), maps.class_map()], strict=False):
            np.testing.assert_allclose(values, want.ravel(), rtol=2**-11, atol=2**-25 * want.max())

    for picture, maps in enumerate(seen):
        choose(page, "picture", picture)
        row = maps.global_(0, 1, (15, 10))
        assert query_of(page) == (15, 10)
        for place, weight in np.ndenumerate(np.float16(row)):
            y, x = ((4 * at + 2) / 28 for at in place)
            point(page, "map", x, y)
            words = plain(canvas(page, "map").get_attribute("aria-valuetext"))
            if weight >= 1e-4:
                assert words == f"cell in row {place[0]}, column {place[1]}, {shown(float(weight))}"


def test_maps_of_the_whole_network_have_no_query(open_explorer, trained, garments):
    """They say what they are of and what they have at a place; what they do not have can't be chosen."""
    labels, seen = garments
    page, rollout = open_explorer("garments.html"), as_stored(seen[0].rollout())
    choose(page, "kind", "rollout")
    assert shown(rollout.max()) in text(page, ".finding")
    point(page, "query", 0.53, 0.53)  # the picture points into the map
    comes = "of what the classifier is given comes from token j = (14, 14)"
    assert f"{shown(rollout[14, 14])} {comes}" in text(page, ".finding")
    for name in ("stage", "block", "head"):
        assert page.locator(f"attention-explorer input[name={name}]").first.is_disabled()
    assert canvas(page, "query").get_attribute("aria-disabled") == "true"
    assert "no query, stage, block or head" in text(page, ".query figcaption")
    assert "Rollout whole network" in text(page, ".kinds")  # where a figure's is that of a query
    assert text(page, ".map figcaption").startswith("Rollout of the whole network: ")
    assert canvas(page, "map").get_attribute("aria-label") == "Token of the rollout map, whole network"
    assert not page.locator("attention-explorer fieldset.class").is_visible()

    choose(page, "kind", "class")
    for picture, maps in enumerate(seen):
        choose(page, "picture", picture)
        answer = int(maps.logits.argmax())
        classes = {answer: "the network's answer" + ", and true" * (answer == labels[picture])}
        if answer != labels[picture]:
            classes[labels[picture]] = "the true class"
        assert page.locator("attention-explorer input[name=class]").count() == len(classes)
        for index, (label, role) in enumerate(classes.items()):
            choose(page, "class", index)
            values = as_stored(maps.class_map(label))
            page.locator("attention-explorer .size").hover()
            assert f"for the class {trained.classes[label]}, {role}: rank 1 of 784, 100 %" in text(page, ".finding")
            assert f"{shown(values.max())} is the relevance of token j" in text(page, ".finding")
            assert "sum" not in text(page, ".map figcaption")
            end = np.sort(values.ravel())[int(np.ceil(0.99 * values.size)) - 1]
            assert text(page, ".most") == f"≥ {shown(end)}"
            point(page, "map", 0.27, 0.77)
            assert f"{shown(values[21, 7])} is the relevance of token j = (21, 7)" in text(page, ".finding")
            point(page, "map", 0.99, 0.99)
            most, least = (np.unravel_index(at, values.shape) for at in (values.argmax(), values.argmin()))
            page.locator("attention-explorer .size").hover()
            bright, dark = (
                canvas(page, "map").evaluate(BRIGHTNESS, [(x + 0.5) / 28, (y + 0.5) / 28]) for y, x in (most, least)
            )
            assert bright > dark + 50

    choose(page, "kind", "global")
    assert query_of(page) == (15, 10)
    assert page.locator("attention-explorer input[name=stage]").first.is_enabled()


WHAT_HAPPENED = """canvas => {
  window.happened = [];
  for (const name of ["pointerdown", "pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => window.happened.push(name));
  }
}"""


@pytest.mark.parametrize("which", ["query", "map"])
def test_a_swipe_scrolls_and_chooses_nothing(open_explorer, which):
    """A finger that goes up over a canvas is the browser's, and afterwards everything is as before."""
    page = open_explorer(width=PHONE, height=500, has_touch=True, is_mobile=True)
    choose(page, "kind", "global")
    canvas(page, which).scroll_into_view_if_needed()
    canvas(page, which).evaluate(WHAT_HAPPENED)
    box, before = canvas(page, which).bounding_box(), (query_of(page), text(page, ".finding"))
    scrolled = page.evaluate("scrollY")
    touch = page.context.new_cdp_session(page)
    x, y = box["x"] + 20, min(box["y"] + box["height"], 480) - 20
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    for step in range(1, 11):
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y - 12 * step}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function("before => scrollY > before", arg=scrolled, timeout=5000)
    assert page.evaluate("happened") == ["pointerdown", "pointercancel"]
    assert (query_of(page), text(page, ".finding")) == before


def test_a_finger_may_slide_beyond_the_picture(open_explorer):
    """Across, which does not scroll; what counts is where it is lifted, at the border if it is beyond."""
    page = open_explorer(width=PHONE, has_touch=True, is_mobile=True)
    box = canvas(page, "query").bounding_box()
    touch = page.context.new_cdp_session(page)
    y = box["y"] + 5
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": box["x"] + 90, "y": y}]})
    for x in (box["x"] + 60, box["x"] + 20, box["x"] - 5):
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    assert query_of(page) == (0, 0)


CONTRASTS = """() => {
  const root = document.querySelector("attention-explorer").shadowRoot;
  const brush = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const painted = colours => {
    brush.clearRect(0, 0, 1, 1);
    for (const colour of colours) { brush.fillStyle = colour; brush.fillRect(0, 0, 1, 1); }
    return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3).map(value => value / 255)
      .map(value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
      .reduce((sum, value, channel) => sum + value * [0.2126, 0.7152, 0.0722][channel], 0);
  };
  const above = element => element.parentElement ?? element.getRootNode().host;
  const behind = element => element ? [...behind(above(element)), getComputedStyle(element).backgroundColor] : [];
  return Object.fromEntries([".provenance", "legend", ":checked + span", ".kinds small", "figcaption", ".finding",
    ".size", ".even", ".line math"].map(selector => {
    const element = root.querySelector(selector), ground = behind(element);
    const [low, high] = [painted(ground), painted([...ground, getComputedStyle(element).color])].sort((a, b) => a - b);
    return [selector, (high + 0.05) / (low + 0.05)];
  }));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_one_file_works_from_the_disk_in_both_schemes(open_explorer, folder, scheme):
    """No server and no request; every text has a contrast of at least 4.5, as WCAG asks for."""
    page = open_explorer((folder / "alone.html").as_uri(), color_scheme=scheme)
    assert query_of(page) == (8, 15)
    assert text(page, ".provenance") == "Random."
    assert "in truth cat" in text(page, ".query figcaption")
    assert "times as many" in text(page, ".size")
    ratios = page.evaluate(CONTRASTS)
    assert {selector: ratio for selector, ratio in ratios.items() if ratio < 4.5} == {}


def test_data_that_are_none_are_said_to_be_none(open_explorer):
    """In words, where the maps would be."""
    page = open_explorer("no.html")
    assert "these are not the data of an attention explorer" in text(page, ".state")


def test_names_are_text(browser, folder, model, images):
    """Whatever a picture, a class or a sentence is called."""
    rude = '<img src=x onerror="document.title=1">'
    picture = look(model, images[0], rude, classes=[rude] * 3, label=0)
    write_explorer(folder / "rude.html", [picture, picture], config=model.config, provenance=rude)
    page = browser.new_page()
    page.goto((folder / "rude.html").as_uri())
    page.locator("attention-explorer .panels").wait_for()
    assert text(page, ".provenance") == rude
    assert rude in text(page, ".query figcaption")
    assert page.locator("attention-explorer img").count() == 2  # those to choose from
    page.close()
