"""Keyboard, screen reader, mouse and finger on the explorer."""

import numpy as np
import pytest

from tests.site.conftest import PHONE
from tests.site.explorer.conftest import STICKING_OUT, canvas, choose, point, query_of, shown, slider, text

pytestmark = pytest.mark.long

FOCUSED = """() => {
  const now = document.querySelector("attention-explorer").shadowRoot.activeElement;
  return now && (now.name || now.closest("figure").className);
}"""

WHAT_HAPPENED = """canvas => {
  window.happened = [];
  for (const name of ["pointerdown", "pointerup", "pointercancel"]) {
    canvas.addEventListener(name, () => window.happened.push(name));
  }
}"""


def test_tab_reaches_every_part_once(open_explorer):
    page = open_explorer(choices={"stage": 1})
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    assert reached == ["picture", "stage", "block", "head", "kind", "query", "map"]


def test_arrow_keys_move_the_query(open_explorer):
    """To its neighbours and no further than the border; Home, End and Escape go to the first, the last and back."""
    page = open_explorer(choices={"stage": 1})
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
    for key, token in {"Home": (0, 0), "End": (7, 11), "Escape": (4, 7)}.items():
        page.keyboard.press(key)
        assert query_of(page) == token


def test_arrow_keys_move_the_key_and_the_result_is_spoken(open_explorer):
    """Home, End and Escape too; in a window that the border cuts, End is the last token on the map."""
    page = open_explorer(choices={"stage": 1, "kind": "global"})
    canvas(page, "map").focus()
    before = text(page, ".finding")
    for _ in range(20):
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowLeft")
    assert "cell m = (0, 0)" in text(page, ".finding")
    assert canvas(page, "map").get_attribute("aria-valuetext").startswith("cell in row 0, column 0, 0.")
    page.locator("attention-explorer [role=status]", has_text="they sum to 1.000").wait_for(state="attached")
    for key, place in {"End": "(3, 5)", "Home": "(0, 0)"}.items():
        page.keyboard.press(key)
        assert f"cell m = {place}" in text(page, ".finding")
    page.keyboard.press("Escape")
    assert text(page, ".finding") == before
    canvas(page, "query").press("End")
    choose(page, "kind", "local")
    canvas(page, "map").focus()
    page.keyboard.press("End")
    assert "token j = (7, 11)" in text(page, ".finding")


@pytest.mark.parametrize("kind", ["local", "global", "composed", "class"])
def test_the_canvases_are_sliders_of_columns(open_explorer, kind):
    """Up and down, which raise and lower other sliders, must not do the opposite: they change only the spoken text."""
    page = open_explorer(choices={"stage": 1, "kind": kind})
    for one in ["map"] if kind == "class" else ["query", "map"]:
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


def test_nothing_is_spoken_before_the_reader_changes_something(open_explorer):
    """A page may hold several explorers, which would all speak when it is loaded or rotated."""
    page = open_explorer()
    said = page.locator("attention-explorer [role=status]")
    page.set_viewport_size({"width": 800, "height": 1200})
    page.wait_for_timeout(800)
    assert said.inner_text() == ""
    canvas(page, "query").press("ArrowUp")
    said.filter(has_text="they sum to 1.000").wait_for(state="attached")


def outline(page, selector):
    return page.locator(f"attention-explorer {selector}").evaluate("element => getComputedStyle(element).outlineStyle")


def test_the_chosen_kind_is_visible_in_high_contrast(open_explorer):
    """High contrast overrides borders and shadows but not outlines; a focused kind differs from a chosen one."""
    page = open_explorer(forced_colors="active")
    chosen, other = ".kinds label:has([value=local])", ".kinds label:has([value=global])"
    assert (outline(page, chosen), outline(page, other)) == ("solid", "none")
    page.locator(f"attention-explorer {chosen} input").focus()
    page.keyboard.press("ArrowDown")
    assert (outline(page, chosen), outline(page, other)) == ("none", "double")


def test_the_pointer_chooses_a_query_and_a_click_keeps_it(open_explorer, pair):
    """Over the picture the query follows; elsewhere it is the last one clicked. The numbers follow too."""
    page, maps = open_explorer(), pair[0]
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


def test_changing_the_kind_forgets_the_cell_under_the_mouse(open_explorer):
    """The mouse rests on the map while the keyboard changes the kind: the page explains the largest weight again."""
    page = open_explorer(choices={"kind": "global"})
    point(page, "map", 0.01, 0.99)
    assert "cell m = (3, 0)" in text(page, ".finding")
    page.locator("input[name=kind][value=global]").focus()
    page.keyboard.press("ArrowDown")
    assert page.locator("input[name=kind][value=composed]").is_checked()
    assert "token j = (8, 15)" in text(page, ".finding")  # itself, by the residuals
    assert "rank 1 of" in text(page, ".finding")
    point(page, "map", 0.01, 0.98)  # until it moves
    assert "token j = (15, 0)" in text(page, ".finding")


def test_the_keyboard_stays_on_the_heads_while_it_changes_them(open_explorer):
    """As for all radio buttons, each press of an arrow key goes to the next one."""
    page = open_explorer(choices={"kind": "global", "stage": 1})
    page.locator("input[name=head]:checked").focus()
    values = page.locator("input[name=head]").evaluate_all("inputs => inputs.map(input => input.value)")
    assert len(values) > 2
    for value in [*values[1:], values[0]]:
        page.keyboard.press("ArrowRight")
        page.locator(f"input[name=head][value='{value}']:checked").wait_for(state="attached")


@pytest.mark.parametrize(("button", "kept"), [("left", True), ("right", False), ("middle", False)])
def test_only_the_main_button_keeps_a_choice(open_explorer, button, kept):
    """The other buttons open menus or scroll, also while they are held and moved."""
    page = open_explorer(choices={"kind": "global"})
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


def test_a_tap_chooses_and_the_page_fits_a_narrow_screen(open_explorer):
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


def swipe(page, places):
    touch = page.context.new_cdp_session(page)
    for number, (x, y) in enumerate(places):
        event = {"type": "touchMove" if number else "touchStart", "touchPoints": [{"x": x, "y": y}]}
        touch.send("Input.dispatchTouchEvent", event)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("which", ["query", "map"])
def test_a_swipe_scrolls_and_chooses_nothing(open_explorer, which):
    page = open_explorer(width=PHONE, height=500, has_touch=True, is_mobile=True, choices={"kind": "global"})
    canvas(page, which).scroll_into_view_if_needed()
    canvas(page, which).evaluate(WHAT_HAPPENED)
    box, before = canvas(page, which).bounding_box(), (query_of(page), text(page, ".finding"))
    scrolled = page.evaluate("scrollY")
    x, y = box["x"] + 20, min(box["y"] + box["height"], 480) - 20
    swipe(page, [(x, y - 12 * step) for step in range(11)])
    page.wait_for_function("before => scrollY > before", arg=scrolled)
    assert page.evaluate("happened") == ["pointerdown", "pointercancel"]
    assert (query_of(page), text(page, ".finding")) == before


def test_a_finger_may_slide_beyond_the_picture(open_explorer):
    """Sideways, which does not scroll. The place where it is lifted counts, or the border if that is beyond."""
    page = open_explorer(width=PHONE, has_touch=True, is_mobile=True)
    box = canvas(page, "query").bounding_box()
    swipe(page, [(box["x"] + right, box["y"] + 5) for right in (90, 60, 20, -5)])
    assert query_of(page) == (0, 0)
