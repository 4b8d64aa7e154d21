"""The command `hatnet bench`: files, tables, figures, early stops and refusals."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hatnet.cli.bench import bench
from hatnet.cli.main import main
from hatnet.studies.bench import Settings, measure, read, tables, write
from hatnet.studies.bench.networks import NETWORKS
from tests.studies.bench.synthetic import SETTINGS, Visitor, synthetic_record


@pytest.fixture
def visitor(monkeypatch):
    """The command makes synthetic visits instead of starting processes."""
    visitor = Visitor()
    monkeypatch.setattr(
        "hatnet.cli.bench.measure", lambda settings, *callbacks: measure(settings, *callbacks, run=visitor)
    )
    return visitor


def test_command_writes_a_record_and_prints_tables_within_80_columns(visitor, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("COLUMNS", "80")
    path, figure = tmp_path / "record.json", tmp_path / "speed.svg"
    bench(SETTINGS, out=path, figure=figure)
    record = read(path)
    assert record.complete
    assert len(record.visits) == len(visitor.plans)
    out = capsys.readouterr().out
    assert "Expected time: about" in out
    assert "HAT-Net Micro computes 2.50 times the images/s of the authors' formulation" in out
    assert "HAT-Net Micro is slower than ResNet-50." in out
    assert "…" not in out
    assert max(len(line) for line in out.splitlines() if str(tmp_path) not in line) <= 80
    assert Path(out.strip().splitlines()[-1]) == path
    assert {each.name for each in tmp_path.iterdir()} == {"record.json", "speed.svg", "speed-roofline.svg"}


def test_kept_record_is_shown_and_drawn_again_with_the_same_bytes(visitor, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    path, first, second = (tmp_path / name for name in ("record.json", "a.svg", "b.svg"))
    bench(SETTINGS, out=path, figure=first)
    printed = capsys.readouterr().out
    bench(Settings(), record=path, figure=second)
    shown = capsys.readouterr().out
    for grid in (tables.results(read(path)), tables.layouts(read(path))):
        assert all(row[0] in shown for row in grid.rows)
    assert "HAT-Net Micro: time of each part and its lower bound" in shown
    assert shown.split("The figure:")[0].strip() in printed
    assert second.read_bytes() == first.read_bytes()
    assert (tmp_path / "b-roofline.svg").read_bytes() == (tmp_path / "a-roofline.svg").read_bytes()


def test_ctrl_c_stops_the_command_with_a_record_that_can_be_shown(visitor, tmp_path, capsys):
    visitor.stop_after, path = 8, tmp_path / "record.json"
    with pytest.raises(KeyboardInterrupt):
        bench(SETTINGS, out=path)
    assert not read(path).complete
    assert len(read(path).visits) == 8
    assert "Stopped by Ctrl-C" in capsys.readouterr().out
    bench(Settings(), record=path)
    assert "Stopped before the end" in capsys.readouterr().out.replace("\n", " ")


def test_run_in_which_every_network_fails_writes_no_record_and_names_the_reason(visitor, tmp_path, capsys):
    visitor.fails = SETTINGS.networks
    with pytest.raises(ValueError, match="every network failed"):
        bench(SETTINGS, out=tmp_path / "record.json")
    assert "Left out: ResNet-50: RuntimeError: it failed" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks", "smal"], "unknown network 'smal', did you mean 'small'?"),
        (["--layouts", "2by1"], "layout '2by1' must be PROCESSESxTHREADS"),
        (["--device", "abacus"], "device 'abacus' can't be used here"),
        (["--out", "no/such/folder/a.json"], "no folder no/such/folder to write a.json to"),
        (["--out", "."], ". is a folder; give --out a name in it, such as bench.json"),
        (["--figure", "a.png"], "name it a.svg, not a.png"),
        (["--record", "r.json", "--training", "--batch", "1"], "so --training, --batch can't be given with it"),
        (["--record", "r.json"], "no record at r.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_options_are_refused_before_anything_runs(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["hatnet", "bench", *arguments])
    monkeypatch.setattr("hatnet.cli.bench.measure", lambda *_: pytest.fail("the measurement began"))
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


def test_options_have_the_names_that_scripts_rely_on(visitor, tmp_path, monkeypatch, capsys):
    words = "--networks micro authors-micro --no-training --no-compile --dtype float32 --device cpu --batch 4 --size 32"
    words += " --rounds 1 --seconds 0.1 --threads 2 --allocator default --out r.json"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["hatnet", "bench", *words.split()])
    main()
    settings = read(tmp_path / "r.json").settings
    assert settings == replace(SETTINGS, networks=("micro", "authors-micro"), rounds=1, seconds=0.1)
    monkeypatch.setattr("sys.argv", ["hatnet", "bench", "--training", "--compile", "--layouts", "1x2", "2x1", "--help"])
    with pytest.raises(SystemExit):
        main()


def test_figure_of_accuracy_shows_every_network_with_its_quartiles():
    pytest.importorskip("matplotlib")
    from hatnet.studies.bench.draw import draw_accuracy

    record = synthetic_record()
    next(visit for visit in record.of("resnet50", [1])).batches = [[0.2, 0.25, 0.4]]
    (axes,) = draw_accuracy(record).axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [label.partition(":")[0].partition(" (")[0] for label in labels] == [
        NETWORKS[name].label for name in record.measured()
    ]
    for container, name in zip(axes.containers, record.measured(), strict=True):
        ((x, y),) = container.lines[0].get_xydata()
        values = record.throughput(name)
        assert x == pytest.approx(values.median)
        (segment,) = container.lines[2][0].get_segments()
        assert list(segment[:, 0]) == pytest.approx([values.low, values.high])
        assert name != "resnet50" or y == 80.4


def test_figure_of_the_roofline_has_both_times_of_every_place():
    pytest.importorskip("matplotlib")
    from hatnet.studies.bench.draw import draw_rooflines
    from hatnet.studies.bench.roofline import roofline

    record = synthetic_record()
    (axes,) = draw_rooflines(record).axes
    found = roofline(record, "micro")
    places = [label.get_text() for label in axes.get_yticklabels()]
    assert places == list(dict.fromkeys(part.part.partition(": ")[0] for part in found.parts))
    assert "stem" in places
    widths = [patch.get_width() for patch in axes.patches]
    assert sum(widths) == pytest.approx(1e3 * sum(part.seconds + part.bound for part in found.parts))
    ends = [patch.get_x() + patch.get_width() for patch in axes.patches if patch.get_y() < places.index("stage 0 mlp")]
    measured = [part.seconds for part in found.parts if part.part.startswith("stage 0 mlp")]
    assert max(ends) == pytest.approx(1e3 * sum(measured))


def test_tables_of_a_training_leave_out_latency_and_of_a_compiled_cpu_run_memory():
    training = synthetic_record(replace(SETTINGS, training=True))
    assert {row[3] for row in tables.results(training).rows} == {"-"}
    assert {row[4] for row in tables.results(training).rows} == {"5", "13", "8"}  # synthetic: a MiB per letter
    assert "with 0.38 times its memory" in "".join(tables.findings(training))
    compiled = synthetic_record(replace(SETTINGS, compile=True))
    assert {row[4] for row in tables.results(compiled).rows} == {"-"}
    assert "memory" not in "".join(tables.findings(compiled))


def test_recomputing_network_is_compared_with_both_others(monkeypatch):
    names = ("micro", "micro-recompute", "authors-micro")
    layouts = replace(SETTINGS, networks=names, training=True, threads=1)
    seconds = {(name, layouts.candidates()[0]): time for name, time in zip(names, (1.0, 1.25, 2.0), strict=True)}
    monkeypatch.setattr("tests.studies.bench.synthetic.SECONDS", seconds)
    sentences = tables.findings(synthetic_record(layouts))
    assert [sentence.partition(" with ")[0] for sentence in sentences] == [
        "HAT-Net Micro computes 2.00 times the images/s of the authors' formulation",
        "HAT-Net Micro (recomputed) computes 0.80 times the images/s of the same network",
        "HAT-Net Micro (recomputed) computes 1.60 times the images/s of the authors' formulation",
    ]


@pytest.mark.long
def test_command_runs_in_miniature(tmp_path, capsys):
    """Real processes: two rounds of two networks in one layout, with the roofline."""
    threads = torch.get_num_threads()
    settings = Settings(networks=("micro", "authors-micro"), size=32, rounds=1, seconds=0.05, layouts=("1x1",))
    bench(settings, out=tmp_path / "record.json")
    record = read(tmp_path / "record.json")
    assert record.complete
    assert set(record.measured()) == {"micro", "authors-micro"}
    assert all(record.latency(name) and record.memory(name) for name in record.measured())
    (visit,) = [visit for visit in record.visits if visit.parts]
    assert all(0 < rate < math.inf for rate in visit.peaks[0].values())
    assert "of its own roofline" in capsys.readouterr().out
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record["settings"].update(networks=["micr"]),
        lambda record: record["visits"][0].update(network=3),
        lambda record: record["visits"][0].update(batches=[["x"]]),
        lambda record: record["visits"][0].pop("threads"),
        lambda record: record["visits"][0].update(batches=[[0.0]]),
        lambda record: record["visits"][-1]["peaks"][0].pop("silu"),
        lambda record: record["machine"].clear(),
        lambda record: record.pop("visits"),
        lambda record: record.update(version=2),
    ],
)
def test_damaged_record_is_refused(tmp_path, hatnet_command, change):
    write(synthetic_record(replace(SETTINGS, networks=("micro",))), tmp_path / "record.json")
    content = json.loads((tmp_path / "record.json").read_text())
    change(content)
    (tmp_path / "record.json").write_text(json.dumps(content))
    status, _, err = hatnet_command("bench", "--record", tmp_path / "record.json")
    assert status == 2
    assert err
