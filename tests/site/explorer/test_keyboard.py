"""Keyboard and screen reader on the explorer."""

import pytest

from tests.site.explorer.reader import canvas, choose, query_of, slider, text

pytestmark = pytest.mark.long

FOCUSED = """() => {
  const now = document.querySelector("attention-explorer").shadowRoot.activeElement;
  return now && (now.name || now.parentElement.className);
}"""


def test_tab_reaches_every_part_once(open_explorer):
    page = open_explorer(choices={"stage": 1})
    page.evaluate("document.activeElement.blur()")
    reached = []
    for _ in range(7):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(FOCUSED))
    assert reached == ["picture", "stage", "block", "head", "query", "kind", "map"]


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
    page.wait_for_timeout(800)
    assert "they sum to 1.000" in said.inner_text()


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
