"""The scaling measurement and its command: the order of the timings, refusals, early stops, files and output."""

import io
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import nn

from hatnet.cli.main import main
from hatnet.cli.scaling import scaling
from hatnet.complexity import Cost
from hatnet.relatives import ATTENTIONS, Attention
from hatnet.studies.common.table import Grid
from hatnet.studies.scaling import Settings, measure, read, tables, write
from hatnet.studies.scaling.measurement import schedule
from hatnet.studies.scaling.tables import formula_crossing

SMALL = Settings(sizes=(32, 64), channels=8, heads=2, rounds=3)  # maps of 8 x 8 and 16 x 16 tokens
POINTS = len(ATTENTIONS) * len(SMALL.sizes)


class FormulaClock:
    """A bench that runs nothing and times by the formula, at 1 GMAC/s; it can be stopped or made to fail."""

    def __init__(self, settings=SMALL, stop_after=math.inf, error=None):
        self.settings, self.stop_after, self.error = settings, stop_after, error
        self.timed, self.calls = [], []

    def seconds(self, attention, size, calls):
        if len(self.timed) >= self.stop_after:
            raise KeyboardInterrupt
        if self.error is not None and (attention.name, size) == ("mhsa", 64):
            raise self.error
        self.timed.append((attention.name, size))
        self.calls.append(calls)
        side = self.settings.side(size)
        return attention.cost(side, side).total_macs / 1e9


def test_every_round_takes_each_module_at_each_size_once_in_its_own_order():
    clock = FormulaClock()
    record = measure(SMALL, bench=clock)
    warm_up = 2 * POINTS  # it calls every quick module twice
    rounds = [clock.timed[start : start + POINTS] for start in range(warm_up, len(clock.timed), POINTS)]
    everything = Counter((name, size) for name in ATTENTIONS for size in SMALL.sizes)
    assert [Counter(timed) for timed in rounds] == [everything] * SMALL.rounds
    assert rounds[0] != rounds[1] != rounds[2]
    assert set(clock.calls[:warm_up]) == {1}
    assert {(point.module, point.size, point.calls) for point in record.points} == {
        (*timed, calls) for timed, calls in zip(clock.timed[warm_up:], clock.calls[warm_up:], strict=True)
    }
    assert all(len(point.seconds) == SMALL.rounds for point in record.points)
    assert record.complete


def test_progress_counts_the_expected_seconds_from_nothing_to_all():
    """The warm-up says nothing; in the rounds, each timing adds what its module took in the warm-up."""
    calls = []
    record = measure(SMALL, bench=FormulaClock(), on_progress=lambda *call: calls.append(call))
    assert [call[1:] for call in calls[:POINTS]] == [(0, None)] * POINTS
    expected = {f"{point.module} {point.size}": point.calls * point.macs / 1e9 for point in record.points}
    done = 0.0
    for what, seconds, total in calls[POINTS:-1]:
        assert (seconds, total) == pytest.approx((done, SMALL.rounds * sum(expected.values())))
        done += expected[what.partition(": ")[2]]
    assert calls[-1] == ("done", pytest.approx(done), pytest.approx(done))


def test_one_size_is_named_as_it_is_and_long_times_are_in_seconds():
    settings = Settings(modules=("mhsa", "h-mhsa"), sizes=(224,), stage=2, rounds=2)
    record = measure(settings, bench=FormulaClock(settings))
    (sentence,) = tables.findings(record)
    assert " is slower at 224. " in sentence
    for seconds, want in ((10.0, "10.0 s\n10.0-10.0 s"), (9.999, "9999\n9999-9999"), (2e-5, "0.020\n0.020-0.020")):
        record.points[0].seconds = [seconds] * 2
        assert tables.times(record).rows[0][:2] == ("224\n14x14", want)


@given(count=st.integers(2, 30), rounds=st.integers(1, 20), seed=st.integers(0, 2**32 - 1))
def test_the_order_follows_from_the_seed(count, rounds, seed):
    orders = schedule(count, rounds, seed)
    assert orders == schedule(count, rounds, seed)
    assert all(sorted(order) == list(range(count)) for order in orders)


