"""Every statistic of the studies equals an independent computation: SciPy, NumPy, or arithmetic written out here."""

from dataclasses import replace
from itertools import pairwise
from math import gamma, isnan, nan, pi, sqrt, tan

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from hatnet.studies.ablation.statistics import (
    Difference,
    compared_accuracies,
    complete_seeds,
    differences,
    residual_deviation,
)
from hatnet.studies.ablation.tables import relative_time
from hatnet.studies.common.statistics import Quartiles, quartiles, schedule, t_quantile
from hatnet.studies.faithfulness.curves import patch_counts
from hatnet.studies.faithfulness.occlusion import rank_correlation, rank_correlations
from hatnet.studies.faithfulness.record import MEASURES, Score, rounded
from hatnet.studies.faithfulness.scorer import curve_points
from hatnet.studies.faithfulness.statistics import BETTER, Interval, improvement, interval, mean_score, verdicts
from hatnet.studies.scaling import Settings
from hatnet.studies.scaling.fit import Comparison, crossings, fit_exponent, macs_per_second
from hatnet.studies.scaling.record import Point, Record
from hatnet.training.several_seeds import spread
from tests.studies.ablation.conftest import make_record, make_times

few = settings(max_examples=20)
fewer = settings(max_examples=8)  # records of an ablation take longer
values = st.floats(-100, 100).map(lambda value: round(value, 6))
positive = st.floats(0.01, 100).map(lambda value: round(value, 6))
samples = st.lists(values, min_size=2, max_size=12).filter(lambda found: np.ptp(found) > 1e-3)


def pairs(of=values, least=2):
    """Two lists of one length."""
    rows = st.lists(st.tuples(of, of), min_size=least, max_size=12)
    return rows.map(lambda found: [list(part) for part in zip(*found, strict=True)])


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 19, 119])
def test_t_quantile_encloses_95_percent_of_the_density(degrees):
    """Student's density, integrated between both signs of the quantile; closed forms for one and two degrees."""
    constant = gamma((degrees + 1) / 2) / (sqrt(degrees * pi) * gamma(degrees / 2))
    t = t_quantile(degrees)
    inside, _ = integrate.quad(lambda x: constant * (1 + x * x / degrees) ** (-(degrees + 1) / 2), -t, t)
    assert inside == pytest.approx(0.95, abs=1e-9)
    if degrees < 3:
        assert t == pytest.approx({1: tan(0.475 * pi), 2: 0.95 * sqrt(2 / (1 - 0.95**2))}[degrees])


@few
@given(st.lists(positive, min_size=1, max_size=12))
def test_quartiles_interpolate_between_sorted_values(found):
    """NumPy's default method; one value is all three."""
    low, median, high = np.quantile(found, [0.25, 0.5, 0.75])
    got = quartiles(found)
    assert (got.low, got.median, got.high) == pytest.approx((low, median, high))
    assert got.spread == pytest.approx((high - low) / median, abs=1e-12)


def test_orders_of_a_schedule_are_uniform():
    """Each of the 6 permutations of 3 items, 3000 rounds: chi-squared with 5 degrees of freedom."""
    counts = {}
    for order in schedule(3, 3000, seed=0):
        counts[tuple(order)] = counts.get(tuple(order), 0) + 1
    assert len(counts) == 6
    assert stats.chisquare(list(counts.values())).pvalue > 1e-3


@few
@given(samples)
def test_interval_of_a_mean_is_students(found):
    got, low_high = interval(found), stats.t.interval(0.95, len(found) - 1, np.mean(found), stats.sem(found))
    assert (got.mean - got.margin, got.mean + got.margin) == pytest.approx(low_high, rel=1e-9, abs=1e-9)
    assert got.sign == (1 if low_high[0] > 0 else -1 if low_high[1] < 0 else 0)
    assert spread(found) == pytest.approx(np.std(found, ddof=1))


def test_interval_that_ends_at_0_is_not_significant():
    assert [Interval(mean, 1.0).sign for mean in (1.0, -1.0, 1.1, -1.1, nan)] == [0, 0, 1, -1, 0]


