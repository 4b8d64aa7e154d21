"""Two networks side by side: one set of choices, maps that are read when they are shown, hidden names."""

import re

import numpy as np
import pytest

from tests.site.conftest import PHONE
from tests.site.explorer.conftest import STICKING_OUT, canvas, choose, plain, point, text

pytestmark = pytest.mark.long

TWO_CHOICES = """async () => {
  const explorer = document.querySelector("attention-explorer");
  await Promise.all([explorer.choose({picture: 1}), explorer.choose({kind: "global"})]);
}"""


def findings(page):
    return [" ".join(words.split()) for words in page.locator("attention-explorer .finding").all_inner_texts()]


def act(page, script, *numbers):
    page.locator("attention-explorer").evaluate(script, *numbers)


@pytest.mark.parametrize("kind", ["local", "global", "composed"])
def test_both_maps_show_the_same_query_and_key(open_explorer, pair, other_pair, kind):
    """Each with the numbers of its own network, at a key that the reader chooses in the second map."""
    page = open_explorer("pair.html", choices={"stage": 1, "kind": kind})
    canvas(page, "query").press("ArrowRight")
    page.locator("attention-explorer .map canvas").nth(1).press("Home")
    for finding, maps in zip(findings(page), (pair[0], other_pair[0]), strict=True):
        row = {"local": maps.local, "global": maps.global_, "composed": maps.composed}[kind](1, 0, (4, 8))
        first = tuple(at - at % side for at, side in zip((4, 8), maps.layouts[1].window, strict=True))
        value = row[first if kind == "local" else (0, 0)]  # the first token of the window, or of all
        number = re.search(r"0\.\d+", finding)[0]
        assert float(number) == pytest.approx(value, rel=0.005)
        assert "(4, 8)" in plain(finding)
    names = page.locator("attention-explorer .map .name").all_inner_texts()
    assert names == ["First", "Second"]


def test_maps_are_read_when_they_are_shown(open_explorer):
    """And once: going back to a picture reads nothing."""
    page = open_explorer("index.html")
    read = []
    page.on("request", lambda request: read.append(request.url.rsplit("/", 1)[1]))
    page.goto(page.url.replace("index", "pair"))
    page.locator("attention-explorer .panels").wait_for()
    assert sorted(name for name in read if name.endswith(".bin")) == ["first-0.bin", "second-0.bin"]
    for changes in ("{picture: 1}", "{beside: 2}", "{picture: 0}", "{beside: 1}", "{picture: 1}"):
        act(page, f"explorer => explorer.choose({changes})")
    names = [name for name in read if name.endswith(".bin")]
    assert names[2:] == ["first-1.bin", "second-1.bin", "third-1.bin", "third-0.bin"]


def test_choices_made_while_maps_are_read_add_up(open_explorer):
    page = open_explorer("pair.html")
    page.evaluate(TWO_CHOICES)
    assert "turned" in text(page, ".query figcaption")
    assert page.locator("input[name=kind][value=global]").is_checked()


def test_unreadable_maps_leave_the_shown_ones(open_explorer):
    page = open_explorer("pair.html")
    before = findings(page)
    act(page, "explorer => explorer.choose({beside: 3})")
    assert text(page, ".state") == "These maps cannot be shown: these are not the data of an attention explorer"
    assert findings(page) == before
    assert page.locator("input[name=beside][value='1']").is_checked()
    act(page, "explorer => explorer.choose({beside: 2})")
    assert page.locator("attention-explorer .state").inner_text() == ""
    assert page.locator("attention-explorer .map .name").all_inner_texts() == ["First", "Third"]


def test_hidden_names_are_nowhere(open_explorer):
    """No name, prediction or class map while the reader guesses; the order is the one that was asked for."""
    page = open_explorer("pair.html", choices={"kind": "class"})
    assert "prediction" in text(page, ".map figcaption")
    canvas(page, "map").press("Home")  # or the key would be the largest weight of network A
    first, second = findings(page)
    act(page, "explorer => explorer.hideNames([1, 0])")
    choose(page, "kind", "local")
    canvas(page, "map").press("Home")
    shown_text = page.locator("attention-explorer .panels, attention-explorer .readouts").all_inner_texts()
    assert not any(word in part for part in shown_text for word in ("First", "Second", "prediction"))
    assert page.locator("attention-explorer .map .name").all_inner_texts() == ["Network A", "Network B"]
    assert page.locator("input[name=kind][value=class]").is_disabled()
    labels = [each.get_attribute("aria-label") for each in page.locator("attention-explorer .map canvas").all()]
    assert [label.split(", ")[-1] for label in labels] == ["Network A", "Network B"]
    a, b = findings(page)
    act(page, "explorer => explorer.showNames()")
    assert findings(page) == [b, a]
    choose(page, "kind", "class")
    canvas(page, "map").press("Home")
    assert findings(page) == [first, second]


def test_picture_and_both_maps_fit_the_screen_of_a_phone(open_explorer):
    page = open_explorer("pair.html", width=PHONE, height=844, has_touch=True, is_mobile=True)
    for kind in ("local", "global", "composed", "rollout", "class"):
        choose(page, "kind", kind)
        top = page.locator("attention-explorer .kinds").bounding_box()["y"]
        boxes = [each.bounding_box() for each in page.locator("attention-explorer .panels canvas").all()]
        assert max(box["y"] + box["height"] for box in boxes) - top < 600
        assert min(box["width"] for box in boxes) > 120
        assert page.evaluate(STICKING_OUT) == []
    for button in page.locator("attention-explorer :is(.choice span, .kinds label, button)").all():
        box = button.bounding_box()
        assert box is None or (box["width"] >= 24 and box["height"] >= 24)


def test_one_network_shows_its_picture_beside_the_map_on_a_phone(open_explorer):
    page = open_explorer(width=PHONE, height=844, has_touch=True, is_mobile=True)
    query, shown_map = (canvas(page, which).bounding_box() for which in ("query", "map"))
    assert query["x"] + query["width"] < shown_map["x"]
    assert abs(query["y"] - shown_map["y"]) < 20


def test_both_networks_are_spoken(open_explorer):
    page = open_explorer("pair.html")
    point(page, "query", 0.1, 0.1, "click")
    said = page.locator("attention-explorer .said", has_text="Second: ")
    said.wait_for(state="attached")
    assert said.inner_text().startswith("First: Token")
    assert np.all([words in said.inner_text() for words in findings(page)])
