"""What the studies share: limits of settings, tables in a terminal, free memory, and clocks that wait for a GPU."""

from dataclasses import replace
from io import StringIO
from unittest.mock import Mock

import pytest
from rich.console import Console

from hatnet.relatives import ATTENTIONS
from hatnet.studies import ablation, faithfulness, scaling
from hatnet.studies import bench as networks_bench
from hatnet.studies.ablation import timing
from hatnet.studies.common import machine
from hatnet.studies.common.table import Grid
from hatnet.studies.scaling import bench
from tests.studies.ablation.conftest import CPU, SETTINGS

LIMITS = {
    ablation.Settings("fashion-subset", 1): {"epochs": (1, 100_000)},
    networks_bench.Settings(): {
        "batch": (1, 65_536), "size": (32, 4096), "rounds": (1, 1000), "threads": (1, 1024), "seed": (0, 2**32 - 1),
    },
    faithfulness.Settings(): {
        "images": (2, 100_000), "patch": (1, 1024), "steps": (1, 1000), "random_maps": (1, 100), "untrained": (1, 100),
        "seed": (0, 2**32 - 1),
    },
    scaling.Settings(heads=1): {
        "sizes": (32, 4096), "stage": (0, 2), "channels": (1, 4096), "batch": (1, 4096), "rounds": (1, 1000),
        "threads": (1, 1024), "seed": (0, 2**32 - 1),
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "name", "low", "high"),
    [(settings, name, *ends) for settings, limits in LIMITS.items() for name, ends in limits.items()],
    ids=lambda value: value if isinstance(value, str) else type(value).__module__,
)
def test_both_ends_of_a_range_are_allowed_and_nothing_beyond(settings, name, low, high):
    def changed(value):
        return replace(settings, **{name: (value,) if name == "sizes" else value})

    for value in (low, high):
        changed(value)
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=rf"{name}={value} must be a whole number from {low} to {high}"):
            changed(value)


def test_a_table_in_a_terminal_has_its_title_and_columns_side_by_side():
    grid = Grid("Times in ms", ("image\ntokens", "H-MHSA"), (("224\n56x56", "1.25\n1.20-1.30"), ("32", "0.5")))
    console = Console(width=60, file=StringIO())
    console.print(grid.rich())
    assert [line.split() for line in console.file.getvalue().splitlines() if set(line) - set(" ─")] == [
        ["Times", "in", "ms"], ["image"], ["tokens", "H-MHSA"], ["224", "1.25"], ["56x56", "1.20-1.30"], ["32", "0.5"],
    ]  # fmt: skip


def test_free_memory_is_the_least_of_what_the_system_and_the_container_leave(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "Path", lambda name: tmp_path / name.lstrip("/"))
    pages = {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(machine.os, "sysconf", pages.get)
    assert machine.free_memory() == 1000 * 4096 // 2  # half of all
    with monkeypatch.context() as without:
        without.setattr(machine.os, "sysconf_names", {})
        assert machine.free_memory() == 4 * 2**30  # nothing is known
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9000 kB\nMemFree: 10 kB\nMemAvailable: 800 kB\n")
    assert machine.free_memory() == 800 * 1024
    group = tmp_path / "sys/fs/cgroup"
    group.mkdir(parents=True)
    for maximum, want in (("700000", 500_000), ("max", 800 * 1024), ("9000000", 800 * 1024)):
        (group / "memory.max").write_text(f"{maximum}\n")
        (group / "memory.current").write_text("200000\n")
        assert machine.free_memory() == want


def test_the_clock_starts_and_stops_when_the_device_is_done(monkeypatch):
    """A GPU returns from a call before it is done."""
    events = []
    note = {name: lambda *_, name=name: events.append(name) or float(len(events)) for name in ("wait", "clock", "call")}
    for module in (timing, bench):
        monkeypatch.setattr(module, "synchronise", note["wait"])
    arms = timing.Bench(SETTINGS, [], CPU)
    monkeypatch.setattr(arms, "_forward", note["call"])
    monkeypatch.setattr(arms, "_step", note["call"])
    for what in ("forward", "step"):
        events.clear()
        assert arms.seconds(what, "none", note["clock"]) == 3
        assert events == ["wait", "clock", "call", "wait", "clock"]
    modules = bench.Bench(scaling.Settings(modules=("mhsa",), channels=8))
    monkeypatch.setattr(modules, "_forward", note["call"])
    monkeypatch.setattr(bench, "time", Mock(perf_counter=note["clock"]))
    events.clear()
    assert modules.seconds(ATTENTIONS["mhsa"], 32, calls=2) == 2  # per call
    assert events == ["wait", "clock", "call", "call", "wait", "clock"]
