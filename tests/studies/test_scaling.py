"""Time by measurement: what is measured, in which order, what is refused, and what is made of the times."""

import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hatnet.studies.scaling.modules import CLASSIFICATION
from hypothesis import given
from hypothesis import strategies as st

from hatnet.cli.scaling import scaling
from hatnet.complexity import mhsa_cost
from hatnet.studies.common.statistics import quartiles
from hatnet.studies.scaling import (
    NAMES,
    Choice,
    Settings,
    cell_within_window,
    choose,
    costs,
    fit_exponent,
    measure,
    read,
    valley,
    write,
)
from hatnet.studies.scaling.fit import crossings, rate
from hatnet.studies.scaling.measurement import Bench, schedule
from hatnet.studies.scaling.tables import dense_macs, formula_crossing
from tests.pictures import assert_same_picture

DOCS = Path(__file__).parents[2] / "docs"
SMALL = Settings(sizes=(32, 64), channels=8, heads=2, rounds=3)  # maps of 8 x 8 and 16 x 16 tokens


class Clock(Bench):
    """Times by the formula, at 1 GMAC/s, and remembers what it was asked; nothing runs."""

    def __init__(self, settings, stop_after=math.inf, error=None):
        super().__init__(settings)
        self.asked, self.stop_after, self.error = [], stop_after, error

    def seconds(self, contender, size, calls):
        if len(self.asked) >= self.stop_after:
            raise KeyboardInterrupt
        if self.error is not None and (contender.name, size) == ("mhsa", 64):
            raise self.error
        self.asked.append((contender.name, size))
        side = self.settings.side(size)
        return contender.cost(side, side).total_macs / 1e9

    def rounds(self, points):
        """What was asked in each round, without the warm-up, which asks twice for each that is quick."""
        asked = self.asked[2 * points :]
        return [asked[start : start + points] for start in range(0, len(asked), points)]


# Arithmetic of the times


@given(
    exponent=st.floats(0, 3),
    factor=st.floats(1e-9, 1e3),
    tokens=st.lists(st.integers(1, 10**6), min_size=3, max_size=9, unique=True),
)
def test_a_power_law_gives_back_its_exponent_and_no_error(exponent, factor, tokens):
    fit = fit_exponent(tokens, [factor * n**exponent for n in tokens])
    assert fit.value == pytest.approx(exponent, abs=1e-7)  # rounding of logarithms over a narrow range of tokens
    assert fit.error < 1e-6


def test_the_standard_error_is_that_of_least_squares():
    """Against NumPy's covariance, for a power law with noise."""
    tokens = [196, 400, 784, 1600, 3136]
    noise = np.random.default_rng(1).normal(scale=0.1, size=5)
    times = [1e-6 * n**1.5 * math.exp(e) for n, e in zip(tokens, noise, strict=True)]
    (slope, _), covariance = np.polyfit(np.log(tokens), np.log(times), 1, cov=True)
    fit = fit_exponent(tokens, times)
    assert fit.value == pytest.approx(slope)
    assert fit.error == pytest.approx(math.sqrt(covariance[0, 0]))
    assert abs(fit.value - 1.5) < 3 * fit.error


def test_one_size_has_no_exponent_and_two_have_no_error():
    assert fit_exponent([196], [1.0]) is None
    assert math.isnan(fit_exponent([196, 784], [1.0, 4.0]).error)


def test_quartiles_rate_and_crossings_by_hand():
    assert quartiles([3.0]).spread == 0
    assert quartiles([1.0, 2.0, 3.0, 4.0, 5.0]).spread == pytest.approx(2 / 3)
    assert rate([8, 8], [1.0, 4.0]) == pytest.approx(4.0)
    assert crossings([10, 1000, 2000], [0.1, 10.0, 20.0]) == [pytest.approx(100)]
    assert crossings([10, 1000], [2.0, 3.0]) == []


# The measurement


def test_every_round_takes_each_module_at_each_size_once_in_an_order_of_its_own():
    clock = Clock(SMALL)
    record = measure(SMALL, bench=clock)
    points = len(NAMES) * len(SMALL.sizes)
    rounds = clock.rounds(points)
    everything = Counter((name, size) for name in NAMES for size in SMALL.sizes)
    assert [Counter(asked) for asked in rounds] == [everything] * SMALL.rounds
    assert rounds[0] != rounds[1] != rounds[2]
    assert all(len(point.seconds) == SMALL.rounds for point in record.points)
    assert record.complete


