"""Two networks side by side: one set of choices, maps that are read when they are shown, hidden names."""

import re
import time

import numpy as np
import pytest

from hatnet.maps.explorer import write_maps
from tests.site.conftest import PATIENCE, PHONE
from tests.site.explorer.conftest import (
    CLASSES,
    STICKING_OUT,
    canvas,
    choose,
    click,
    plain,
    point,
    shown,
    text,
    write_pair,
)

pytestmark = pytest.mark.long

OVERTAKEN = """() => {
  const explorer = document.querySelector("attention-explorer");
  return Promise.all([explorer.choose({beside: 3}), explorer.choose({beside: 2})]);
}"""

TWO_CHOICES = """async () => {
  const explorer = document.querySelector("attention-explorer");
  await Promise.all([explorer.choose({picture: 1}), explorer.choose({kind: "global"})]);
}"""


def findings(page):
    return [" ".join(words.split()) for words in page.locator("attention-explorer .finding").all_inner_texts()]


def names(page):
    return page.locator("attention-explorer .map .name").all_inner_texts()


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
    assert names(page) == ["First", "Second"]


def test_maps_are_read_when_they_are_shown(open_explorer):
    """And once: going back to a picture reads nothing."""
    page = open_explorer("index.html")
    read = []
    page.on("request", lambda request: read.append(request.url.rsplit("/", 1)[1]))
    page.goto(page.url.replace("index", "pair"))
    page.locator("attention-explorer .panels").wait_for()
    assert text(page, ".beside") == "Compare with Second Third Broken"
    assert sorted(name for name in read if name.endswith(".bin")) == ["first-0.bin", "second-0.bin"]
    for changes in ("{picture: 1}", "{beside: 2}", "{picture: 0}", "{beside: 1}", "{picture: 1}"):
        act(page, f"explorer => explorer.choose({changes})")
    names = [name for name in read if name.endswith(".bin")]
    assert [*sorted(names[2:4]), *names[4:]] == ["first-1.bin", "second-1.bin", "third-1.bin", "third-0.bin"]


def test_choices_made_while_maps_are_read_add_up(open_explorer):
    page = open_explorer("pair.html")
    page.evaluate(TWO_CHOICES)
    assert "turned" in text(page, ".query figcaption")
    assert page.locator("input[name=kind][value=global]").is_checked()


def let_go(page, held, last):
    """Wait until the maps called `last` are asked for; then let all that were held be read."""
    end = time.monotonic() + PATIENCE / 1000
    while not any(last in route.request.url for route in held):
        assert time.monotonic() < end, f"{last} was not asked for"
        page.wait_for_timeout(10)
    page.wait_for_timeout(50)  # for its twin, asked for in the same moment
    for route in held:
        route.continue_()


def test_controls_follow_at_once_and_maps_once_they_are_read(open_explorer):
    """A head that is chosen meanwhile is one of the new stage, and what is shown keeps its name."""
    page, held = open_explorer("pair.html"), []
    page.route("**/*-1.bin", lambda route: held.append(route))
    before = findings(page)
    for name, value in {"picture": 1, "beside": 2, "stage": 1, "block": 1, "head": 0}.items():
        click(page, name, value)
    chosen = [f"input[name={name}][value='{value}']" for name, value in (("beside", 2), ("stage", 1), ("head", 0))]
    canvas(page, "map").press("Home")  # draws what is shown
    assert page.locator("attention-explorer .panels").get_attribute("aria-busy") == "true"
    assert all(page.locator(each).is_checked() for each in chosen)
    assert names(page) == ["First", "Second"]
    assert "upright" in text(page, ".query figcaption")
    let_go(page, held, "third-1")
    page.locator("attention-explorer .query figcaption", has_text="turned").wait_for()
    assert all(page.locator(each).is_checked() for each in chosen)
    assert names(page) == ["First", "Third"]
    assert findings(page) != before


def test_unreadable_maps_leave_the_shown_ones(open_explorer):
    page = open_explorer("pair.html")
    before = findings(page)
    act(page, "explorer => explorer.choose({beside: 3})")
    assert text(page, ".state") == "These maps cannot be shown: these are not the data of an attention explorer"
    assert findings(page) == before
    assert page.locator("input[name=beside][value='1']").is_checked()
    act(page, "explorer => explorer.choose({kind: 'global'})")
    assert page.locator("attention-explorer .state").inner_text() == ""
    assert names(page) == ["First", "Second"]
    page.evaluate(OVERTAKEN)
    assert names(page) == ["First", "Third"]


WHILE_READ = {
    "each counts in its turn": (
        "e.choose({picture: 1}); e.choose({class: 1}); await e.choose({picture: 0})",
        {"class": 0},
    ),
    "the first is done when the last is": (
        "const first = e.choose({picture: 1}); e.choose({kind: 'global'}); await first",
        {"picture": 1, "kind": "global"},
    ),
    "one that fails takes no other with it": (
        "e.choose({beside: 3}); await e.choose({kind: 'global'})",
        {"beside": 1, "kind": "global"},
    ),
    "an impossible one spoils none": (
        "e.choose({picture: 1}); e.choose({stage: 9}); await e.choose({kind: 'global'})",
        {"picture": 1, "kind": "global", "stage": 0},
    ),
}


