"""How to get the code: from the address in `extra.repository` of mkdocs.yml, or without one, by a checkout one has.

The line `@checkout` on a page becomes these steps, so that no page has an address of its own.
"""

import re
from collections.abc import Mapping

from mkdocs.exceptions import PluginError

ICON = "fontawesome/brands/git-alt"


class AddressError(PluginError):
    """`extra.repository` is not an address that one can clone from."""


def repository(extra: Mapping[str, object]) -> str | None:
    """The address to clone from, or None while none is set.

    Raises:
        AddressError: if it is not an https address.
    """
    address = extra.get("repository") or None
    if address is not None and not re.fullmatch(r"https://[\w.-]+(:\d+)?(/[\w.~-]+)+", str(address)):
        raise AddressError(
            f"extra.repository in mkdocs.yml is {address!r}; it must be an address to clone from, such as "
            "https://example.org/group/hat-net, or empty"
        )
    return None if address is None else str(address)


def insert_checkout(markdown: str, address: str | None) -> str:
    """Replace `@checkout` lines by the steps that lead to a shell at the top of a checkout."""
    return re.sub(r"^@checkout$", lambda _: steps(address), markdown, flags=re.MULTILINE)


def steps(address: str | None) -> str:
    """Markdown of the steps.

    >>> print(steps("https://example.org/group/hat-net.git").partition("[")[0].rstrip())
    ```console
    git clone https://example.org/group/hat-net.git
    cd hat-net
    ```
    """
    if address is None:
        return (
            "You need a copy of the repository, a *checkout*, and Python 3.11 or newer. Open a shell in its top\n"
            "folder, which contains `README.md` and `pyproject.toml`."
        )
    folder = address.rsplit("/", 1)[1].removesuffix(".git")
    return (
        f"```console\ngit clone {address}\ncd {folder}\n```\n\n"
        f"[The repository]({address}) has the code, the tests and this site. You need Python 3.11 or newer."
    )
