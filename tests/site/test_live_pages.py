"""The live pages in a browser, below a sub-path of the server, as a reader uses them."""

import gzip
import json

import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: pip install -e '.[docs]'")

from tests.site.conftest import CONTRASTS, OVERFLOWING, PHONE, ROOT, serving, strict_pages

BUDGET = 300_000  # bytes of a page, compressed, before Python is loaded, without fonts and pictures
KEYS = {"float32": 1e-3, "float64": 1e-12}

SHRINK = """async ([size, weights, bug, tolerance]) => {
  const {look, shrinkSteps} = await import(new URL("../js/live/shrink.js", location));
  const record = await (await fetch("../data/generated/bug-lab.json")).json();
  const fails = each => look(record, bug, each, weights).departure > tolerance;
  return fails(size) ? shrinkSteps(size, fails) : [];
}"""


@pytest.fixture(scope="module")
def below(site):
    """The address of the site as a folder of a server."""
    with serving(site.parent) as root:
        yield f"{root}{site.name}/"


@pytest.fixture(scope="module")
def open_below(browser, below):
    with strict_pages(browser, below) as page_with:

        def open_(path, width=1280, **settings):
            page = page_with(viewport={"width": width, "height": 900}, **settings)
            page.requested = []
            page.on("response", lambda reply: page.requested.append(reply))
            page.goto(below + path)
            page.locator("[data-state=ready]").wait_for()
            return page

        yield open_


@pytest.fixture(scope="module")
def loaded(open_below, site):
    """The live page after Python is loaded and has run once. The tests below use it one after another."""
    if not json.loads((site / "pyodide/files.json").read_text()):
        pytest.skip("the site has no Pyodide; HATNET_PYODIDE=fetch loads its files into the cache")
    page = open_below("live/")
    page.locator(".load").click()
    page.locator(".apart").wait_for()
    return page


def run_edited(page):
    page.locator(".again").click()
    page.locator(".departed .finding").wait_for()
    return page.locator(".departed .finding").inner_text()


@pytest.mark.parametrize("path", ["live/", "bug-lab/"])
def test_python_is_not_requested_before_a_click_and_the_page_is_light(open_below, path):
    page = open_below(path)
    page.wait_for_load_state("networkidle")
    ours = [reply for reply in page.requested if "search_index" not in reply.url]  # loaded by the theme, on every page
    assert not [reply.url for reply in ours if ".wasm" in reply.url or "pyodide.mjs" in reply.url]
    weighed = [reply for reply in ours if not reply.url.endswith((".woff2", ".png", ".jpg", ".svg"))]
    assert sum(len(gzip.compress(reply.body())) for reply in weighed) < BUDGET


def test_the_logits_equal_those_of_pytorch(loaded):
    """All five images, to 1e-12, as the page shows and as the kept figures say."""
    for button in loaded.locator("[data-image]").all():
        loaded.evaluate("document.querySelector('.answer').innerHTML = ''")
        button.click()
        loaded.locator(".apart").wait_for()
        assert 0 <= float(loaded.locator(".apart").get_attribute("data-value")) <= 1e-12
        assert "within the limit" in loaded.locator(".answer").inner_text()
    loaded.locator("[data-image='0']").click()
    loaded.locator(".shares tr:first-child", has_text="trouser").wait_for()


def test_the_query_moves_with_pointer_and_keys(loaded):
    words, picture = loaded.locator(".map-place .words"), loaded.locator("canvas.query")
    picture.hover(position={"x": 2, "y": 2})
    loaded.wait_for_function(
        "document.querySelector('.map-place .words').textContent.includes('row 0, column 0 of 28')"
    )
    picture.focus()
    loaded.keyboard.press("ArrowRight")
    loaded.wait_for_function(
        "document.querySelector('.map-place .words').textContent.includes('row 0, column 1 of 28')"
    )
    assert "Near:" in words.inner_text()
    loaded.locator("[name=block]").select_option("2 1")
    loaded.wait_for_function("document.querySelector('.map-place .words').textContent.includes('of 7 \u00d7 7')")
    assert not loaded.locator("figure.near").is_visible()
    loaded.locator("[name=block]").select_option("0 0")


def test_a_suggested_edit_shows_what_departs_first(loaded):
    loaded.locator("[data-edit]", has_text="Merge by the maximum").click()
    assert "cell.max(axis=(0, 1))" in loaded.locator(".code textarea").input_value()
    assert "stages.0.blocks.0.attention.merged" in run_edited(loaded)
    assert loaded.locator(".departures tbody tr").count() == 41
    assert loaded.locator(".departures tr.departs").first.inner_text().startswith("stages.0.blocks.0.attention.merged")
    loaded.locator(".reset").click()
    assert loaded.locator(".changed").inner_text() == "Unchanged"
    loaded.evaluate("document.querySelector('.departed').innerHTML = ''")
    assert "All 41 intermediates agree with PyTorch" in run_edited(loaded)


def test_an_error_in_edited_code_is_shown_with_its_line(loaded):
    loaded.locator("[data-edit]", has_text="Drop the residual").click()
    area = loaded.locator(".code textarea")
    text = area.input_value()
    area.fill(text.replace("group_norm(A1, **within", "group_norm(A1 + y, **within"))
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "group_norm(A1, **within" in each)
    found = run_edited(loaded)
    assert f"reference/hierarchical_attention.py, line {line}" in found
    assert "name 'y' is not defined" in found
    loaded.locator(".reset").click()


