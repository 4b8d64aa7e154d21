"""mkdocs' events for pages: directives become Markdown before it is converted, equation tags become labels after."""

import logging
import re
from html import escape
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.pages import Page

from builder.checkout import ICON, insert_checkout, repository
from builder.code import insert_code, label_tags
from builder.doctests import DoctestsExtension
from builder.heads import card, describe
from builder.mathematics import MathematicsExtension
from builder.tables import insert_tables

MACROS = {"R": r"\mathbb{R}"}
SEARCH_BOOST = {"concepts/": 4, "tutorials/": 2, "api/": 1e-4}  # a word in a title counts a thousand times as much
WIDE = ("downloads", "side-by-side", "trace")  # classes of blocks that make their page wider


@event_priority(100)  # before mkdocstrings copies the list of extensions
def on_config(config: MkDocsConfig) -> None:
    """Register the Markdown extensions, link to the repository if it has an address, and keep warnings under --quiet.

    mkdocs.yml cannot name the extensions: mkdocs imports them before it loads any hook. --quiet would drop warnings
    before --strict counts them, and a site with dead links would pass.

    Raises:
        AddressError: if the repository's address is none.
    """
    extensions: list[Any] = config.markdown_extensions  # typed as names, but instances are accepted
    extensions += [DoctestsExtension(), MathematicsExtension(MACROS)]
    if address := repository(dict(config.extra)):
        config.extra["social"] = [{"icon": ICON, "link": address, "name": "Repository"}]
    log = logging.getLogger("mkdocs")
    log.setLevel(min(log.level, logging.WARNING))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Replace the directives of a page, and set its place in the results of a search.

    Raises:
        ExcerptError: for a definition that does not exist.
        TraceabilityError: if equations, code and tests do not match.
    """
    for folder, boost in SEARCH_BOOST.items():
        if page.file.src_uri.startswith(folder):
            page.meta.setdefault("search", {}).setdefault("boost", boost)
    root = Path(config.config_file_path).parent
    markdown = insert_checkout(markdown, repository(dict(config.extra)))
    return insert_code(insert_tables(markdown, root), root)  # in this order: tables may contain code


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Turn the equation tags of a page's code into labels, and describe the page unless its front matter does.

    Raises:
        DescriptionError: if there is nothing to describe it with.
    """
    page.meta["description"] = escape(page.meta.get("description") or describe(html, page.file.src_path))
    return label_tags(html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Add what other sites show of a shared page, and to the body the classes of pages with wide blocks.

    In CSS this would be `body:has(.downloads)`, for which browsers search the whole page again after every part of it
    that arrives: seconds for a page of the API.
    """
    wide = [f"with-{name}" for name in WIDE if re.search(rf'class="[^"]*\b{name}(?![\w-])', page.content or "")]
    output = output.replace("<body ", f'<body class="{" ".join(wide)}" ', 1) if wide else output
    return output.replace("</head>", f"{card(page, config)}</head>", 1)