@given(count=st.integers(2, 30), rounds=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_the_order_follows_from_the_seed(count, rounds, seed):
    orders = schedule(count, rounds, seed)
    assert orders == schedule(count, rounds, seed)
    assert all(sorted(order) == list(range(count)) for order in orders)


def test_times_by_the_formula_have_the_formulas_exponents_and_its_winners():
    """The whole way through a record: a clock that follows the formula exactly."""
    settings = Settings(sizes=(224, 320, 448, 640), stage=2, channels=320, heads=5, rounds=2)
    record = measure(settings, bench=Clock(settings))
    for name in NAMES:
        assert record.exponent(name).value == pytest.approx(record.formula_exponent(name).value, abs=1e-4)
        assert record.rate(name) == pytest.approx(1e9, rel=1e-4)  # times are kept with five digits
    for duel in record.duels("h-mhsa"):
        assert duel.clock.median == pytest.approx(duel.formula, rel=1e-4)
    assert [duel.verdict for duel in record.duels("h-mhsa")] == ["slower", "slower", "faster", "faster"]


def test_h_mhsa_has_more_macs_than_plain_attention_on_14_by_14_tokens():
    """Stage 2 of HAT-Net Small at 224, C = 320, G1 = 7, G2 = 2; with whole windows it wins from 21 x 21 on."""
    settings = Settings(sizes=(224, 2048), stage=2, channels=320, heads=5)
    record = measure(settings, bench=Clock(settings))
    assert record.duels("h-mhsa")[0].formula < 1
    first, always = formula_crossing(record, "h-mhsa")
    assert 14 < first <= always


def test_what_does_not_fit_in_memory_is_refused_with_a_reason_and_not_called():
    settings = Settings(sizes=(32, 512), channels=8, heads=2, rounds=1, attention="explicit")
    clock = Clock(settings)
    record = measure(settings, memory=2**24, bench=clock)  # 16 MiB; three copies of the scores are 6 GiB
    assert record.point("mhsa", 512).refused == "needs 6.01 GiB by prediction, 0.0156 GiB may be used"
    assert ("mhsa", 512) not in clock.asked
    assert record.point("mhsa", 32).seconds
    assert record.complete


def test_fused_attention_needs_no_memory_for_scores():
    explicit = measure(Settings(sizes=(2048,), attention="explicit"), memory=1)
    fused = measure(Settings(sizes=(2048,)), memory=1)
    assert explicit.point("mhsa", 2048).memory > 100 * fused.point("mhsa", 2048).memory
    assert all(point.refused for point in fused.points)


def test_what_would_take_too_long_is_refused_by_the_smaller_sizes_and_not_called():
    settings = Settings(sizes=(224, 2048), longest=5.0, rounds=1)  # plain attention: 1.3 s, and 8,799 s by the formula
    clock = Clock(settings)
    record = measure(settings, memory=2**40, bench=clock)
    assert record.point("mhsa", 2048).refused == "about 8800 s a call by the formula, more than 5 s"
    assert ("mhsa", 2048) not in clock.asked
    assert record.point("h-mhsa-dense", 2048).refused
    assert record.point("swin", 2048).refused or record.point("swin", 2048).seconds


def test_running_out_of_memory_refuses_and_any_other_error_is_raised():
    record = measure(SMALL, bench=Clock(SMALL, error=torch.OutOfMemoryError("CUDA out of memory")))
    assert "ran out of memory" in record.point("mhsa", 64).refused
    assert record.complete
    for error in ("a bug", "CUDA error: an illegal memory access was encountered"):
        with pytest.raises(RuntimeError, match=error):
            measure(SMALL, bench=Clock(SMALL, error=RuntimeError(error)))


def test_the_first_call_on_a_gpu_which_loads_its_kernels_foretells_nothing(monkeypatch):
    """On a CPU the second call would only cost time where the first took long."""

    class Cold(Clock):
        def seconds(self, contender, size, calls):
            cold = (contender.name, size) not in self.asked
            return super().seconds(contender, size, calls) + (9.0 if cold else 0.0)

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    settings = replace(SMALL, device="cuda", rounds=1, longest=5.0)
    record = measure(settings, memory=2**40, bench=Cold(settings))
    assert all(point.seconds for point in record.points)
    on_cpu = replace(settings, device="cpu")
    assert all(point.refused for point in measure(on_cpu, memory=2**40, bench=Cold(on_cpu)).points)


def test_ctrl_c_keeps_what_was_measured(tmp_path):
    points = len(NAMES) * len(SMALL.sizes)
    path = tmp_path / "record.json"
    clock = Clock(SMALL, stop_after=3 * points + 5)  # in the second round
    found = measure(SMALL, bench=clock, keep=lambda record: write(record, path))
    kept = read(path)
    assert kept == found
    assert not kept.complete
    assert sum(len(point.seconds) for point in kept.points) == points + 5


def test_ctrl_c_in_the_command_writes_prints_and_ends(tmp_path, monkeypatch, capsys):
    points = len(NAMES) * len(SMALL.sizes)
    monkeypatch.setattr(
        "hatnet.studies.scaling.measurement.Bench", lambda settings: Clock(settings, stop_after=3 * points + 5)
    )
    path = tmp_path / "record.json"
    with pytest.raises(KeyboardInterrupt):
        scaling(sizes=(32, 64), channels=8, rounds=3, out=path)
    assert not read(path).complete
    assert "Stopped by Ctrl-C" in capsys.readouterr().out


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"backward": True},
        {"attention": "explicit"},
        {"dtype": "bfloat16", "clock": "cpu"},
        {"stage": 1, "batch": 2},
    ],
    ids=str,
)
def test_the_command_measures_writes_and_prints_in_80_columns(tmp_path, monkeypatch, capsys, options):
    monkeypatch.setenv("COLUMNS", "80")
    path = tmp_path / "record.json"
    scaling(sizes=(32, 68), channels=8, heads=2, rounds=2, longest=60.0, out=path, **options)
    record = read(path)
    assert record.complete
    assert all(len(point.seconds) == 2 and min(point.seconds) > 0 for point in record.points)
    out = capsys.readouterr().out
    assert "Expected time" in out
    assert "exponent" in out
    assert "…" not in out
    assert max(len(line) for line in out.splitlines() if str(tmp_path) not in line) <= 80
    assert Path(out.strip().splitlines()[-1]) == path


