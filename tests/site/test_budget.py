"""A page is small: its HTML, style sheets and scripts, compressed as a server sends them, stay below 300 KB."""

import gzip
import re
from functools import cache

LIMIT = 300_000
LINK = re.compile(r'<link rel="stylesheet" href="([^"]+)"|<script src="([^"]+)"')
IMPORT = re.compile(r'^(?:import|export) .* from "(\./[^"]+)"', re.MULTILINE)


@cache
def sent(path):
    """Bytes of a file after gzip at its default level."""
    return len(gzip.compress(path.read_bytes(), 6))


def loaded(page):
    """The page, and every style sheet and script that it loads, with the modules that these import."""
    found, waiting = (
        {page},
        [(page.parent / (style or script)).resolve() for style, script in LINK.findall(page.read_text())],
    )
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            if path.suffix == ".js":
                waiting += [(path.parent / name).resolve() for name in IMPORT.findall(path.read_text())]
    return found


def test_every_page_is_below_its_budget(site):
    pages = {str(page.relative_to(site)): loaded(page) for page in site.rglob("index.html")}
    assert len(pages) > 30
    assert site / "js/attention-cost.js" in pages["index.html"], "imports are not followed"
    totals = {name: sum(map(sent, files)) for name, files in pages.items()}
    assert {name: total for name, total in totals.items() if total >= LIMIT} == {}