def test_times_that_follow_the_formula_have_its_exponents_and_its_winners():
    settings = Settings(sizes=(224, 320, 448, 640), stage=2, rounds=2)
    record = measure(settings, bench=FormulaClock(settings))
    assert (record.settings.channels, record.settings.heads) == (320, 5)  # as in HAT-Net Small
    for name in ATTENTIONS:
        assert record.exponent(name).value == pytest.approx(record.formula_exponent(name).value, abs=1e-4)
        assert record.rate(name) == pytest.approx(1e9, rel=1e-4)  # times are kept with five digits
    found = record.comparisons("h-mhsa")
    for comparison in found:
        assert comparison.clock.median == pytest.approx(comparison.formula, rel=1e-4)
    assert [comparison.verdict for comparison in found] == ["slower", "slower", "faster", "faster"]
    first, always = formula_crossing(record, "h-mhsa")
    assert 14 < first <= always <= 28  # with whole windows it wins from 21 x 21 tokens on


def test_an_attention_added_to_the_registry_is_measured_tabled_and_drawn(monkeypatch):
    pytest.importorskip("matplotlib")
    from hatnet.studies.scaling.draw import draw_record

    added = Attention(
        "none", "None", colour="#123456", marker="*", setting="x{repeats}", sizes=[{"repeats": 1}] * 3,
        build=lambda C, heads, repeats: nn.Identity(), cost=lambda H, W, C, heads, repeats: Cost({"Wp": 1}, 0),
    )  # fmt: skip
    monkeypatch.setitem(ATTENTIONS, "none", added)
    record = measure(Settings(modules=("mhsa", "none"), sizes=(32, 64), channels=8, rounds=2))
    assert all(len(record.point("none", size).seconds) == 2 for size in (32, 64))
    assert "None\nx1" in tables.times(record).columns
    assert "None x1" in tables.page(record)
    _, labels = draw_record(record).axes[0].get_legend_handles_labels()
    assert any("None x1" in label for label in labels)
    with pytest.raises(ValueError, match="did you mean 'none'"):
        Settings(modules=("nonne",))


@pytest.mark.parametrize(
    ("settings", "memory", "reason", "measured"),
    [
        (  # three copies of the scores; 16 MiB
            Settings(sizes=(32, 512), channels=8, heads=2, rounds=1, attention="explicit"), 2**24,
            "needs 6.01 GiB by prediction, 0.0156 GiB may be used", set(),
        ),
        (  # at 224 it takes 1.3 s
            Settings(("mhsa", "h-mhsa", "swin", "pvt-v2"), (224, 2048), longest=5.0, rounds=1), 2**40,
            "about 8800 s per call by the formula, more than 5 s", {"pvt-v2"},
        ),
    ],
    ids=["memory", "time"],
)  # fmt: skip
def test_what_does_not_fit_or_takes_too_long_is_refused_and_not_called(settings, memory, reason, measured):
    clock = FormulaClock(settings)
    record = measure(settings, memory, bench=clock)
    small, large = settings.sizes
    assert record.point("mhsa", large).refused == reason
    assert record.point("mhsa", small).seconds
    assert {name for name, size in clock.timed if size == large} == measured
    assert {name for name in settings.modules if not record.point(name, large).refused} == measured
    assert record.complete


def test_fused_attention_needs_no_memory_for_scores():
    explicit, fused = (measure(Settings(sizes=(2048,), attention=kind), memory=1) for kind in ("explicit", "fused"))
    assert explicit.point("mhsa", 2048).memory > 100 * fused.point("mhsa", 2048).memory
    assert all(point.refused for point in fused.points)


def test_running_out_of_memory_is_a_refusal_and_any_other_error_is_raised():
    record = measure(SMALL, bench=FormulaClock(error=torch.OutOfMemoryError("CUDA out of memory")))
    assert "ran out of memory" in record.point("mhsa", 64).refused
    assert record.complete
    for error in ("a bug", "CUDA error: an illegal memory access was encountered"):
        with pytest.raises(RuntimeError, match=error):
            measure(SMALL, bench=FormulaClock(error=RuntimeError(error)))


def test_the_first_call_on_a_gpu_which_loads_kernels_predicts_nothing(monkeypatch):
    """On a CPU a second call is made only where the first is short."""

    class Cold(FormulaClock):
        def seconds(self, attention, size, calls):
            cold = (attention.name, size) not in self.timed
            return super().seconds(attention, size, calls) + (9.0 if cold else 0.0)

    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    settings = replace(SMALL, device="cuda", rounds=1, longest=5.0)
    record = measure(settings, memory=2**40, bench=Cold(settings))
    assert all(point.seconds for point in record.points)
    on_cpu = replace(settings, device="cpu")
    assert all(point.refused for point in measure(on_cpu, memory=2**40, bench=Cold(on_cpu)).points)


