"""The page on attention maps, as it is on the site."""

import json

import pytest

from tests.site.conftest import PHONE
from tests.site.explorer.conftest import canvas, text

pytestmark = pytest.mark.long


def test_the_page_reads_the_maps_of_one_picture_for_two_networks(open_page):
    """Less than a megabyte; the guide's first step is what the explorer shows without an address."""
    page, sizes = open_page("attention-maps/"), {}
    page.on("response", lambda reply: sizes.update({reply.url.rsplit("/", 1)[1]: int(reply.headers["content-length"])}))
    page.reload()
    page.locator("attention-explorer .panels").wait_for()
    assert {name for name in sizes if name.endswith(".bin")} == {"attention-trained-0.bin", "attention-untrained-0.bin"}
    assert sum(size for name, size in sizes.items() if "attention-" in name) < 1e6
    before = text(page, ".finding")
    page.evaluate("document.querySelector('explorer-guide').go(0)")
    page.wait_for_timeout(500)
    assert text(page, ".finding") == before


@pytest.mark.parametrize("width", [1280, PHONE])
def test_every_step_of_the_guide_shows_the_map_it_speaks_of(open_page, width):
    page = open_page("attention-maps/", width=width, height=844)
    page.locator("attention-explorer .panels").wait_for()
    for step, kind in enumerate(["local", "global", "composed", "rollout", "class", "class"]):
        if step:
            page.locator("explorer-guide button:text-is('Next')").click()
        page.locator(f"attention-explorer input[name=kind][value={kind}]:checked").wait_for(state="attached")
        names = ["Trained", "Untrained"] if step < 5 else ["Trained, its answer", "Trained, the true class"]
        page.locator(f"attention-explorer .map .name:text-is('{names[1]}')").wait_for()
        assert page.locator("attention-explorer .map .name").all_inner_texts() == names
    page.locator("attention-explorer .query figcaption:has-text('a mistake, true class ankle boot')").wait_for()
    captions = page.locator("attention-explorer .map figcaption").all_inner_texts()
    assert ["For the class sandal" in captions[0], "For the class ankle boot" in captions[1]] == [True, True]
    assert page.evaluate("scrollX") == 0


def test_the_last_challenge_has_the_builders_counts(open_page, site):
    counts = json.loads((site / "data/generated/uniform-attention.json").read_text())
    page = open_page("attention-maps/")
    page.locator("attention-challenges .uniform button:enabled").last.click()
    said = page.locator("attention-challenges .uniform .feedback", has_text=f"{counts['same answer']} of 250")
    said.wait_for()
    assert said.inner_text().startswith("Yes")
    assert "Uniform attention" in page.locator("attention-explorer .map .name").last.inner_text()
    assert canvas(page, "map").get_attribute("aria-label") == "Key of the global map, Trained"
