"""The home page: its living figure counts what the code counts, with mouse, touch and keys, in motion and without."""

import re

import numpy as np
import pytest

from hatnet.complexity import h_mhsa_cost, mhsa_cost
from tests.site.conftest import CONTRASTS, OVERFLOWING, PHONE, patient_page

FIGURE = "attention-hierarchy"
TIMES = "\N{MULTIPLICATION SIGN}"
# What the counter says in each frame of a motion that a button starts.
FRAMES = """([button, last]) => new Promise(done => {
  const figure = document.querySelector("attention-hierarchy"), seen = [];
  const read = () => {
    seen.push([".number", ".of"].map(name => figure.querySelector(name).textContent));
    if (seen.at(-1)[0] === last && !seen.at(-1)[1].includes("way")) done(seen);
    else requestAnimationFrame(read);
  };
  figure.querySelector(`[data-merged="${button}"]`).click();
  read();
})"""

# The colours of a square of the map: from (top, left), both in fractions of the side, 40 pixels wide.
SQUARE = """(canvas, [top, left]) => {
  const at = (share) => Math.round(share * canvas.width);
  const {data} = canvas.getContext("2d").getImageData(at(left), at(top), 40, 40);
  return [...data];
}"""

C, STRIDE = 64, 4  # stage 0 of HAT-Net Small


@pytest.fixture
def home(open_page):
    """A function that opens the home page and returns it, with the cells merged and without motion."""

    def open_(**settings):
        page = open_page("", **settings)
        page.locator(f"{FIGURE}.live").wait_for()
        page.emulate_media(reduced_motion="reduce")
        for name in ("Plain attention", "Hierarchical attention"):  # ends a motion that has begun
            page.get_by_role("button", name=name).click()
        return page

    return open_


def point_at(page, row, column, count):
    box = page.locator(f"{FIGURE} .whole").bounding_box()
    x, y = ((place + 0.5) / count for place in (column, row))
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])


def text(page, selector):
    return " ".join(page.locator(f"{FIGURE} {selector}").inner_text().split())


def counted(page):
    """(keys, near, far) that the figure shows."""
    captions = (text(page, f".{name} figcaption b") for name in ("near", "far"))
    return tuple(int(re.sub(r"\D", "", number)) for number in (text(page, ".number"), *captions))


def test_the_number_falls_from_3136_to_64_and_49(home):
    page = home()
    page.get_by_role("button", name="Plain attention").click()
    assert text(page, ".number") == "3,136"
    assert f"every token of the 56 {TIMES} 56 map" in text(page, ".of")
    page.get_by_role("button", name="Hierarchical attention").click()
    assert counted(page) == (113, 64, 49)
    assert "instead of 3,136" in text(page, ".of")


def test_motion_ends_at_the_numbers_that_stillness_shows(open_page):
    page = open_page("")
    page.locator(f"{FIGURE}.live").wait_for()
    page.get_by_role("button", name="Plain attention").click()
    page.wait_for_function(f"document.querySelector('{FIGURE} .number').textContent === '3,136'")
    page.get_by_role("button", name="Hierarchical attention").click()
    page.wait_for_function(f"Number(document.querySelector('{FIGURE} .number').textContent.replace(',', '')) < 3136")
    page.wait_for_function(f"document.querySelector('{FIGURE} .number').textContent === '113'")


def test_in_motion_the_counter_says_that_it_is_on_its_way(home):
    """No frame, and no picture of one, joins a number of neither kind of attention to a sentence about one."""
    page = home()
    page.emulate_media(reduced_motion="no-preference")
    for button, ends in ((0, ("113", "3,136")), (1, ("3,136", "113"))):
        first, *moving, last = page.evaluate(FRAMES, [button, ends[1]])
        assert (first[0], last[0]) == ends
        assert {words for number, words in moving if number not in ends} <= {  # a slow machine may show none
            f"keys for one query, on the way from {ends[0]} to {ends[1]}"
        }


def colours(page, top, left):
    pixels = page.locator(f"{FIGURE} .whole").evaluate(SQUARE, [top, left])
    return np.reshape(pixels, (40, 40, 4))[..., :3].astype(float)


def test_the_cat_shows_through_merged_cells(home):
    """Beneath its mean colour each cell has the picture, paler: here the other eye, in the cell (3, 5) of 7."""
    page, eye = home(), (3.2 / 7, 5.2 / 7)
    merged = colours(page, *eye)
    page.get_by_role("button", name="Plain attention").click()
    tokens = colours(page, *eye)
    deviations = [(square - square.mean(axis=(0, 1))).ravel() for square in (merged, tokens)]
    assert np.corrcoef(*deviations)[0, 1] > 0.3  # not 1, because of the rays
    assert deviations[0].std() < 0.7 * deviations[1].std()


