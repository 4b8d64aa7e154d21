"""The kept table of `builder.windows` has the rows that the script measures, and a repeated row gives its number."""

from pathlib import Path

import pytest

from builder.windows import CHANGES, measure, table
from tests.training.runs import ALONE

KEPT = Path(__file__).parents[2] / "docs" / "measurements" / "windows-fashion.txt"


def test_the_kept_table_has_a_row_per_change():
    made = table([(changes, 0.0) for changes in CHANGES])
    assert [line.rpartition("|")[0].rpartition("|")[0] for line in made.splitlines()] == [
        line.rpartition("|")[0].rpartition("|")[0] for line in KEPT.read_text(encoding="utf-8").splitlines()
    ]


@pytest.mark.long
def test_a_kept_accuracy_is_measured_again():
    """The last row has the fewest tokens. Rounding on another machine may decide the closest of 2,500 images."""
    printed = float(KEPT.read_text(encoding="utf-8").splitlines()[-1].split("|")[-2].strip(" %"))
    assert 100 * measure(CHANGES[-1], ALONE) == pytest.approx(printed, abs=0.1)