def test_the_machine_is_named_without_names_of_hosts_or_paths():
    record = measure(SMALL, bench=Clock(SMALL))
    assert set(record.machine) == {"system", "cpu", "cores", "python", "torch", "load at start", "load at end"}


def test_threads_are_set_for_the_measurement_alone():
    before = torch.get_num_threads()
    measure(Settings(sizes=(32,), channels=8, rounds=1, threads=before + 1), bench=Clock(SMALL))
    assert torch.get_num_threads() == before


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modules": ("mhsa", "hmhsa")}, "unknown module 'hmhsa', did you mean 'h-mhsa'?; known: mhsa, h-mhsa"),
        ({"modules": ()}, "at least one of mhsa"),
        ({"modules": ("swin", "swin")}, "none twice"),
        ({"sizes": (224, 16)}, "sizes=16 must be a whole number from 32 to 4096"),
        ({"sizes": (8192,)}, "sizes=8192 must be a whole number from 32 to 4096"),
        ({"sizes": (224.0,)}, "sizes=224.0 must be a whole number"),
        ({"sizes": ()}, "at least one size"),
        ({"stage": 3}, "stage=3 must be a whole number from 0 to 2"),
        ({"channels": 64, "heads": 3}, "heads=3 must divide channels=64"),
        ({"rounds": 0}, "rounds=0 must be a whole number from 1 to 1000"),
        ({"dtype": "float8"}, "dtype='float8' must be one of float64"),
        ({"clock": "sundial"}, "clock='sundial' must be wall or cpu"),
        ({"clock": "cpu", "threads": 2}, "clock='cpu' is for one thread of the CPU"),
        ({"longest": 0.0}, "longest=0.0 must be a number of seconds above 0"),
        ({"longest": math.nan}, "longest=nan"),
        ({"memory": -1.0}, "memory=-1.0 must be a number of GiB above 0"),
        ({"device": "abacus"}, "device 'abacus' can't be used here"),
        ({"out": Path("no/such/folder/a.json")}, "no folder no/such/folder to write a.json to"),
        ({"out": DOCS}, "is a folder; give a file name"),
        ({"figure": Path("a.png")}, "name it a.svg, not a.png"),
    ],
    ids=str,
)
def test_bad_input_is_refused_before_anything_runs_and_the_domain_is_named(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        scaling(**arguments)
    assert message in str(caught.value)


def test_a_file_that_is_no_record_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no record at"):
        read(tmp_path / "none.json")
    for content in ("{", "[]", '{"kind": "something else"}', '{"kind": "hatnet scaling", "version": 1}'):
        (tmp_path / "other.json").write_text(content)
        with pytest.raises(ValueError, match=r"is not a (complete )?record of hatnet scaling"):
            read(tmp_path / "other.json")


# Choosing G1 and G2


@given(data=st.data(), side=st.sampled_from([12, 16, 24, 36]), C=st.sampled_from([8, 64, 320]))
def test_the_cost_falls_with_larger_cells_and_smaller_windows(data, side, C):
    """Eq. 15, for sizes that divide the map: so without a condition the cheapest choice attends to next to nothing."""
    divisors = [size for size in range(1, side + 1) if side % size == 0]
    G1, larger = sorted(data.draw(st.lists(st.sampled_from(divisors), min_size=2, max_size=2, unique=True)))
    other = data.draw(st.sampled_from(divisors))
    macs = costs(side, side, C)
    assert macs[G1, other] < macs[larger, other]
    assert macs[other, G1] > macs[other, larger]
    assert choose(side, side, C) == Choice(1, side, macs[1, side])


@given(H=st.integers(1, 14), W=st.integers(1, 14), C=st.integers(1, 70))
def test_the_choice_is_the_smallest_of_all_that_are_allowed(H, W, C):
    best = choose(H, W, C, cell_within_window)
    assert best.G2 <= best.G1
    assert best.macs == min(macs for (G1, G2), macs in costs(H, W, C).items() if G2 <= G1)


def test_with_cells_no_larger_than_windows_the_published_pair_of_the_first_stage_is_the_cheapest():
    best = choose(56, 56, 64, cell_within_window)
    G1, G2 = CLASSIFICATION[0]
    assert (best.G1, best.G2) == (G1, G2)
    assert abs(best.G1 * best.G2 - valley(56, 56, 64)) < 8


def test_a_choice_from_nothing_is_refused():
    with pytest.raises(ValueError, match="no pair"):
        choose(4, 4, 8, lambda G1, G2: False)
    with pytest.raises(ValueError, match="whole number of at least 1"):
        choose(4, 4, 0)


def test_one_window_and_cells_of_one_token_cost_more_than_plain_attention():
    """They do all that plain attention does, and more."""
    assert costs(14, 14, 320)[14, 1] > mhsa_cost(14, 14, 320).total_macs


def test_the_formula_puts_table_6_in_the_papers_order():
    rows = json.loads((DOCS / "data" / "table6.json").read_text())["rows"]
    by_paper = sorted(rows, key=lambda row: row["flops"])
    by_formula = sorted(rows, key=lambda row: dense_macs(row["G1"], row["G2"]))
    assert by_paper == by_formula


# What is kept


def test_what_the_page_says_in_words_is_in_the_records():
    """docs/scaling.md; its tables and sentences with figures are made from the records, these are not."""
    stage_0, stage_2 = (read(DOCS / "measurements" / f"scaling-stage-{stage}-cpu.json") for stage in (0, 2))
    assert stage_2.duels("h-mhsa")[0].verdict == "slower"  # at 14 x 14 tokens
    assert {duel.verdict for duel in stage_0.duels("h-mhsa")} == {"faster"}
    assert 1 < stage_0.exponent("h-mhsa").value < stage_0.exponent("mhsa").value
    assert max(duel.clock.median / duel.formula for duel in stage_0.duels("h-mhsa")) < 1
    for record in (stage_0, stage_2):
        assert record.rate("h-mhsa") < record.rate("mhsa")
    assert round(choose(14, 14, 320).macs / mhsa_cost(14, 14, 320).total_macs, 2) == 0.96
    default = dense_macs([8, 8, 8], [16, 8, 4])
    assert round((dense_macs([8, 8, 8], [8, 4, 2]) - default) / 1e9, 1) == 37.7


def records():
    return sorted((DOCS / "measurements").glob("scaling-*.json"))


@pytest.mark.parametrize("path", records(), ids=lambda path: path.stem)
def test_a_kept_record_reads_back_as_it_was_written(path, tmp_path):
    record = read(path)
    assert record.complete
    write(record, tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    for point in record.points:  # the formulas are still those of the record
        side = record.settings.side(point.size)
        macs = record.settings.contenders()[point.module].cost(side, side).total_macs
        assert point.macs == record.settings.batch * macs


def test_figures_and_tables_of_the_page_are_those_of_the_kept_records(tmp_path):
    """`python -m hatnet.studies.scaling` makes them."""
    pytest.importorskip("matplotlib")
    from hatnet.studies.scaling.__main__ import make

    written = make(DOCS, tmp_path)
    assert len(written) == 2 * len(records()) + 3
    for path in written:
        kept = DOCS / "measurements" / path.name
        if path.suffix == ".svg":
            assert_same_picture(path, kept)
        else:
            assert path.read_bytes() == kept.read_bytes(), path.name


def test_a_figure_is_drawn_of_a_record_that_was_stopped_early(tmp_path):
    pytest.importorskip("matplotlib")
    points = len(NAMES) * len(SMALL.sizes)
    record = measure(SMALL, bench=Clock(SMALL, stop_after=2 * points + 3))
    write(record, tmp_path / "record.json")
    scaling(record=tmp_path / "record.json", figure=tmp_path / "figure.svg")
    assert "<svg" in (tmp_path / "figure.svg").read_text()
