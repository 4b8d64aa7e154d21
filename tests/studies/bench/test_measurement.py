"""The order of the visits, the choice of layouts, early stops and failures, without processes."""

from collections import Counter
from dataclasses import replace

import pytest

from hatnet.studies.bench import Layout, Settings, measure, read, tables, write
from hatnet.studies.bench.measurement import round_plans
from hatnet.studies.bench.visit import Plan
from tests.studies.bench.synthetic import ALONE, PAIR, SECONDS, SETTINGS, Visitor, synthetic_record

BEST = {"micro": PAIR, "authors-micro": ALONE, "resnet50": ALONE}


def test_pilot_visits_every_network_in_every_layout_once():
    visitor = Visitor()
    measure(SETTINGS, run=visitor)
    pilot = Counter((plan.network, plan.layout) for number, plan in visitor.plans if number == 0)
    assert pilot == Counter(dict.fromkeys(SECONDS, 1))
    assert {plan.layout for _, plan in visitor.plans if plan.latency} == {ALONE}
    assert [number for number, _ in visitor.plans] == sorted(number for number, _ in visitor.plans)


def test_each_network_is_timed_in_the_layout_with_its_highest_throughput():
    """Two processes with batches of 0.8 s give 10 images/s, one with batches of 0.5 s gives 8."""
    record = synthetic_record()
    assert {name: record.layout(name) for name in SETTINGS.networks} == BEST
    for name in SETTINGS.networks:
        rounds = [visit for visit in record.of(name, (1, 2)) if visit.batches]
        assert [visit.layout for visit in rounds] == [BEST[name]] * 2
        assert record.throughput(name).median == pytest.approx(BEST[name].processes * 4 / SECONDS[name, BEST[name]])
    assert record.measured() == ["resnet50", "micro", "authors-micro"]


def test_latency_is_measured_in_one_process_whatever_the_best_layout_is():
    record = synthetic_record()
    for name in SETTINGS.networks:
        assert record.latency_layout(name) == ALONE
        visits = [visit for visit in record.of(name, (1, 2)) if visit.latencies]
        assert [visit.layout for visit in visits] == [ALONE] * 2
        assert record.latency(name).median == pytest.approx(SECONDS[name, ALONE] / 4)
    plans = round_plans(record)
    assert Plan("micro", PAIR) in plans
    assert Plan("micro", ALONE, throughput=False, latency=True) in plans
    assert Plan("resnet50", ALONE, latency=True) in plans
    assert len(plans) == 4


def test_quickest_layout_of_one_process_is_that_of_the_latency():
    settings = replace(SETTINGS, networks=("micro",), threads=None, layouts=("1x1", "1x2", "2x1"))

    def run(settings, plan, number):
        visit = Visitor()(settings, replace(plan, layout=ALONE), number)
        speed = {"1x1": 3.0, "1x2": 1.0, "2x1": 2.0}[str(plan.layout)]
        visit.latencies = [[speed * seconds for seconds in process] for process in visit.latencies]
        visit.processes, visit.threads = plan.layout.processes, plan.layout.threads
        return visit

    assert measure(settings, run=run).latency_layout("micro") == Layout(1, 2)


@pytest.mark.parametrize("settings", [replace(SETTINGS, threads=1), replace(SETTINGS, threads=None, layouts=("2x1",))])
def test_single_layout_needs_no_pilot(settings):
    (layout,) = settings.candidates()
    speeds = {(name, layout): 1.0 for name in SETTINGS.networks}
    visitor = Visitor()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.studies.bench.synthetic.SECONDS", speeds)
        record = measure(settings, run=visitor)
    assert min(number for number, _ in visitor.plans) == 1
    assert len(record.measured()) == 3
    assert (record.latency("micro") is None) == (layout.processes > 1)


