"""Equations, code, tests and the ledger must agree: a missing or mistyped tag stops the build of the site."""

import shutil

import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: pip install -e '.[docs]'")

from builder.ledger import LEDGER, check_ledger
from builder.traceability import TraceabilityError, check_equations
from tests.site.conftest import ROOT, alter


@pytest.fixture
def copy(tmp_path):
    for package in ("reference", "hatnet", "tests"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / LEDGER, tmp_path / LEDGER)
    return tmp_path


def test_every_equation_has_its_lines_and_its_test():
    rows = check_equations(ROOT)
    assert [row.equation for row in rows] == list(range(1, 16))
    for row in rows:
        for line in (*row.reference, *row.hatnet):
            assert line.code in (ROOT / line.path).read_text().splitlines()[line.number - 1]


def test_code_and_ledger_carry_the_same_tags():
    assert len(check_ledger(ROOT)) >= 8


def test_the_lines_that_define_an_equation_come_first():
    """Calls, backward passes and attention maps carry tags too, but define nothing."""
    rows = check_equations(ROOT)
    found = {row.equation: [line.owner for line in row.defining(row.reference)] for row in rows}
    local, far = "local_attention", "global_attention"
    assert found == {
        **{1: ["mhsa"], 2: ["attention_weights", "multi_head_attention"], 3: ["mhsa", "mhsa", "block"], 4: ["block"]},
        **{5: [], 6: [local], 7: [local], 8: [local], 9: ["h_mhsa"], 10: ["merge"]},
        **{11: [far, far], 12: [far, far], 13: [far], 14: ["aggregate", "block"], 15: []},
    }
    for row in rows:
        everything = [*row.defining(row.reference), *row.defining(row.hatnet), *row.others()]
        assert sorted(map(id, everything)) == sorted(map(id, (*row.reference, *row.hatnet)))


def test_a_tag_elsewhere_does_not_define_an_equation(copy):
    """Eq. 9 has tags in the attention maps of both packages as well."""
    alter(copy / "reference/hierarchical_attention.py", "Eq. 9, D2", "D2")
    with pytest.raises(TraceabilityError, match="Eq. 9 has no tag in reference/"):
        check_equations(copy)


@pytest.mark.parametrize(
    ("package", "old", "new", "message"),
    [
        ("reference", "Eq. 9", "the residual", "Eq. 9 has no tag in reference/"),
        ("hatnet", "Eq. 9", "the residual", "Eq. 9 has no tag in hatnet/"),
        ("tests", "Eq.", "Formula", "Eq. 14 has no tag in tests/"),
        ("reference", "Eq. 10", "Eq. 16", r"reference/hierarchical_attention.py:\d+ is tagged Eq. 16"),
    ],
)
def test_a_missing_or_mistyped_equation_is_refused(copy, package, old, new, message):
    for path in (copy / package).rglob("*.py"):
        path.write_text(path.read_text().replace(old, new))
    with pytest.raises(TraceabilityError, match=message):
        check_equations(copy)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (LEDGER, "## D2", "## D20", "D2 is tagged at .*, but has no entry"),
        (LEDGER, "## D2", "## D20", "D20 has an entry, but no line is tagged with it"),
        (LEDGER, "## D3", "## D2", "D2 has two entries"),
        (LEDGER, "::test_", "::test_not_", "names tests/.*, which does not exist"),
        (LEDGER, "tests/", "the tests in ", "D1 names no test"),
        ("hatnet/layers.py", "# D6", "# D66", "D66 is tagged at hatnet/layers.py:.*, but has no entry"),
    ],
)
def test_a_ledger_that_does_not_match_is_refused(copy, file, old, new, message):
    alter(copy / file, old, new)
    with pytest.raises(TraceabilityError, match=message):
        check_ledger(copy)