@pytest.mark.parametrize("name", WHILE_READ)
def test_of_choices_that_are_made_while_maps_are_read(open_explorer, name):
    page = open_explorer("pair.html")
    acts, want = WHILE_READ[name]
    found = page.evaluate(f"""async () => {{
      const e = document.querySelector("attention-explorer");
      {acts};
      return e.state.choice;
    }}""")
    assert want.items() <= found.items()
    assert page.locator("attention-explorer .panels").get_attribute("aria-busy") == "false"
    for setting, value in want.items():
        if setting != "class":
            assert page.locator(f"input[name={setting}][value='{value}']").is_checked()


def test_names_are_hidden_with_the_maps_in_their_order(open_explorer):
    page, held = open_explorer("pair.html"), []
    page.route("**/*-1.bin", lambda route: held.append(route))
    click(page, "picture", 1)
    page.evaluate("() => { document.querySelector('attention-explorer').hideNames([1, 0]); }")
    canvas(page, "map").press("Home")  # draws what is shown
    assert names(page) == ["First", "Second"]
    let_go(page, held, "second-1")
    page.locator("attention-explorer .name", has_text="Network A").wait_for()


def test_hidden_names_are_nowhere(open_explorer):
    """No name, prediction or class map while the reader guesses; the order is the one that was asked for."""
    page = open_explorer("pair.html", choices={"kind": "class"})
    assert "Prediction" in text(page, ".map figcaption")
    canvas(page, "map").press("Home")  # or the key would be the largest weight of network A
    first, second = findings(page)
    act(page, "explorer => explorer.hideNames([1, 0])")
    choose(page, "kind", "local")
    canvas(page, "map").press("Home")
    shown_text = page.locator("attention-explorer .panels, attention-explorer .readouts").all_inner_texts()
    assert not any(word in part for part in shown_text for word in ("First", "Second", "rediction"))
    assert names(page) == ["Network A", "Network B"]
    assert page.locator("input[name=kind][value=class]").is_disabled()
    labels = [each.get_attribute("aria-label") for each in page.locator("attention-explorer .map canvas").all()]
    assert [label.split(", ")[-1] for label in labels] == ["Network A", "Network B"]
    a, b = findings(page)
    act(page, "explorer => explorer.showNames()")
    assert findings(page) == [b, a]
    choose(page, "kind", "class")
    canvas(page, "map").press("Home")
    assert findings(page) == [first, second]


@pytest.fixture(scope="module")
def mistaken(folder, model, other, images):
    """A page of three networks that are wrong on the first picture and right on the second: both answers are "cat"."""
    files = [[f"mistaken-{network}-{index}.bin" for index in range(2)] for network in range(3)]
    for network, own in zip((model, other, other), files, strict=True):
        for index, label in enumerate((1, 0)):
            facts = {"names": [f"picture {index}"], "provenance": "Random.", "classes": CLASSES, "labels": [label]}
            write_maps(folder / own[index], network, images[index : index + 1], **facts)
    return write_pair(folder, "mistaken", files)


def test_two_class_maps_of_one_network_side_by_side(open_explorer, mistaken, pair):
    """For its answer and for the true class, from the address and back to it; until another network is chosen."""
    page = open_explorer(f"{mistaken}#explore?picture=0&beside=2&kind=class&class=both")
    assert names(page) == ["First, its answer", "First, the true class"]
    point(page, "map", 0.5, 0.5, "click")
    about = ["cat, the network's answer", "dog, the true class"]
    for label, finding in enumerate(findings(page)):
        number = shown(pair[0].class_map(label)[7, 11])
        assert plain(finding).startswith(f"{number} is the relevance of token j = (7, 11) of the first stage")
        assert f"for the class {about[label]}" in finding
    page.wait_for_url("**class=both*key=7,11")
    chosen = {name: page.locator(f"attention-explorer input[name={name}]:checked") for name in ("class", "beside")}
    assert (chosen["class"].get_attribute("value"), chosen["beside"].count()) == ("both", 0)
    choose(page, "beside", 1)
    page.locator("attention-explorer .map .name:text-is('Second')").wait_for()
    assert chosen["class"].get_attribute("value") == "0"
    choose(page, "class", "both")
    page.locator("attention-explorer .map .name:text-is('First, the true class')").wait_for()
    choose(page, "kind", "local")
    page.locator("attention-explorer .map .name:text-is('Second')").wait_for()


def test_a_right_answer_has_no_two_class_maps(open_explorer, mistaken):
    page = open_explorer(f"{mistaken}#explore?picture=1&kind=class&class=both")
    assert names(page) == ["First", "Second"]
    values = [each.get_attribute("value") for each in page.locator("attention-explorer input[name=class]").all()]
    assert values == ["0"]
    assert page.locator("attention-explorer input[name=class]").is_checked()


def test_picture_and_both_maps_fit_the_screen_of_a_phone(open_explorer):
    page = open_explorer("pair.html", width=PHONE, height=844, has_touch=True, is_mobile=True)
    for kind in ("local", "global", "composed", "rollout", "class"):
        choose(page, "kind", kind)
        top = page.locator("attention-explorer .kinds").bounding_box()["y"]
        boxes = [each.bounding_box() for each in page.locator("attention-explorer .panels canvas").all()]
        assert max(box["y"] + box["height"] for box in boxes) - top < 600
        assert min(box["width"] for box in boxes) > 120
        assert page.evaluate(STICKING_OUT) == []
        marks = [each.is_visible() for each in page.locator("attention-explorer .across .query").all()]
        assert marks == [kind not in ("rollout", "class")] * 2  # those have no query
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