def make_score(**measures):
    """A score with these values for the images; the other measures get zeros."""
    count = len(next(iter(measures.values())))
    every = {measure: [0.0] * count for measure in MEASURES} | measures
    return Score("mean", "rollout", "trained", **every, insertion_curve=[], deletion_curve=[])


@pytest.mark.parametrize("measure", MEASURES)
@few
@given(pairs())
def test_improvement_is_a_paired_difference(measure, found):
    """Deletion is better if lower. The interval is that of the paired t-test."""
    one, other = found
    assume(np.ptp(np.subtract(one, other)) > 1e-3)
    sign = {"insertion": 1, "deletion": -1, "occlusion": 1, "size": 1}[measure]
    score, control = make_score(**{measure: one}), make_score(**{measure: other})
    got = improvement(score, control, measure)
    test = stats.ttest_rel(sign * np.array(one), sign * np.array(other))
    low_high = test.confidence_interval(0.95)
    assert (got.mean - got.margin, got.mean + got.margin) == pytest.approx(tuple(low_high), rel=1e-7, abs=1e-7)
    want = dict.fromkeys(MEASURES, 0)
    if abs(test.pvalue - 0.05) > 1e-6:
        want[measure] = 0 if test.pvalue > 0.05 else 1 if test.statistic > 0 else -1
        assert verdicts(score, control) == want
    assert BETTER[measure] == sign


@few
@given(st.lists(st.tuples(values, values, values), min_size=2, max_size=6))
def test_mean_score_averages_networks_image_by_image(images):
    networks = np.array(images).T  # (networks, images)
    scores = [make_score(**{measure: list(place + row) for place, measure in enumerate(MEASURES)}) for row in networks]
    found = mean_score(scores)
    for place, measure in enumerate(MEASURES):
        assert getattr(found, measure) == pytest.approx(list(place + networks.mean(axis=0)))


@few
@given(st.integers(2, 9), st.integers(1, 6), st.integers(0, 2**31))
def test_points_of_a_curve_have_means_and_standard_errors_over_images(images, points, seed):
    curves = np.random.default_rng(seed).random((images, points))
    found = np.array(curve_points(torch.from_numpy(curves)))
    assert np.abs(found[:, 0] - curves.mean(axis=0)).max() <= 0.5001e-4  # rounded to four places
    assert np.abs(found[:, 1] - stats.sem(curves, axis=0, ddof=1)).max() <= 0.5001e-4
    assert rounded([0.12344, 0.12346, -1.0]) == [0.1234, 0.1235, -1.0]


def ranks(found):
    """Ranks from 1; equal values share the mean of their ranks."""
    return [sum(other < value for other in found) + (1 + sum(other == value for other in found)) / 2 for value in found]


@few
@given(pairs(st.integers(-3, 3), least=3))
def test_rank_correlation_is_pearsons_of_the_ranks(found):
    one, other = map(ranks, found)
    flat = len(set(one)) == 1 or len(set(other)) == 1
    want = 0.0 if flat else np.corrcoef(one, other)[0, 1]
    assert rank_correlation(*found) == pytest.approx(want, abs=1e-12)
    maps, others = torch.tensor([found[0], found[1]]), torch.tensor([found[1], found[1]])
    assert rank_correlations(maps, others) == pytest.approx([want, float(len(set(other)) > 1)], abs=1e-12)


@given(st.integers(1, 60), st.integers(1, 60))
def test_patch_counts_are_even_shares(patches, steps):
    counts = patch_counts(patches, steps)
    assert (len(counts), counts[0], counts[-1]) == (steps + 1, 0, patches)
    assert all(abs(count - patches * step / steps) <= 0.5 for step, count in enumerate(counts))


