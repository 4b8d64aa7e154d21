"""What a shared page shows elsewhere, and how a reader gets the code."""

import html
import io
import re
from types import SimpleNamespace

import pytest

pytest.importorskip("math_core", reason="the extra `docs` is not installed: pip install -e '.[docs]'")

from PIL import Image

from builder.checkout import AddressError, insert_checkout, repository
from builder.heads import LONGEST, PICTURE, SHORTEST, DescriptionError, card, describe
from builder.social import social_picture
from tests.site.conftest import ROOT

ADDRESS = "https://example.org/group/hat-net.git"


def test_a_description_is_the_first_sentence_or_more_if_it_is_short():
    first, second = "Windows of <b>G</b> &amp; more, " + "word " * 18 + "end.", "Not this one, it is too much."
    assert describe(f"<h1>T</h1><p>Short.</p>\n<p>{first}\n{second}</p>", "x.md").endswith("word end.")
    assert describe("<p>Half of it. " + "And then a second sentence that makes it long.</p>", "x.md").startswith(
        "Half of it. A"
    )
    long = describe(f"<p>{'word ' * 100}.</p>", "x.md")
    assert SHORTEST <= len(long) <= LONGEST
    assert long.endswith("word …")
    with pytest.raises(DescriptionError, match=r"x\.md has no paragraph .* front matter"):
        describe("<h1>Title</h1><p>Short.</p>", "x.md")


@pytest.mark.parametrize(
    ("site_url", "picture"),
    [(None, f"../../{PICTURE}"), ("https://example.org/hat", f"https://example.org/hat/{PICTURE}")],
    ids=["unset", "set"],
)
def test_the_picture_has_an_address_with_and_without_that_of_the_site(site_url, picture):
    page = SimpleNamespace(
        title="A <b>page</b>",
        is_homepage=False,
        url="concepts/1/",
        meta={"description": "With &quot;quotes&quot;"},
        canonical_url=site_url and f"{site_url}/concepts/1/",
    )
    tags = card(page, SimpleNamespace(site_name="HAT-Net", site_url=site_url))
    assert f'<meta property="og:image" content="{picture}">' in tags
    assert '<meta property="og:title" content="A page">' in tags
    assert "With &quot;quotes&quot;" in tags
    assert ("og:url" in tags) == bool(site_url)


def test_the_picture_has_the_size_that_sites_expect_and_both_colours():
    data = social_picture(ROOT / "hatnet/assets/chelsea.png", "HAT-Net", "Near in detail, far in summary. " * 3)
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    assert picture.size == (1200, 630)
    assert len(data) < 300_000
    near, far = (0, 114, 178), (213, 94, 0)
    counts = {colour: count for count, colour in picture.getcolors(2**24)}
    close = [
        sum(n for c, n in counts.items() if sum(abs(a - b) for a, b in zip(c, goal, strict=True)) < 30)
        for goal in (near, far)
    ]
    assert min(close) > 1000, close


def test_the_steps_follow_the_address():
    page = "Before\n\n@checkout\n\n`@checkout` stays."
    without = insert_checkout(page, repository({"repository": ""}))
    assert "git clone" not in without
    assert "README.md" in without
    assert "pyproject.toml" in without
    assert "`@checkout` stays" in without
    there = insert_checkout(page, repository({"repository": ADDRESS}))
    assert f"git clone {ADDRESS}\ncd hat-net\n" in there
    assert f"]({ADDRESS})" in there
    assert "README.md" not in there


@pytest.mark.parametrize(
    "address", ["git@example.org:group/hat-net", "http://example.org/x", "https://example.org", "x; rm"]
)
def test_an_address_that_cannot_be_cloned_is_refused(address):
    with pytest.raises(AddressError, match=r"extra\.repository in mkdocs\.yml .* must be"):
        repository({"repository": address})


def test_every_page_has_a_description_and_the_picture(site):
    pages = list(site.rglob("index.html"))
    assert len(pages) > 30
    seen = {}
    for page in pages:
        head = page.read_text(encoding="utf-8").partition("</head>")[0]
        description = html.unescape(re.search(r'<meta name="description" content="([^"]*)"', head)[1])
        assert SHORTEST <= len(description) <= LONGEST, f"{page.parent}: {description}"
        assert html.unescape(re.search(r'"og:description" content="([^"]*)"', head)[1]) == description
        assert 'name="twitter:card"' in head
        picture = re.search(r'"og:image" content="([^"]*)"', head)[1]
        assert (page.parent / picture).resolve() == (site / PICTURE).resolve(), page
        seen.setdefault(description, []).append(page.parent.name)
    assert {text: names for text, names in seen.items() if len(names) > 1} == {}
    with Image.open(site / PICTURE) as picture:
        assert picture.size == (1200, 630)


def test_the_pages_that_need_the_code_say_how_to_get_it(site):
    """The address is unset in this repository's mkdocs.yml or leads to a clone command, on the same three pages."""
    for name in ("", "tutorials", "compatibility"):
        text = (site / name / "index.html").read_text(encoding="utf-8")
        assert "pyproject.toml" in text or "git clone https://" in text, name
