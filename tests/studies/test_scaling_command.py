"""The command `hatnet scaling`: its options, its files, its output, and its refusals."""

from dataclasses import replace
from pathlib import Path

import pytest

from hatnet.cli.main import main
from hatnet.cli.scaling import scaling
from hatnet.relatives import ATTENTIONS
from hatnet.studies.scaling import Settings, read
from tests.studies.clock import POINTS, SMALL, FormulaClock


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
        (["--stage", "3"], "stage=3 must be a whole number from 0 to 2"),
        (["--modules", "hmhsa"], "unknown module 'hmhsa', did you mean 'h-mhsa'?"),
        (["--memory", "-1"], "memory=-1.0 must be a number of GiB above 0"),
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
