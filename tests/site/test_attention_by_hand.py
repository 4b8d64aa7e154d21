"""Attention by hand: the widget computes what the reference computes, and everybody can move its points."""

import random
import re

import numpy as np
import pytest

from reference.attention import attention_weights, multi_head_attention
from tests.site.conftest import CONTRASTS, OVERFLOWING, PHONE, patient_page

PAGE = "concepts/1-attention/"
WIDGET = "attention-by-hand"
LARGEST_ROUNDING = 1e-12

COMPUTE = """async cases => {
  const {attention, shadow} = await import(new URL("../../js/one-query.js", location));
  return cases.map(each => ({...attention(each), shadows: each.keys.map(key => shadow(each.query, key))}));
}"""
POINTS = """widget => [...widget.querySelectorAll(".handle")].map(grip => {
  const {x, y, width, height} = grip.querySelector(".target").getBoundingClientRect();
  return [grip.dataset.point, [x + width / 2, y + height / 2, width]];
})"""


def draw(count):
    """A grid of positions from the corners inwards, then random ones; channels from 1 to 5, keys from 1 to 4."""
    rng = random.Random(0)
    corners = [-3.0, -1.0, 0.0, 2.0, 3.0]
    keys, values = [[2, 0], [-1, 1], [1, 1]], [[2, 0], [0, 2], [2, 2]]
    cases = [
        {"query": [x, y], "keys": keys, "values": values, "temperature": T}
        for x in corners for y in corners for T in (0.1, 1, 10)
    ]  # fmt: skip
    for _ in range(count):
        d, n = rng.randint(1, 5), rng.randint(1, 4)
        vectors = [[rng.uniform(-30, 30) for _ in range(d)] for _ in range(2 * n + 1)]
        T = 10 ** rng.uniform(-1, 1)
        cases.append({"query": vectors[0], "keys": vectors[1 : n + 1], "values": vectors[n + 1 :], "temperature": T})
    return cases


def test_the_script_computes_the_same_as_the_reference(open_page):
    """Eq. 2 for one query, at all temperatures; the shadow times the query is the dot product."""
    cases = draw(300)
    for case, found in zip(cases, open_page(PAGE).evaluate(COMPUTE, cases), strict=True):
        Q, K, V = np.array([case["query"]]), np.array(case["keys"], float), np.array(case["values"], float)
        A, weights = multi_head_attention(Q / case["temperature"], K, V, heads=1)
        np.testing.assert_allclose(found["result"], A[0], rtol=0, atol=LARGEST_ROUNDING * 30)
        np.testing.assert_allclose(found["weights"], weights[0, 0], rtol=0, atol=LARGEST_ROUNDING)
        np.testing.assert_allclose(found["scores"], (Q @ K.T / np.sqrt(K.shape[1]))[0], atol=LARGEST_ROUNDING * 1000)
        np.testing.assert_allclose(found["products"], (Q @ K.T)[0], atol=LARGEST_ROUNDING * 1000)
        np.testing.assert_allclose(np.sum(found["parts"], axis=0), A[0], rtol=0, atol=LARGEST_ROUNDING * 30)
        np.testing.assert_allclose(np.array(found["shadows"]) @ Q[0], (Q @ K.T)[0] * Q.any(), atol=1e-9)


def shown(page):
    """The weights and the result in the table."""
    weights = page.locator(f"{WIDGET} tbody .wide b").all_inner_texts()
    result = page.locator(f"{WIDGET} tfoot td:last-child").inner_text().replace("\N{MINUS SIGN}", "-")
    return [float(weight) for weight in weights], [float(number) for number in re.findall(r"-?[\d.]+", result)]


def expected(query, keys=((2, 0), (-1, 1), (1, 1)), T=1.0):
    K, V = np.array(keys, float), np.array([[2, 0], [0, 2], [2, 2]], float)
    weights = attention_weights(np.array([query], float) / T, K)[0]
    return weights.round(3).tolist(), (weights @ V).round(2).tolist()


def grip(page, name):
    return page.locator(f"{WIDGET} [data-point='{name}']")