def test_a_picture_of_ones_own_is_classified(loaded):
    loaded.locator("[type=file]").set_input_files(ROOT / "hatnet/assets/chelsea.png")
    loaded.locator(".answer", has_text="kept for the five test images only").wait_for()
    assert loaded.locator(".shares tr").count() == 4
    loaded.locator(".draw").scroll_into_view_if_needed()
    box = loaded.locator(".draw").bounding_box()
    loaded.evaluate("document.querySelector('.answer').innerHTML = ''")
    loaded.mouse.move(box["x"] + 40, box["y"] + 20)
    loaded.mouse.down()
    loaded.mouse.move(box["x"] + 40, box["y"] + 120, steps=5)
    loaded.mouse.up()
    loaded.locator(".answer", has_text="kept for the five test images only").wait_for()


def test_stop_ends_an_endless_loop(loaded):
    loaded.locator("[data-edit='0']").click()
    area = loaded.locator(".code textarea")
    area.fill(area.input_value().replace("    _, d = Q.shape\n", "    while True: pass\n", 1))
    loaded.locator(".again").click()
    loaded.locator(".stop").click()
    loaded.locator(".loading .status", has_text="Stopped").wait_for()
    assert loaded.locator(".load").is_visible()
    assert loaded.locator(".run").is_disabled()


def test_without_pyodide_the_page_says_so(browser, below):
    with strict_pages(browser, below) as page_with:
        page = page_with()
        page.route("**/pyodide/files.json", lambda route: route.fulfill(json={}))
        page.goto(below + "live/")
        page.locator(".engine .note", has_text="HATNET_PYODIDE=fetch").wait_for()
        assert page.locator(".load").count() == 0


def test_the_lab_asks_first_and_answers_from_the_record(open_below, site):
    page = open_below("bug-lab/", reduced_motion="reduce")
    record = json.loads((site / "data/generated/bug-lab.json").read_text())
    at = record["grid"].index([6, 8, 3])
    for number, bug in enumerate(record["bugs"]):
        page.locator(f"[data-bug='{number}']").click()
        assert not page.locator(".result").is_visible()
        page.locator("[data-guess=yes]").click()
        seen = bug["departures"]["unit"][at] > 1e-3
        finding = page.locator(".finding").inner_text()
        assert finding.startswith("You were right" if seen else "You were wrong"), bug["title"]
        assert bug["clue"] in finding
        landing = page.locator(".after svg").get_attribute("aria-label").split(": ")[1].split()
        expected = bug["landings"][at] or range(48)
        assert landing == ["wrong" if token < 0 else str(token) for token in expected]


@pytest.mark.parametrize("weights", ["unit", "fresh"])
def test_a_counterexample_shrinks_until_no_side_can_be_smaller(open_below, site, weights):
    page = open_below("bug-lab/")
    record = json.loads((site / "data/generated/bug-lab.json").read_text())
    for number, bug in enumerate(record["bugs"]):
        departures = {
            tuple(size): found for size, found in zip(record["grid"], bug["departures"][weights], strict=True)
        }
        for tolerance in KEYS.values():
            steps = page.evaluate(SHRINK, [[7, 8, 4], weights, number, tolerance])
            assert bool(steps) == (departures[7, 8, 4] > tolerance)
            assert all(departures[tuple(size)] > tolerance for size in steps)
            for axis, low in enumerate((2, 2, 1)) if steps else ():
                for value in range(low, steps[-1][axis]):
                    smaller = [*steps[-1][:axis], value, *steps[-1][axis + 1 :]]
                    assert departures[tuple(smaller)] <= tolerance, (bug["title"], steps[-1], smaller)


def test_the_lab_computes_what_the_record_says(open_below, site):
    if not json.loads((site / "pyodide/files.json").read_text()):
        pytest.skip("the site has no Pyodide; HATNET_PYODIDE=fetch loads its files into the cache")
    page = open_below("bug-lab/")
    record = json.loads((site / "data/generated/bug-lab.json").read_text())
    page.locator("[name=open]").check()
    page.locator(".load").click()
    for number, bug in enumerate(record["bugs"]):
        page.locator(f"[data-bug='{number}']").click()
        kept = bug["departures"]["unit"][record["grid"].index([6, 8, 3])]
        page.wait_for_function(
            "kept => Math.abs(document.querySelector('.live-result').dataset.departure - kept) <= 1e-3 * kept", arg=kept
        )
        assert "elsewhere" not in page.locator(".live-result").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_fit_a_phone_and_are_readable(open_below, scheme):
    page = open_below("bug-lab/", width=PHONE, color_scheme=scheme)
    page.locator("[name=open]").check()
    assert page.evaluate(OVERFLOWING) == []
    selectors = [".about p", ".diff .old", ".source", ".finding", "button[aria-pressed=true]", ".lands figcaption"]
    found = page.evaluate(CONTRASTS, selectors)
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}
    page = open_below("live/", width=PHONE, color_scheme=scheme)
    assert page.evaluate(OVERFLOWING) == []
    found = page.evaluate(CONTRASTS, [".loading .status", "button[aria-pressed=true]", "live-reference figcaption"])
    assert {name: ratio for name, ratio in found.items() if ratio < 4.5} == {}