def test_lines_between_small_cells_are_thin(home):
    """28 x 28 cells of 2 x 2 tokens: white lines lighten the picture a little."""
    page = home()
    for name in ("G1", "G2"):
        page.locator(f"{FIGURE} input[name={name}]").fill("2")
    ruled = [colours(page, *place).mean() for place in ((0.1, 0.1), (0.1, 0.8), (0.8, 0.1), (0.8, 0.8))]
    page.get_by_role("button", name="Plain attention").click()
    plain = [colours(page, *place).mean() for place in ((0.1, 0.1), (0.1, 0.8), (0.8, 0.1), (0.8, 0.8))]
    assert np.abs(np.subtract(ruled, plain)).max() < 15


def test_pointing_counts_the_window_that_the_border_cuts(home):
    """64 x 64 tokens in windows of 9: the last ones have one row or column; 10 x 10 cells of 7."""
    page = home()
    for name, value in (("size", 256), ("G1", 9), ("G2", 7)):
        page.locator(f"{FIGURE} input[name={name}]").fill(str(value))
    count = 256 // STRIDE
    for row, column, near in ((0, 0, 81), (63, 0, 9), (0, 63, 9), (63, 63, 1), (62, 62, 81)):
        point_at(page, row, column, count)
        assert counted(page) == (near + 100, near, 100), (row, column)


def test_the_sliders_move_the_cost(home):
    page = home()
    for size, G1, G2 in ((224, 8, 8), (32, 8, 8), (1024, 2, 32), (800, 31, 3), (96, 32, 2)):
        for name, value in (("size", size), ("G1", G1), ("G2", G2)):
            page.locator(f"{FIGURE} input[name={name}]").fill(str(value))
        side = size // STRIDE
        ratio = mhsa_cost(side, side, C).total_macs / h_mhsa_cost(side, side, C, G1, G2).total_macs
        finding = text(page, ".finding")
        assert ("does not pay" in finding) == (ratio < 1), (size, G1, G2)
        shown = float(re.search(r"([\d.,]+) times", finding)[1].replace(",", ""))
        assert shown == pytest.approx(max(ratio, 1 / ratio), rel=0.01)
        bars = [page.locator(f"{FIGURE} i.{name}").bounding_box()["width"] for name in ("plain", "ours")]
        assert bars[0] / bars[1] == pytest.approx(ratio, rel=0.1), (size, G1, G2)


def test_the_keyboard_moves_the_query_and_screen_readers_hear_of_it(home):
    page = home()
    map_ = page.get_by_role("application", name="Token map: arrow keys move the query")
    map_.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    status = f"document.querySelector('{FIGURE} [role=status]').textContent"
    page.wait_for_function(f"{status}.includes('Row 24, column 23')")
    spoken = page.evaluate(status)
    for words in ("113", "64 near", "49 far", "11.9 times"):
        assert words in spoken
    for _ in range(60):
        page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"{status}.includes('Row 24, column 0:')")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_figure_is_readable_and_fits_a_phone(home, scheme):
    """Contrasts of text as WCAG requires; nothing overflows; targets have 24 pixels; map and counter fit one screen."""
    page = home(color_scheme=scheme)
    selectors = ["button", ".number", ".of", ".near b", ".far b", "figcaption", "label", ".cost span", ".hint"]
    contrasts = page.evaluate(CONTRASTS, [f"{FIGURE} {selector}" for selector in selectors])
    assert {selector: ratio for selector, ratio in contrasts.items() if ratio < 4.5} == {}
    page.set_viewport_size({"width": PHONE, "height": 844})
    assert page.evaluate(OVERFLOWING) == []
    for target in page.locator(f"{FIGURE} :is(button, input)").all():
        assert target.bounding_box()["height"] >= 24
    top = page.locator(f"{FIGURE} .count").bounding_box()["y"]
    map_ = page.locator(f"{FIGURE} .whole").bounding_box()
    assert map_["y"] + map_["height"] - top < 844


def test_a_tap_moves_the_query(browser, address):
    page = patient_page(browser, has_touch=True, viewport={"width": PHONE, "height": 844}, reduced_motion="reduce")
    page.goto(address)
    page.locator(f"{FIGURE}.live").wait_for()
    map_ = page.locator(f"{FIGURE} .whole")
    map_.tap(position={"x": 2, "y": 2})
    page.wait_for_function(f"document.querySelector('{FIGURE} [role=status]').textContent.includes('Row 0, column 0')")
    page.close()


def test_without_javascript_four_panels_stay(browser, address):
    page = patient_page(browser, java_script_enabled=False)
    page.goto(address)
    panels = page.locator(f"{FIGURE} .panels img")
    assert panels.count() == 4
    assert all(panel.is_visible() and len(panel.get_attribute("alt")) > 40 for panel in panels.all())
    page.close()


def test_one_call_is_above_the_fold(home):
    page = home()
    call = page.locator(".md-button--primary")
    assert call.count() == 1
    box = call.bounding_box()
    assert box["y"] + box["height"] < 500
    assert call.get_attribute("href").startswith("tutorials/01")