@fewer
@given(pairs(st.floats(0.5, 0.9).map(lambda value: round(value, 4))))
def test_margin_of_two_arms_is_that_of_the_paired_t_test(found):
    """With two arms, the spread of all arms together is that of the differences."""
    base, other = found
    assume(np.ptp(np.subtract(base, other)) > 1e-3)
    got = differences(make_record({"h-mhsa": base, "local": other}))["local"]
    points = 100 * np.subtract(other, base)
    test = stats.ttest_rel(100 * np.array(other), 100 * np.array(base))
    low, high = test.confidence_interval(0.95)
    assert got.points == pytest.approx(points, abs=1e-9)
    assert (got.mean - got.margin, got.mean + got.margin) == pytest.approx((low, high), rel=1e-7, abs=1e-7)
    assert got.error == pytest.approx(stats.sem(points))
    if abs(test.pvalue - 0.05) > 1e-6:
        assert got.verdict == ("unclear" if test.pvalue > 0.05 else "better" if test.statistic > 0 else "worse")


tables = st.tuples(st.integers(2, 4), st.integers(2, 5), st.integers(0, 2**31))


def drawn_table(arms, seeds, seed):
    return np.random.default_rng(seed).normal(80, 3, (arms, seeds)).tolist()


@few
@given(tables)
def test_residual_deviation_is_that_of_a_linear_model(size):
    """Least squares with one column for each arm and each seed; residuals have (arms - 1)(seeds - 1) degrees."""
    table = np.array(drawn_table(*size))
    arms, seeds = np.indices(table.shape).reshape(2, -1)
    design = np.hstack([np.eye(table.shape[0])[arms], np.eye(table.shape[1])[seeds]])
    solution, *_ = np.linalg.lstsq(design, table.ravel(), rcond=None)
    degrees = table.size - np.linalg.matrix_rank(design)
    want = sqrt(((table.ravel() - design @ solution) ** 2).sum() / degrees)
    assert residual_deviation(table.tolist()) == pytest.approx(want)
    assert isnan(residual_deviation([[1.0, 2.0]]))
    assert isnan(residual_deviation([[1.0], [2.0]]))


@fewer
@given(tables)
def test_margin_of_several_arms_uses_the_spread_of_all(size):
    """A difference of two means of n runs has a standard error of s sqrt(2 / n)."""
    table = np.array(drawn_table(*size)) / 100
    arms, seeds = table.shape
    record = make_record(dict(zip(("h-mhsa", "local", "global", "none"), table.tolist(), strict=False)))
    residual = 100 * table - 100 * table.mean(axis=1, keepdims=True) - 100 * table.mean(axis=0) + 100 * table.mean()
    degrees = (arms - 1) * (seeds - 1)
    half = stats.t.ppf(0.975, degrees) * sqrt((residual**2).sum() / degrees) * sqrt(2 / seeds)
    found = differences(record)
    assert [difference.margin for difference in found.values()] == pytest.approx([half] * (arms - 1))
    for row, difference in zip(table[1:], found.values(), strict=True):
        assert difference.mean == pytest.approx(100 * (row.mean() - table[0].mean()))


def test_statistics_of_one_seed_are_unknown_and_unequal_seeds_are_left_out():
    one = differences(make_record({"h-mhsa": [0.8], "local": [0.9]}))["local"]
    assert (one.mean, one.verdict) == (pytest.approx(10), "-")
    assert isnan(one.error)
    assert isnan(one.margin)
    assert [Difference("a", (mean,), 1.0).verdict for mean in (1.0, 1.1, -1.1)] == ["unclear", "better", "worse"]
    record = make_record({"h-mhsa": [0.8, 0.7, 0.6], "local": [0.9, 0.8]})
    assert complete_seeds(record) == [0, 1]
    assert compared_accuracies(record, "h-mhsa") == pytest.approx([80, 70])
    assert differences(make_record({"local": [0.9, 0.8]})) == {}


@few
@given(pairs(positive, least=1))
def test_relative_time_is_compared_round_by_round(found):
    times = replace(make_times(["local"])[0], seconds={"local": found[0], "h-mhsa": found[1]})
    got = relative_time(times, "local")
    want = np.quantile(np.divide(*found), [0.25, 0.5, 0.75])
    assert (got.low, got.median, got.high) == pytest.approx(tuple(want))
    assert relative_time(times, "none") is None


