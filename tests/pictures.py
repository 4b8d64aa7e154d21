"""Comparing SVG pictures drawn by matplotlib."""

import re
from pathlib import Path

VERSION = re.compile(r"Matplotlib v[^,]+,")
NAME = re.compile(r"\b[mpC][0-9a-f_]{10,}\b")  # name of a shape, a hash of its coordinates
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def assert_same_picture(drawn: Path, kept: Path, tolerance: float = 0.01) -> None:
    """Assert that two SVGs draw the same to `tolerance` points, if the same version of matplotlib drew both.

    Bytes may differ: layouts are solved in floating point, and processors differ in the last digit written.
    """
    one, other = drawn.read_text(encoding="utf-8"), kept.read_text(encoding="utf-8")
    if VERSION.findall(one) != VERSION.findall(other):
        return
    one, other = NAME.sub("shape", one), NAME.sub("shape", other)
    assert NUMBER.split(one) == NUMBER.split(other), f"{drawn.name} draws other shapes than {kept}"
    distances = (abs(float(a) - float(b)) for a, b in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True))
    assert max(distances) <= tolerance, f"{drawn.name} has shapes at other places than {kept}"
