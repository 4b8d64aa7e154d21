"""Comparing pictures that matplotlib drew as SVG."""

from __future__ import annotations

import re
from pathlib import Path

VERSION = re.compile(r"Matplotlib v[^,]+,")
NAME = re.compile(r"\b[mpC][0-9a-f_]{10,}\b")  # of a shape, made from its coordinates
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def assert_same_picture(drawn: Path, kept: Path, tolerance: float = 0.01) -> None:
    """Two SVGs draw the same, to `tolerance` points; where another version of matplotlib drew one, nothing is said.

    Not to the byte: a layout is solved in floating point, and processors differ in the last digit that is written.
    """
    one, other = drawn.read_text(encoding="utf-8"), kept.read_text(encoding="utf-8")
    if VERSION.findall(one) != VERSION.findall(other):
        return
    one, other = NAME.sub("shape", one), NAME.sub("shape", other)
    assert NUMBER.split(one) == NUMBER.split(other), f"{drawn.name} draws other things than {kept}"
    distances = (abs(float(a) - float(b)) for a, b in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True))
    assert max(distances) <= tolerance, f"{drawn.name} has things at other places than {kept}"
