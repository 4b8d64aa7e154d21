"""The tiny example of concepts 1 to 5: pages, pictures and the widget show the same numbers, all from the reference."""

import re

import numpy as np
import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: pip install -e '.[docs]'")

from builder import worked
from builder.doctests import ExampleError, check_page_examples, run_examples
from tests.site.conftest import ROOT, alter

CONCEPTS = ROOT / "docs/concepts"
ROUNDED = 0.0051  # the pictures have two decimals


def picture(step):
    """The numbers of each matrix of a picture, read from its HTML; NaN where there is none."""
    found = []
    for table in re.findall("<table.*?</table>", "".join(worked.worked(step))):
        rows = [re.findall("<td[^>]*>(?:<[^>]*>)?([^<]*)<", row) for row in re.findall("<tr>.*?</tr>", table)]
        found.append(np.array([[float("nan" if cell == "none" else cell) for cell in row] for row in rows]))
    return found


def test_every_example_on_a_page_prints_what_the_page_shows(tmp_path):
    assert len(check_page_examples(ROOT)) >= 6
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs/page.md"
    page.write_text((CONCEPTS / "3-merging.md").read_text())
    alter(page, "2.16", "2.17")
    with pytest.raises(ExampleError, match=r"2\.16"):
        check_page_examples(tmp_path)


def test_the_pictures_show_the_numbers_of_the_examples():
    """The pictures come from `builder.worked`, the examples are typed on the pages, with matrices of their own."""
    names = {step: run_examples(CONCEPTS / f"{step}.md") for step in ("1-attention", "2-local", "4-global")}
    one, two, four = names.values()
    weights, V, A = picture("attention")
    for shown, computed in ((weights, one["weights"][0]), (V, one["V"]), (A, one["A"])):
        np.testing.assert_allclose(shown, computed, rtol=0, atol=ROUNDED)
    near, _, X, A1 = picture("local")
    np.testing.assert_allclose(X, one["X"])
    np.testing.assert_allclose(A1, two["A1"][0], rtol=0, atol=ROUNDED)
    np.testing.assert_allclose(np.nansum(near, axis=1), 1, rtol=0, atol=0.01)
    assert np.isnan(near).sum() == 4  # two windows: tokens 0 and 1, and token 2
    means, _, merged = picture("merging")
    np.testing.assert_allclose(merged, four["merged"][0], rtol=0, atol=ROUNDED)
    np.testing.assert_allclose(np.nan_to_num(means) @ A1, merged, rtol=0, atol=0.01)
    far, _, A2 = picture("global")
    np.testing.assert_allclose(far @ merged, A2, rtol=0, atol=0.03)
    first, second, _, sum_ = picture("aggregation")
    np.testing.assert_allclose(first + second + X, sum_, rtol=0, atol=0.015)
    five = run_examples(CONCEPTS / "5-aggregation.md")
    np.testing.assert_allclose((five["A1"] + five["A2"])[0] + X, sum_, rtol=0, atol=ROUNDED)


def test_the_widget_starts_with_the_first_query_of_the_example():
    names = run_examples(CONCEPTS / "1-attention.md")
    given = dict(re.findall(r'(query|keys|values)="([^"]*)"', (CONCEPTS / "1-attention.md").read_text()))
    read = {name: [[float(n) for n in point.split(",")] for point in text.split()] for name, text in given.items()}
    assert read == {"query": [names["Q"][0].tolist()], "keys": names["K"].tolist(), "values": names["V"].tolist()}