def test_order_is_drawn_from_the_seed_and_new_in_every_round():
    def orders(seed):
        visitor = Visitor()
        measure(replace(SETTINGS, seed=seed, rounds=5), run=visitor)
        return [[plan for number, plan in visitor.plans if number == wanted] for wanted in range(7)]

    first = orders(seed=3)
    assert first == orders(seed=3)
    assert first != orders(seed=4)
    rounds = first[1:6]
    assert len({tuple(map(str, order)) for order in rounds}) > 1
    assert {frozenset(map(str, order)) for order in rounds} == {frozenset(map(str, rounds[0]))}


def test_rooflines_are_measured_for_our_own_networks_in_eager_inference_only():
    for changes, wanted in (
        ({}, ["micro"]),
        ({"roofline": False}, []),
        ({"compile": True}, []),
        ({"training": True}, []),
    ):
        visitor = Visitor()
        measure(replace(SETTINGS, **changes), run=visitor)
        assert [plan.network for _, plan in visitor.plans if plan.roofline] == wanted
        assert any(plan.latency for _, plan in visitor.plans) == (not changes.get("training", False))


def test_every_timing_is_kept_in_the_record(tmp_path):
    kept = []
    record = measure(SETTINGS, on_record=lambda found: kept.append(len(found.visits)), run=Visitor())
    assert kept == [*range(1, len(record.visits) + 1), len(record.visits)]  # after each visit, and at the end
    write(record, tmp_path / "record.json")
    assert read(tmp_path / "record.json") == record
    batches = [seconds for visit in record.visits for process in visit.batches for seconds in process]
    assert len(batches) == 3 * (3 * 3 + 2 * (2 + 1 + 1) + 2)  # the pilot, two rounds, and the roofline in a pair


def test_median_and_quartiles_are_over_the_batches_of_all_rounds_and_processes():
    record = synthetic_record()
    times = iter([1.0, 2.0, 4.0, 8.0])
    for visit in record.of("micro", (1, 2)):
        if visit.batches:
            visit.batches = [[next(times)], [next(times)]]
    values = record.throughput("micro")  # 2 processes of 4 images: rates 8, 4, 2, 1
    assert (values.low, values.median, values.high) == pytest.approx((1.75, 3.0, 5.0))


def test_a_network_that_fails_is_left_out_with_the_reason():
    visitor = Visitor(fails=("resnet50",))
    record = measure(SETTINGS, run=visitor)
    assert [plan.network for _, plan in visitor.plans].count("resnet50") == 1
    assert record.measured() == ["micro", "authors-micro"]
    assert record.complete
    assert tables.refusals(record) == ["ResNet-50: RuntimeError: it failed"]
    assert "Left out" in tables.page(record)


@pytest.mark.parametrize("stop_after", [0, 4, 6, 9, 14])
def test_ctrl_c_keeps_what_was_measured(stop_after):
    record = synthetic_record(stop_after=stop_after)
    assert len(record.visits) == stop_after
    assert not record.complete
    assert "Stopped before the end" in tables.facts(record)
    assert len(tables.results(record).rows) == len(record.measured())


def test_progress_ends_with_all_of_the_expected_seconds():
    """Each visit takes 10 s here; once each kind of visit is known, the expectation is exact."""
    calls = []
    record = measure(SETTINGS, on_progress=lambda *call: calls.append(call), run=Visitor())
    assert [done for _, done, _ in calls] == [10.0 * index for index in range(len(record.visits) + 1)]
    assert all(done < expected for _, done, expected in calls[:-1])
    total = 10.0 * len(record.visits)
    assert calls[-1] == ("done", total, total)
    last_round = next(call for call in calls if call[0].startswith("round 2"))
    assert last_round[2] == pytest.approx(total - 10 + 15 + 60 + SETTINGS.seconds)  # the roofline is still a guess


def test_layouts_use_all_threads():
    assert [str(layout) for layout in Settings(threads=6).candidates()] == ["1x6", "2x3", "3x2", "6x1"]
    assert Settings(device="cuda").candidates() == [Layout(1, 1)]
