"""What other sites show of a page that someone shares: its description, and the picture of the site.

A description is that of the page's front matter, or the beginning of its first paragraph.
"""

import html
import re

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

PICTURE = "assets/social.png"
SHORTEST, ENOUGH, LONGEST = 50, 100, 200  # characters: search engines and messengers cut longer descriptions
PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)


class DescriptionError(PluginError):
    """A page has no text to describe it."""


def describe(text: str, name: str) -> str:
    """The beginning of the first paragraph of a page's HTML: whole sentences if they fit, else whole words.

    Args:
        text: HTML of the page's content.
        name: the page, for the error.

    Raises:
        DescriptionError: if there is no paragraph.
    """
    paragraphs = (plain(paragraph) for paragraph in PARAGRAPH.findall(text))
    first = next((paragraph for paragraph in paragraphs if len(paragraph) >= SHORTEST), None)
    if first is None:
        raise DescriptionError(
            f"{name} has no paragraph of {SHORTEST} characters; add `description:` to its front matter"
        )
    description = ""
    for sentence in re.split(r"(?<=[.?!:])\s+", first):
        if description and (len(description) >= ENOUGH or len(description) + len(sentence) >= LONGEST):
            break
        description = f"{description} {sentence}".strip()
    if len(description) > LONGEST:
        description = description[: LONGEST - 2].rsplit(" ", 1)[0].rstrip(",;:") + " …"
    return re.sub(r":$", ".", description)


def plain(markup: str) -> str:
    """The text of HTML on one line.

    >>> plain("Cells of <b>G</b> &amp;\\n<i>windows</i>")
    'Cells of G & windows'
    """
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markup)).split())


def card(page: Page, config: MkDocsConfig) -> str:
    """Meta elements for a page that is shared, whose description is escaped already, as the theme needs it.

    Without `site_url` the picture's address is relative to the page.
    """
    title = page.title if not page.is_homepage else config.site_name
    picture = f"{config.site_url.rstrip('/')}/{PICTURE}" if config.site_url else get_relative_url(PICTURE, page.url)
    facts = {
        "og:type": "website",
        "og:site_name": config.site_name,
        "og:title": html.escape(plain(str(title))),
        "og:description": page.meta["description"],
        **({"og:url": page.canonical_url} if page.canonical_url else {}),
        "og:image": picture,
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": "A photo of a cat in coarse merged cells, with one window of fine tokens.",
    }
    tags = [f'<meta property="{name}" content="{value}">' for name, value in facts.items()]
    return "".join([*tags, '<meta name="twitter:card" content="summary_large_image">'])