def drag(page, name, dx, dy):
    """Drag a point by units of its plane, with a mouse."""
    start = grip(page, name).locator(".target").bounding_box()
    unit = start["width"] * 48 / 32  # a target is 32 wide and a unit 48, in units of the drawing
    x, y = start["x"] + start["width"] / 2, start["y"] + start["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + dx * unit, y - dy * unit, steps=4)
    page.mouse.up()


def test_every_number_follows_mouse_keys_and_temperature(open_page):
    page = open_page(PAGE)
    page.locator(WIDGET).scroll_into_view_if_needed()
    assert shown(page) == expected((1, 2))
    drag(page, "query", 1, -3)
    assert shown(page) == expected((2, -1))
    drag(page, "key-1", 0, -2)
    assert shown(page) == expected((2, -1), keys=((2, 0), (-1, -1), (1, 1)))
    page.get_by_role("slider").fill("1")
    assert shown(page) == expected((2, -1), keys=((2, 0), (-1, -1), (1, 1)), T=10)
    page.get_by_role("button", name="Start again").click()
    assert shown(page) == expected((1, 2))
    grip(page, "query").focus()
    for key, query in (("ArrowRight", (1.1, 2)), ("ArrowDown", (1.1, 1.9)), ("Shift+ArrowLeft", (0.6, 1.9))):
        page.keyboard.press(key)
        assert shown(page) == expected(query), key
    for _ in range(30):
        page.keyboard.press("Shift+ArrowUp")
    assert shown(page) == expected((0.6, 3))  # the edge of the plane
    assert grip(page, "query").get_attribute("aria-label") == "query, at 0.6, 3; move with arrow keys"


def test_the_drawing_shows_the_numbers(open_page):
    """Bars are as long as weights, and the mark of A is at the weighted sum, inside the triangle of the values."""
    page = open_page(PAGE)
    weights, result = expected((1, 2))
    bars = page.eval_on_selector_all(f"{WIDGET} tbody i", "all => all.map(bar => bar.getBoundingClientRect().width)")
    assert [width / sum(bars) for width in bars] == pytest.approx(weights, abs=0.01)
    place = dict(page.eval_on_selector(WIDGET, POINTS))
    circle = page.locator(f"{WIDGET} .result circle").bounding_box()
    zero, unit = place["value-1"][0], (place["value-0"][0] - place["value-1"][0]) / 2  # they are at (0, 2) and (2, 0)
    assert (circle["x"] + circle["width"] / 2 - zero) / unit == pytest.approx(result[0], abs=0.02)
    assert (place["value-0"][1] - circle["y"] - circle["height"] / 2) / unit == pytest.approx(result[1], abs=0.02)


def test_a_screen_reader_gets_names_and_a_sentence(open_page):
    page = open_page(PAGE)
    labels = page.eval_on_selector_all(f"{WIDGET} .handle", "all => all.map(grip => grip.getAttribute('aria-label'))")
    kinds = [label.split(",")[0] for label in labels]
    tokens = [f"of token {token}" for token in range(3)]
    assert kinds == ["query", *(f"key {each}" for each in tokens), *(f"value {each}" for each in tokens)]
    grip(page, "query").focus()
    page.keyboard.press("Shift+ArrowRight")
    page.wait_for_function("document.querySelector('attention-by-hand [role=status]').textContent.includes('weights')")
    words = page.locator(f"{WIDGET} [role=status]").inner_text()
    assert "The key of token 2 fits the query best" in words
    assert all(f"{weight:.3f}" in words for weight in expected((1.5, 2))[0])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_readable_in_both_schemes_and_fits_a_phone(open_page, scheme):
    page = open_page(PAGE, color_scheme=scheme)
    texts = ["figcaption", "label", "button", "thead th", "tbody td", "tfoot td:last-child", ".finding"]
    contrasts = page.evaluate(CONTRASTS, [f"{WIDGET} {text}" for text in texts])
    assert {selector: ratio for selector, ratio in contrasts.items() if ratio < 4.5} == {}
    page.set_viewport_size({"width": PHONE, "height": 900})
    assert page.evaluate(OVERFLOWING) == []
    sizes = [width for _, (_, _, width) in page.eval_on_selector(WIDGET, POINTS)]
    assert min(sizes) >= 24, "a finger needs 24 pixels"


def test_a_finger_moves_a_point_and_scrolls_elsewhere(browser, address):
    page = patient_page(browser, has_touch=True, viewport={"width": PHONE, "height": 900})
    page.goto(address + PAGE)
    assert grip(page, "query").evaluate("grip => getComputedStyle(grip).touchAction") == "none"
    assert page.locator(f"{WIDGET} .seek svg").evaluate("svg => getComputedStyle(svg).touchAction") == "auto"
    page.locator(f"{WIDGET} .seek").scroll_into_view_if_needed()
    box = grip(page, "query").locator(".target").bounding_box()
    x, y, unit = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] * 48 / 32
    touch = page.context.new_cdp_session(page)
    for kind, points in (("touchStart", [(x, y)]), ("touchMove", [(x + unit, y)]), ("touchEnd", [])):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]})
    assert shown(page) == expected((2, 2))
    page.close()


def test_without_javascript_the_page_says_where_the_numbers_are(browser, address):
    page = patient_page(browser, java_script_enabled=False)
    page.goto(address + PAGE)
    assert "The section below has the same numbers" in " ".join(page.locator(WIDGET).inner_text().split())
    page.close()
