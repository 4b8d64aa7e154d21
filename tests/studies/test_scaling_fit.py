"""The arithmetic of the times: exponents, rates, quartiles and crossings."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import linregress

from hatnet.studies.common.statistics import quartiles
from hatnet.studies.scaling import fit_exponent
from hatnet.studies.scaling.fit import crossings, macs_per_second


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
    """Against scipy's linear regression, for a power law with noise."""
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
