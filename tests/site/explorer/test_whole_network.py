"""Maps of the whole network in the explorer: rollout and class maps, which have no query."""

import numpy as np
import pytest

from tests.site.explorer.reader import BRIGHTNESS, as_stored, canvas, choose, point, query_of, shown, text

pytestmark = pytest.mark.long


def test_rollout_has_no_query(open_explorer, garments):
    """The page says so, and disables the settings that do not apply; with another kind the query is back."""
    page, rollout = open_explorer("garments.html", choices={"kind": "rollout"}), as_stored(garments[1][0].rollout())
    assert shown(rollout.max()) in text(page, ".finding")
    point(page, "query", 0.53, 0.53)  # the picture points into the map
    comes = "of the classifier's input comes from token j = (14, 14)"
    assert f"{shown(rollout[14, 14])} {comes}" in text(page, ".finding")
    for name in ("stage", "block", "head"):
        assert page.locator(f"attention-explorer input[name={name}]").first.is_disabled()
    assert canvas(page, "query").get_attribute("aria-disabled") == "true"
    assert "no query, stage, block or head" in text(page, ".query figcaption")
    assert "Rollout whole network" in text(page, ".kinds")  # a figure shows the rollout of a query
    assert text(page, ".map figcaption").startswith("Rollout of the whole network: ")
    assert canvas(page, "map").get_attribute("aria-label") == "Token of the rollout map, whole network"
    assert not page.locator("attention-explorer fieldset.class").is_visible()
    choose(page, "kind", "global")
    assert query_of(page) == (15, 10)
    assert page.locator("attention-explorer input[name=stage]").first.is_enabled()


@pytest.mark.parametrize("picture", [0, 1])
def test_class_maps_are_shown_for_the_answer_and_for_the_true_class(open_explorer, trained, garments, picture):
    truth, maps = garments[0][picture], garments[1][picture]
    page = open_explorer("garments.html", choices={"kind": "class", "picture": picture})
    answer = int(maps.logits.argmax())
    classes = {answer: "the network's answer" + ", and true" * (answer == truth)}
    if answer != truth:
        classes[truth] = "the true class"
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
        assert_drawn(page, values)


def assert_drawn(page, values):
    """The number under the pointer is that of the map; its largest cell is bright and its smallest dark."""
    point(page, "map", 0.27, 0.77)
    assert f"{shown(values[21, 7])} is the relevance of token j = (21, 7)" in text(page, ".finding")
    point(page, "map", 0.99, 0.99)
    most, least = (np.unravel_index(at, values.shape) for at in (values.argmax(), values.argmin()))
    page.locator("attention-explorer .size").hover()
    bright, dark = (
        canvas(page, "map").evaluate(BRIGHTNESS, [(x + 0.5) / 28, (y + 0.5) / 28]) for y, x in (most, least)
    )
    assert bright > dark + 50
