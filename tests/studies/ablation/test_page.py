"""The page docs/ablation.md: its sentences follow from the kept records."""

from pathlib import Path

import pytest

from hatnet.studies.ablation import ARMS, MATCHED, Settings, read
from hatnet.studies.ablation.arms import BASE
from hatnet.studies.ablation.record import DATA, mismatches
from hatnet.studies.ablation.statistics import differences
from hatnet.studies.ablation.tables import count_seeds, facts, relative_time
from tests.studies.ablation.conftest import make_record

RECORDS = Path(__file__).parents[3] / "docs" / "measurements"
OWN_COST = [name for name, arm in ARMS.items() if arm.own_cost and arm.is_variant]


@pytest.fixture(scope="module")
def equal_cost():
    return read(RECORDS / "ablation-subset-cpu.json")


@pytest.fixture(scope="module")
def own_cost():
    return read(RECORDS / "ablation-own-cost-cpu.json")


def step_time(record, arm):
    """Median time of a training step relative to H-MHSA."""
    return round(relative_time(record.times_of("step"), arm).median, 2)


def test_kept_record_is_complete_and_has_the_present_networks(equal_cost):
    assert not mismatches(equal_cost, equal_cost.settings, equal_cost.machine)
    assert equal_cost.settings == Settings("fashion-subset", DATA["fashion-subset"].epochs)
    assert {(run.arm, run.seed) for run in equal_cost.runs} == {(arm, seed) for arm in MATCHED for seed in range(3)}
    assert all(len(run.accuracy) == equal_cost.settings.epochs for run in equal_cost.runs)
    assert all(set(times.seconds) == set(MATCHED) for times in equal_cost.times)


def test_kinds_of_attention_hardly_differ_at_equal_cost(equal_cost):
    """Less than half a point, while the seeds of a single arm differ by more."""
    against, kinds = differences(equal_cost), ["local", "global", "mhsa", "none"]
    assert max(abs(against[arm].mean) for arm in kinds) < 0.5
    accuracies = [equal_cost.accuracies(arm).values() for arm in kinds]
    assert min(100 * (max(found) - min(found)) for found in accuracies) > max(abs(against[arm].mean) for arm in kinds)
    assert not any(difference.verdict == "better" for difference in against.values())
    assert 0.95 < against["none"].margin < 1.1  # about one point


def test_two_settings_are_worse_at_equal_cost_but_not_certainly(equal_cost):
    """Bonferroni's correction for nine comparisons leaves neither of them."""
    against = differences(equal_cost)
    worse = {arm for arm, difference in against.items() if difference.verdict == "worse"}
    assert worse == {"large-windows", "fine-cells"}
    bonferroni = 3.2 / 2.1  # Student's t with 18 degrees of freedom, for 0.05 / 9 and for 0.05
    assert all(abs(difference.mean) < bonferroni * difference.margin for difference in against.values())
    widths = {arm: equal_cost.network(arm).widths[0] for arm in ("large-windows", "fine-cells", "mhsa", "h-mhsa")}
    assert widths == {"large-windows": 19, "fine-cells": 87, "mhsa": 41, "h-mhsa": 128}


def test_times_of_the_page_are_those_of_the_record(equal_cost):
    assert step_time(equal_cost, "mhsa") == 0.79
    assert round(sum(run.seconds for run in equal_cost.runs) / 60) == 52


def test_g1_and_g2_at_their_own_cost_hardly_matter(equal_cost, own_cost):
    against = differences(own_cost)
    arms = (BASE, *OWN_COST)
    assert {(run.arm, run.seed) for run in own_cost.runs} == {(arm, seed) for arm in arms for seed in range(3)}
    assert all(-0.8 < against[arm].mean < 0 for arm in OWN_COST)
    assert [arm for arm in OWN_COST if against[arm].verdict != "unclear"] == ["small-windows-own"]
    assert max(OWN_COST, key=lambda arm: against[arm].mean) == "large-windows-own"
    at_equal_cost = differences(equal_cost)
    assert min(at_equal_cost, key=lambda arm: at_equal_cost[arm].mean) == "large-windows"
    macs = own_cost.network("large-windows-own").macs / own_cost.network(BASE).macs
    assert (round(macs, 2), step_time(own_cost, "large-windows-own")) == (1.22, 1.03)


def test_both_records_have_the_same_runs_of_h_mhsa(equal_cost, own_cost):
    """The same seeds give the same bits again."""
    records = (equal_cost, own_cost)
    runs, again = ({run.seed: run.accuracy for run in record.runs if run.arm == BASE} for record in records)
    assert runs == again


def test_the_machine_and_the_number_of_seeds_are_named():
    record = make_record({"h-mhsa": [0.8], "local": [0.8]})
    assert facts(record).startswith("2026-01-01, a CPU, threads: 1, Linux, Python 3, PyTorch 2.")
    record.machine["gpu"] = "a GPU"
    assert facts(record).startswith("2026-01-01, a GPU, Linux")
    assert [count_seeds(seeds) for seeds in (1, 2)] == ["1 seed", "2 seeds"]