@few
@given(pairs(positive, least=3))
def test_exponent_is_the_slope_of_the_logarithms_with_its_standard_error(found):
    tokens, costs = found
    assume(np.ptp(np.log(tokens)) > 0.1)
    assume(np.ptp(np.log(costs)) > 1e-3)
    got, line = fit_exponent(tokens, costs), stats.linregress(np.log(tokens), np.log(costs))
    assert (got.value, got.error) == pytest.approx((line.slope, line.stderr), rel=1e-6, abs=1e-9)


def test_exponent_of_two_sizes_has_no_error_and_of_one_size_does_not_exist():
    two = fit_exponent([10, 1000], [3.0, 300.0])
    assert two.value == pytest.approx(1)
    assert isnan(two.error)
    assert fit_exponent([10, 10], [1.0, 2.0]) is fit_exponent([], []) is None


@pytest.mark.parametrize("function", [fit_exponent, macs_per_second, crossings])
@pytest.mark.parametrize("values", [[1.0, 0.0], [1.0, -2.0], [1.0, float("nan")], [1.0, 2.0, 3.0], [1.0]])
def test_lists_without_logarithms_or_of_two_lengths_are_refused(function, values):
    for lists in ((values, [1, 2]), ([1, 2], values)):
        with pytest.raises(ValueError, match="finite|must have the same length"):
            function(*lists)


@few
@given(pairs(positive, least=1))
def test_rate_is_the_geometric_mean(found):
    assert macs_per_second(*found) == pytest.approx(stats.gmean(np.divide(*found)))


@few
@given(st.lists(positive, min_size=1, max_size=8))
def test_ratios_cross_1_where_the_polyline_does(ratios):
    """On logarithmic axes: a line between neighbours that lie on different sides of 1."""
    tokens, want = [4**place for place in range(1, len(ratios) + 1)], []
    for place, (one, other) in enumerate(pairwise(np.log(ratios)), start=1):
        if (one < 0) != (other < 0):
            want.append(4 ** (place + one / (one - other)))
    assert crossings(tokens, ratios) == pytest.approx(want)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(1.1, 2, "faster"), (0.5, 0.9, "slower"), (0.9, 1.1, "even"), (1, 2, "even")]
)
def test_three_quarters_of_the_rounds_decide(low, high, verdict):
    assert Comparison(32, 64, 1.0, Quartiles(low, 1.0, high)).verdict == verdict


@few
@given(st.lists(st.lists(positive, min_size=3, max_size=3), min_size=6, max_size=6))
def test_record_of_times_is_summarised_by_medians_and_ratios_of_rounds(seconds):
    """Three sizes of plain attention, then three of H-MHSA, three rounds each."""
    sizes, tokens = (32, 64, 128), (64, 256, 1024)
    names = ["mhsa"] * 3 + ["h-mhsa"] * 3
    points = [
        Point(name, size, count, macs=(place + 1) * 1000, memory=0, seconds=times)
        for place, (name, size, count, times) in enumerate(zip(names, sizes * 2, tokens * 2, seconds, strict=True))
    ]
    record, medians = Record("", {}, Settings(sizes=sizes), points), np.median(seconds, axis=1)
    macs = np.arange(1, 7) * 1000
    for name, part in (("mhsa", slice(0, 3)), ("h-mhsa", slice(3, 6))):
        line = stats.linregress(np.log(tokens), np.log(medians[part]))
        assert record.exponent(name).value == pytest.approx(line.slope, abs=1e-9)
        assert record.rate(name) == pytest.approx(stats.gmean(macs[part] / medians[part]))
        assert record.formula_exponent(name).value == pytest.approx(
            stats.linregress(np.log(tokens), np.log(macs[part])).slope
        )
    for place, each in enumerate(record.comparisons("h-mhsa")):
        low, median, high = np.quantile(np.divide(seconds[place], seconds[place + 3]), [0.25, 0.5, 0.75])
        assert (each.clock.low, each.clock.median, each.clock.high) == pytest.approx((low, median, high))
        assert (each.size, each.formula) == (sizes[place], pytest.approx(macs[place] / macs[place + 3]))
    spreads = [(np.quantile(row, 0.75) - np.quantile(row, 0.25)) / np.median(row) for row in seconds]
    assert record.noise().median == pytest.approx(np.median(spreads), abs=1e-12)
