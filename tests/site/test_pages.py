"""The built site in a real browser, as a reader uses it."""

import json
import re

import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: pip install -e '.[docs]'")

from builder.excerpts import cut
from tests.site.conftest import CONTRASTS, OVERFLOWING, PHONE, ROOT

SCROLLING = (
    """all => all.filter(code => code.scrollWidth > code.clientWidth + 1).map(code => code.innerText.slice(0, 200))"""
)
BOXES = "part => [...part.children].map(child => child.getBoundingClientRect().toJSON())"  # all at one moment
FIRST_SCREEN = ("01_attention", "02_hierarchical_attention", "03_complexity", "06_attention_maps")
TUTORIALS = sorted(path.stem for path in (ROOT / "tutorials").glob("[0-9]*.py"))


@pytest.mark.parametrize("part", range(4))  # for as many workers
def test_pages_load_with_their_formulas_and_without_overflow(open_page, site, part):
    """Formulas have a height and their own font; wide content scrolls in boxes; `open_page` checks for errors."""
    pages = sorted(str(file.relative_to(site)).removesuffix("index.html") for file in site.rglob("*.html"))
    formulas = 0
    for path in pages[part::4]:
        page = open_page(path, width=1440)
        assert page.locator("h1").first.inner_text().strip(), path
        page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
        heights = page.eval_on_selector_all("math", "all => all.map(math => math.getBoundingClientRect().height)")
        assert all(height > 6 for height in heights), path
        assert page.locator(".arithmatex").count() == 0, f"{path}: a formula was not converted"
        if heights:
            page.wait_for_function("""document.fonts.check('16px "STIX Two Math"')""")
        formulas += len(heights)
        for width in (1440, 1000, PHONE):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate(OVERFLOWING) == [], f"{path} at {width} pixels"
    assert len(pages) > 10
    assert formulas > 10


def test_equation_numpy_and_pytorch_are_side_by_side(open_page, site):
    """Three columns on a wide screen, one column on a phone. A backward pass is beside its forward pass."""
    files = [file for file in site.rglob("*.html") if 'class="side-by-side"' in file.read_text(encoding="utf-8")]
    assert len(files) >= 8
    for path in (f"{file.parent.relative_to(site)}/" for file in files):
        page = open_page(path, width=1600)
        for part in page.locator(".side-by-side").all():
            words, numpy, other = part.locator("> div").all()
            assert words.inner_text().strip(), path
            assert "reference/" in numpy.locator(".live .filename").first.inner_text()
            assert re.match("hatnet/|reference/backward/", other.locator(".live .filename").first.inner_text())
            page.set_viewport_size({"width": 1600, "height": 900})
            left, middle, right = part.evaluate(BOXES)
            assert left["y"] == middle["y"] == right["y"], path
            assert left["x"] < middle["x"] < right["x"], path
            page.set_viewport_size({"width": PHONE, "height": 900})
            top, middle, bottom = part.evaluate(BOXES)
            assert top["y"] + top["height"] <= middle["y"], path
            assert middle["y"] + middle["height"] <= bottom["y"], path


def look_up(page, query):
    page.locator("[data-md-component=search-query]").fill(query)  # at once, so that no shorter word is looked up
    page.keyboard.press("Shift")  # the theme reads the box when a key is released


def test_search_finds_local_attention(open_page):
    page = open_page("")
    look_up(page, "local attention")
    results = page.locator(".md-search-result__item a")
    results.first.wait_for()
    assert any("concepts/2-local" in link.get_attribute("href") for link in results.all()[:5])
    results.first.click()
    page.wait_for_url(re.compile(r"local|hierarchical"))


@pytest.mark.parametrize("query", ["256", "merging", "softmax", "near", "window"])
def test_search_finds_explanations_before_the_api(open_page, query):
    page = open_page("")
    look_up(page, query)
    page.locator(".md-search-result__item a").first.wait_for()
    links = page.eval_on_selector_all(
        ".md-search-result__item > a", "links => links.map(link => new URL(link.href).pathname)"
    )
    explained = [index for index, link in enumerate(links) if link.startswith(("/concepts/", "/tutorials/"))]
    assert explained, links
    assert explained[0] < min([index for index, link in enumerate(links) if link.startswith("/api/")], default=99)
    assert explained[0] < 3, links


