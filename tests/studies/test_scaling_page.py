"""docs/scaling.md: its statements follow from the kept records."""

import json
from pathlib import Path

import pytest

from hatnet.complexity import mhsa_cost
from hatnet.complexity.window_sizes import cheapest_window_sizes
from hatnet.studies.scaling import read, write
from hatnet.studies.scaling.table6 import dense_macs

DOCS = Path(__file__).parents[2] / "docs"
RECORDS = sorted((DOCS / "measurements").glob("scaling-*.json"))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_kept_record_is_written_as_it_was_read(path, tmp_path):
    record = read(path)
    assert record.complete
    write(record, tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    for point in record.points:  # the formulas have not changed since
        side = record.settings.side(point.size)
        macs = record.settings.attentions()[point.module].cost(side, side).total_macs
        assert point.macs == record.settings.batch * macs


def test_statements_of_the_page_hold_in_the_records():
    stage_0, stage_2 = (read(DOCS / "measurements" / f"scaling-stage-{stage}-cpu.json") for stage in (0, 2))
    first, second = stage_0.comparisons("h-mhsa"), stage_2.comparisons("h-mhsa")
    assert second[0].verdict == "slower"  # at 14 x 14 tokens
    assert {comparison.verdict for comparison in first} == {"faster"}
    assert 1 < stage_0.exponent("h-mhsa").value < stage_0.exponent("mhsa").value
    assert max(comparison.clock.median / comparison.formula for comparison in first) < 1
    for record in (stage_0, stage_2):
        assert record.rate("h-mhsa") < record.rate("mhsa")
    assert round(cheapest_window_sizes(14, 14, 320).macs / mhsa_cost(14, 14, 320).total_macs, 2) == 0.96
    default = dense_macs([8, 8, 8], [16, 8, 4])
    assert round((dense_macs([8, 8, 8], [8, 4, 2]) - default) / 1e9, 1) == 37.7


def test_the_formula_orders_table_6_as_the_paper_does():
    rows = json.loads((DOCS / "data" / "table6.json").read_text())["rows"]
    by_paper = sorted(rows, key=lambda row: row["flops"])
    by_formula = sorted(rows, key=lambda row: dense_macs(row["G1"], row["G2"]))
    assert by_paper == by_formula
