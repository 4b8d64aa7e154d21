"""What the page about precision says in words, against the record."""

from pathlib import Path

import pytest

from hatnet.equivalence import TOLERANCES

pytest.importorskip("matplotlib")
from builder.precision import VARIANTS, growth, read, unit_roundoff

RECORD = read(Path(__file__).parents[2] / "docs" / "measurements" / "precision.json")
LOW = ("TF32", "float16", "bfloat16")


def test_each_limit_is_about_ten_to_twenty_times_the_largest_error():
    assert {f"torch.{row['dtype']}" for row in RECORD.noise} == {str(dtype) for dtype in TOLERANCES}
    for row in RECORD.noise:
        [limit] = [limit for dtype, limit in TOLERANCES.items() if str(dtype) == f"torch.{row['dtype']}"]
        assert 9.5 < limit / row["largest"] < 20.5


@pytest.mark.parametrize("variant", VARIANTS)
def test_errors_grow_more_slowly_than_a_random_walk_and_stay_within_a_few_units(variant):
    for name in ("float32", *LOW):
        assert max(growth(RECORD.errors(variant, "random", name, "output"))) < 0.5
    for name in LOW:
        for measure, most in (("output", 4.5), ("gradient", 7)):
            errors = RECORD.errors(variant, "random", name, measure)
            assert max(map(max, errors)) / unit_roundoff(name) < most


def test_nothing_overflowed():
    assert not any(sum(run["infinite"]) for run in RECORD.runs if "infinite" in run)
