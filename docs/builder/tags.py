"""The tags in comments: `Eq. 12` or `Eq. 6-8` for the paper's equations, `D3` for entries of docs/paper-vs-code.md."""

import re
from typing import NamedTuple

TAGS = re.compile(r"\b(?:Eq\. ?\d+(?:-\d+)?|D\d+)\b(?:, (?:(?:Eq\. ?)?\d+(?:-\d+)?|D\d+)\b)*")
_ONE = re.compile(r"D(?P<departure>\d+)|(?P<first>\d+)(?:-(?P<last>\d+))?")


class Tags(NamedTuple):
    """The equations and departures that a text refers to."""

    equations: frozenset[int]
    departures: frozenset[int]


def expand(text: str) -> Tags:
    """The numbers behind all tags in a text.

    >>> sorted(expand("# (B, HW, C)    Eq. 6-8, 12, Eq. 3, D2").equations)
    [3, 6, 7, 8, 12]
    >>> expand("a 3x3 convolution, D channels, 4D1")
    Tags(equations=frozenset(), departures=frozenset())
    """
    equations: set[int] = set()
    departures: set[int] = set()
    for tags in TAGS.finditer(text):
        for tag in _ONE.finditer(tags[0]):
            if tag["departure"]:
                departures.add(int(tag["departure"]))
            else:
                equations.update(range(int(tag["first"]), int(tag["last"] or tag["first"]) + 1))
    return Tags(frozenset(equations), frozenset(departures))
