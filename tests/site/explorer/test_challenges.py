"""The guide and the three challenges beside the explorer."""

import json
import re

import numpy as np
import pytest

from tests.site.conftest import ROOT
from tests.site.explorer.conftest import SIZE, choose, point

pytestmark = pytest.mark.long

WIDGETS = ("explorer-guide", "attention-challenges")
COUNTS = {"images": 250, "right": 240, "right with uniform attention": 101, "same answer": 110}


@pytest.fixture(scope="module")
def with_widgets(folder):
    """The page of a pair of networks, with the guide and the challenges."""
    page = (folder / "pair.html").read_text(encoding="utf-8")
    for name in WIDGETS:
        script = (ROOT / "docs/js" / f"{name}.js").read_text(encoding="utf-8")
        (folder / f"{name}.js").write_text(script, encoding="utf-8")
        page = page.replace("<body>", f'<script type="module" src="{name}.js"></script><body>')
    (folder / "counts.json").write_text(json.dumps(COUNTS), encoding="utf-8")
    steps = "".join(
        f'<li data-look="{look}"><p>{words}</p></li>'
        for words, look in {"one": "kind=local&amp;stage=0", "two": "picture=1&amp;kind=global&amp;query=44,30"}.items()
    )
    guide = f"<explorer-guide><ol>{steps}</ol></explorer-guide>"
    challenges = '<attention-challenges src="counts.json">none</attention-challenges>'
    (folder / "widgets.html").write_text(page.replace("<body>", f"<body>{guide}{challenges}"), encoding="utf-8")
    return "widgets.html"


def press(page, words):
    page.locator(f"button:text-is('{words}')").click()


def feedback(page, name):
    said = page.locator(f"attention-challenges .{name} .feedback")
    said.filter(has_text=re.compile(".")).wait_for()
    return " ".join(said.inner_text().split())


def test_the_guide_shows_one_step_and_sets_the_explorer(open_explorer, with_widgets):
    page = open_explorer(with_widgets)
    steps = page.locator("explorer-guide li")
    assert [step.is_visible() for step in steps.all()] == [True, False]
    assert page.locator("explorer-guide button:text-is('Back')").is_disabled()
    press(page, "Next")
    page.locator("attention-explorer input[name=kind][value=global]:checked").wait_for(state="attached")
    assert [step.is_visible() for step in steps.all()] == [False, True]
    page.locator("attention-explorer [aria-valuetext='token in row 15, column 22']").wait_for(state="attached")
    assert page.locator("explorer-guide nav span").inner_text() == "Step 2 of 2"
    assert page.locator("explorer-guide button:text-is('Next')").is_disabled()
    press(page, "Back")
    page.locator("attention-explorer input[name=kind][value=local]:checked").wait_for(state="attached")


@pytest.mark.parametrize(("random", "right"), [(0.1, "A"), (0.9, "B")])
@pytest.mark.parametrize("answer", ["A", "B"])
def test_which_one_is_trained(open_explorer, with_widgets, pair, other_pair, random, right, answer):
    """The first network is the trained one. The answer's numbers are those of the maps that are then shown."""
    page = open_explorer(with_widgets)
    page.evaluate("random => { Math.random = () => random; }", random)
    press(page, "Hide the names")
    page.locator("attention-explorer .map .name:text('Network A')").wait_for()
    assert page.locator("attention-challenges .even button").first.is_disabled()
    press(page, f"{answer} is trained")
    page.locator("attention-explorer .map .name:text('First')").wait_for()
    said = page.locator("attention-challenges .trained .feedback", has_text="is the trained network")
    said.wait_for()
    words = " ".join(said.inner_text().split())
    assert words.startswith(f"{'Yes' if answer == right else 'No'}: {right} is the trained network.")
    picture = int(random * 2)
    for maps in (pair[picture], other_pair[picture]):
        row = maps.local(1, 1, maps.token_at(30, 17, 1))
        most = row.max() * np.count_nonzero(row)
        assert (f"{most:.1f}" if most < 10 else f"{most:.0f}") in words


def test_a_token_that_ignores_its_window(open_explorer, with_widgets, pair):
    """A plain stage has no windows, a random network's query chooses, and one with equal weights ignores its window."""
    page = open_explorer(with_widgets, choices={"stage": 2})
    press(page, "Check this query")
    assert feedback(page, "even") == "Stage 2 has no windows. Choose stage 0 or 1."
    press(page, "Show near weights")
    page.locator("attention-explorer input[name=kind][value=local]:checked").wait_for(state="attached")
    rows = {(row, column): pair[0].local(0, 1, (row, column)) for row in range(1, 15) for column in range(1, 21)}
    query = max(rows, key=lambda token: rows[token].max() * np.count_nonzero(rows[token]))
    most = rows[query].max() * np.count_nonzero(rows[query])
    y, x = ((2 * at + 1) / side for at, side in zip(query, SIZE, strict=True))
    point(page, "query", x, y, "click")
    press(page, "Check this query")
    start = f"Not yet. Token ({query[0]}, {query[1]}) of stage 0, block 1: its largest near weight is "
    assert feedback(page, "even").startswith(start + (f"{most:.1f}" if most < 10 else f"{most:.0f}"))
    page.locator("attention-explorer").evaluate("explorer => explorer.views[0].weights[0][1].local.fill(1 / 64)")
    choose(page, "kind", "global")
    choose(page, "kind", "local")
    press(page, "Check this query")
    assert "only 1.0 times an equal share" in feedback(page, "even")


def test_uniform_attention(open_explorer, with_widgets):
    """The counts come from the file, the answers from the two networks that are then shown."""
    page = open_explorer(with_widgets)
    press(page, "on more than four fifths")
    said = feedback(page, "uniform")
    assert said.startswith("No: the answer stays the same on 110 of 250 test images, and 101 are right instead of 240.")
    assert page.locator("attention-explorer .map .name").all_inner_texts() == ["First", "Third"]
    for network in page.locator("attention-explorer .map figcaption").all_inner_texts():
        name, share = re.search(r"Prediction (\w+) (\d+) %", network).groups()
        assert f"{name} ({share} %)" in said
    press(page, "on about half")
    page.locator("attention-challenges .uniform .feedback", has_text=re.compile("^Yes")).wait_for()


def test_four_limits_of_maps_follow_the_explorer():
    """Before any code, for those who read no further."""
    page = (ROOT / "docs/attention-maps.md").read_text(encoding="utf-8")
    _, after = page.split("</attention-explorer>")
    heading, limits = after.split("\n## ")[0].split("\n### ")[1].split("\n", 1)
    assert heading == "When maps lie"
    assert len(re.findall(r"^- \*\*", limits, flags=re.MULTILINE)) == 4


def test_the_page_has_the_widgets_and_their_data():
    """The looks of the guide are addresses that the explorer understands: known kinds, and places on the images."""
    page = (ROOT / "docs/attention-maps.md").read_text(encoding="utf-8")
    assert all(f"<{name}" in page for name in WIDGETS)
    looks = [look.replace("&amp;", "&") for look in re.findall('data-look="([^"]*)"', page)]
    assert [re.search("kind=([a-z]+)", look)[1] for look in looks[:5]] == [
        "local", "global", "composed", "rollout", "class"
    ]  # fmt: skip
    pattern = r"picture=[0-4]&beside=1&kind=[a-z]+(&stage=[01]&block=1(&head=mean)?&query=10,15|&class=(0|both))?"
    assert all(re.fullmatch(pattern, look) for look in looks)
