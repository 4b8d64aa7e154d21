"""The arithmetic of the times, and the statements of docs/scaling.md that follow from the kept records."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

from hatnet.complexity import mhsa_cost
from hatnet.complexity.window_sizes import cheapest_window_sizes
from hatnet.studies.common.statistics import quartiles
from hatnet.studies.scaling import fit_exponent, read, write
from hatnet.studies.scaling.fit import crossings, macs_per_second
from hatnet.studies.scaling.tables import dense_macs

DOCS = Path(__file__).parents[2] / "docs"
RECORDS = sorted((DOCS / "measurements").glob("scaling-*.json"))


@given(
    exponent=st.floats(0, 3),
    factor=st.floats(1e-9, 1e3),
    tokens=st.lists(st.integers(1, 10**6), min_size=3, max_size=9, unique=True),
)
def test_a_power_law_has_its_exponent_and_no_error(exponent, factor, tokens):
    fit = fit_exponent(tokens, [factor * n**exponent for n in tokens])
    assert fit.value == pytest.approx(exponent, abs=1e-7)  # logarithms over a narrow range of tokens are rounded
    assert fit.error < 1e-6


def test_the_error_of_an_exponent_is_the_standard_error_of_least_squares():
    tokens = np.array([196, 400, 784, 1600, 3136])
    times = 1e-6 * tokens**1.5 * np.exp(np.random.default_rng(1).normal(scale=0.1, size=5))
    line = linregress(np.log(tokens), np.log(times))
    fit = fit_exponent(tokens, times)
    assert (fit.value, fit.error) == pytest.approx((line.slope, line.stderr))
    assert abs(fit.value - 1.5) < 3 * fit.error


def test_one_size_has_no_exponent_and_two_sizes_have_no_error():
    assert fit_exponent([196], [1.0]) is None
    assert math.isnan(fit_exponent([196, 784], [1.0, 4.0]).error)


def test_quartiles_rates_and_crossings_match_values_by_hand():
    assert [quartiles(values).spread for values in ([3.0], [1.0, 2.0, 3.0, 4.0, 5.0])] == pytest.approx([0, 2 / 3])
    assert macs_per_second([8, 8], [1.0, 4.0]) == pytest.approx(4.0)
    assert crossings([10, 1000, 2000], [0.1, 10.0, 20.0]) == [pytest.approx(100)]
    assert crossings([10, 1000], [2.0, 3.0]) == []


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