def test_the_copy_button_copies_the_live_source(open_page):
    page = open_page("concepts/4-global/")
    block = page.locator(".live").first
    path, line = block.locator(".filename").inner_text().split(":")
    block.hover()
    block.locator("button[title]").first.click()
    page.wait_for_function("navigator.clipboard.readText().then(text => text.length > 0)")
    copied = page.evaluate("navigator.clipboard.readText()").strip()
    excerpt = cut(ROOT / path, re.search(r"^def (\w+)", copied, re.MULTILINE)[1])
    assert (copied, int(line)) == (excerpt.source, excerpt.line)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(open_page, scheme):
    page = open_page("concepts/2-local/", color_scheme=scheme)
    body = page.locator("body")
    assert body.get_attribute("data-md-color-scheme") == {"light": "default", "dark": "slate"}[scheme]
    contrasts = page.evaluate(
        CONTRASTS, [".md-typeset p", ".md-typeset p a", ".live code", ".live .c1", ".live .eq b", ".md-header__title"]
    )
    assert {selector: ratio for selector, ratio in contrasts.items() if ratio < 4.5} == {}


def test_the_scheme_can_be_switched(open_page):
    page = open_page("")
    page.locator("label[title='Switch to dark mode']").click()
    assert page.locator("body").get_attribute("data-md-color-scheme") == "slate"


@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_shows_its_figures_and_can_be_downloaded(open_page, address, name):
    page = open_page(f"tutorials/{name}/")
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    figures = page.eval_on_selector_all("img.figure", "all => all.map(image => [image.naturalWidth, image.alt])")
    assert figures
    assert all(width > 100 and len(alt) > 20 for width, alt in figures), figures
    assert page.eval_on_selector_all(".md-content pre > code", SCROLLING) == [], "code is cut off at 1280 pixels"
    assert page.locator(".output").count() > 3
    assert page.locator("details.success").count() > 0, "no solution is folded"
    links = {link.inner_text(): link.get_attribute("href") for link in page.locator(".downloads a").all()}
    script = page.request.get(f"{address}tutorials/{name}/{links['Script']}")
    assert script.text() == (ROOT / f"tutorials/{name}.py").read_text()
    notebook = json.loads(page.request.get(f"{address}tutorials/{name}/{links['Notebook']}").text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 5
    for cell in code:
        compile("".join(cell["source"]), cell["id"], "exec")
        assert cell["outputs"] == []
    assert "??? " not in json.dumps(notebook)


@pytest.mark.parametrize("name", FIRST_SCREEN)
def test_a_tutorial_starts_with_a_figure(open_page, name):
    """On the first screen of a laptop, with all code above it folded."""
    box = open_page(f"tutorials/{name}/", width=1280, height=900).locator("img.figure:visible").first.bounding_box()
    assert box["y"] + box["height"] / 2 < 900


@pytest.mark.parametrize("name", TUTORIALS)
def test_figures_of_tutorials_fit_a_phone(open_page, name):
    """They do not scroll, and are hardly smaller than drawn, so that their text is readable."""
    page = open_page(f"tutorials/{name}/", width=PHONE, color_scheme="dark")
    page.evaluate("document.querySelectorAll('details').forEach(details => details.open = true)")
    page.evaluate("document.querySelectorAll('img').forEach(image => image.loading = 'eager')")
    page.wait_for_function("[...document.images].every(image => image.complete)")
    sizes = page.eval_on_selector_all("img.figure:not(.wide)", "all => all.map(i => [i.width, i.naturalWidth])")
    assert sizes
    assert all(0.7 * natural < width <= PHONE for width, natural in sizes), sizes
    assert page.locator("img.wide:visible").count() == 0


def test_print_leaves_nothing_folded_or_cut_off(open_page):
    page = open_page("concepts/2-local/")
    page.emulate_media(media="print")
    assert page.locator(".live code").first.evaluate("code => getComputedStyle(code).whiteSpace") == "pre-wrap"
    assert not page.locator(".md-header").is_visible()