def test_ctrl_c_keeps_what_was_measured(tmp_path):
    path = tmp_path / "record.json"
    clock = FormulaClock(stop_after=3 * POINTS + 5)  # in the second round
    found = measure(SMALL, bench=clock, on_record=lambda record: write(record, path))
    assert read(path) == found
    assert not found.complete
    assert tables.facts(found).endswith("Stopped before the last round.")
    assert "Stopped" not in tables.facts(replace(found, complete=True))
    assert sum(len(point.seconds) for point in found.points) == POINTS + 5


def test_the_machine_is_recorded_without_names_and_its_threads_are_restored():
    before = torch.get_num_threads()
    record = measure(replace(SMALL, threads=before + 1), bench=FormulaClock())
    assert torch.get_num_threads() == before
    assert set(record.machine) == {"system", "cpu", "cores", "python", "torch", "load at start", "load at end"}


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
        ({"clock": "sundial"}, "clock='sundial' must be one of wall, cpu"),
        ({"clock": "cpu", "threads": 2}, "clock='cpu' needs one thread on the CPU"),
        ({"longest": 0.0}, "longest=0.0 must be a number of seconds above 0"),
        ({"longest": math.nan}, "longest=nan"),
    ],
    ids=str,
)
def test_the_error_for_a_bad_setting_names_the_allowed_values(arguments, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Settings(**arguments)
    assert message in str(caught.value)


def test_tables_are_split_by_the_width_of_their_cells():
    """Quartiles below 0.1 ms have a digit more: on a fast machine, fewer columns fit."""
    names = tuple(f"module {number}" for number in range(9))
    for cell, counts in (("0.17\n0.17-0.18", [7, 2]), ("0.09\n0.096-0.101", [6, 3])):
        parts = Grid("times", ("image\ntokens", *names), (("15\n9x9", *[cell] * 9),)).split()
        assert [len(part.columns) - 1 for part in parts] == counts
        file = io.StringIO()
        for part in parts:
            Console(file=file, width=80).print(part.rich())
        assert file.getvalue().count(cell.partition("\n")[2]) == 9


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
def test_the_command_measures_writes_and_prints_within_80_columns(tmp_path, monkeypatch, capsys, options):
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("first-extra", "second-extra"):  # more modules than one table has columns for
        monkeypatch.setitem(ATTENTIONS, name, replace(ATTENTIONS["mhsa"], name=name, title="extra"))
    path, modules = tmp_path / "record.json", tuple(ATTENTIONS)
    scaling(Settings(modules, (32, 68), channels=8, heads=2, rounds=2, longest=60.0, **options), out=path)
    record = read(path)
    assert record.complete
    assert all(len(point.seconds) == 2 and min(point.seconds) > 0 for point in record.points)
    out = capsys.readouterr().out
    assert "Expected time" in out
    assert "exponent" in out
    assert "…" not in out
    assert max(len(line) for line in out.splitlines() if str(tmp_path) not in line) <= 80
    assert Path(out.strip().splitlines()[-1]) == path


def test_ctrl_c_stops_the_command_with_a_record_that_can_be_drawn(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    clock = FormulaClock(stop_after=2 * POINTS + 3)
    monkeypatch.setattr("hatnet.studies.scaling.measurement.Bench", lambda _: clock)
    path, figure = tmp_path / "record.json", tmp_path / "figure.svg"
    with pytest.raises(KeyboardInterrupt):
        scaling(SMALL, out=path)
    assert not read(path).complete
    assert "Stopped by Ctrl-C" in capsys.readouterr().out
    scaling(Settings(), record=path, figure=figure)
    assert "<svg" in figure.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--modules", "hmhsa"], "unknown module 'hmhsa', did you mean 'h-mhsa'?"),
        (["--memory", "-1"], "memory=-1.0 must be a finite number of GiB above 0"),
        (["--device", "abacus"], "device 'abacus' can't be used here"),
        (["--out", "no/such/folder/a.json"], "no folder no/such/folder to write a.json to"),
        (["--out", "."], ". is a folder; give --out a name in it, such as scaling.json"),
        (["--figure", "a.png"], "name it a.svg, not a.png"),
        (["--record", "r.json", "--stage", "2", "--memory", "1"], "so --memory, --stage can't be given with it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_are_refused_before_anything_runs(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["hatnet", "scaling", *arguments])
    monkeypatch.setattr("hatnet.cli.scaling.measure", lambda *_: pytest.fail("the measurement began"))
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())
