"""`python -m tests.on_gpu`: what runs next, how it is cut off and resumed, what it keeps, and what it needs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from tests.on_gpu import __main__ as command
from tests.on_gpu import fashion, pieces, place, process
from tests.on_gpu.pieces import Piece
from tests.on_gpu.place import ROOT, Place
from tests.on_gpu.plan import STOPPING, order, step
from tests.on_gpu.records import Entry, Records

MACHINE = {"gpu": "a GPU"}


def entry(status, **facts):
    return Entry(status, "python", MACHINE, "2026-01-01T00:00:00+00:00", **facts)


def piece(name, code="", minutes=1.0, **options):
    return Piece(name, f"the piece {name}", minutes, ("-c", code), **options)


def here(tmp_path):
    found = Place(tmp_path / "out", tmp_path / "runs", miniature=True)
    found.out.mkdir(exist_ok=True)
    found.runs.mkdir(exist_ok=True)
    return found


@pytest.fixture
def on_gpu(monkeypatch, tmp_path):
    """The command with other pieces: a function of these and of its options. Returns its exit status and entries."""
    monkeypatch.setattr(command, "machine_facts", lambda _: MACHINE)

    def call(known, *options):
        monkeypatch.setattr(command, "pieces", lambda _: known)
        folders = ("--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs"))
        status = command.main([*folders, "--miniature", *options])
        path = tmp_path / "out" / "on-gpu.json"
        return status, json.loads(path.read_text())["pieces"] if path.exists() else {}

    return call


def test_missing_pieces_run_in_order_and_failed_ones_last(tmp_path):
    records = Records(tmp_path, miniature=False)
    for name, status in (("a", "done"), ("b", "failed"), ("c", "cut off"), ("e", "started")):
        records.put(name, entry(status))
    assert [each.name for each in order([piece(name) for name in "abcde"], records)] == ["c", "d", "e", "b"]


def test_a_piece_starts_only_if_it_fits(tmp_path):
    records = Records(tmp_path, miniature=False)
    whole = piece("whole", minutes=5)
    assert step(whole, records, None, None).minutes is None
    assert step(whole, records, 6, 9).minutes == pytest.approx(6 - STOPPING)
    assert "left" in step(whole, records, 5.5, 9).no_time
    assert "--minutes 5.7" in step(whole, records, 5, 5).too_long
    records.put("whole", entry("cut off", longest=300.0))
    assert "--minutes 6.7" in step(whole, records, 6, 6).too_long  # 1.2 times the five minutes that were too few
    assert step(whole, records, 7, 7).minutes
    assert step(piece("slices", minutes=100, resumes=True), records, 3, 9).minutes == pytest.approx(3 - STOPPING)
    assert step(piece("slices", minutes=100, resumes=True), records, 2, 9).no_time


def test_a_failed_piece_stops_no_other_and_keeps_its_last_lines(on_gpu, tmp_path):
    known = [
        piece("bad", "print('almost'); raise SystemExit(7)"),
        piece("empty", "pass", files=("x.json",)),
        piece("odd", "pass", finish=lambda _: json.loads("no")),
        piece("good", f"open({str(tmp_path / 'out' / 'y.json')!r}, 'w')", files=("y.json",), finish=lambda _: "fine"),
    ]
    status, found = on_gpu(known)
    assert status == 1
    assert {name: each["status"] for name, each in found.items()} == {
        "bad": "failed", "empty": "failed", "odd": "failed", "good": "done",
    }  # fmt: skip
    assert found["bad"]["exit"] == 7
    assert found["bad"]["log"] == ["almost"]
    assert found["empty"]["result"] == "did not write x.json"
    assert (found["good"]["result"], found["good"]["files"], found["good"]["machine"]) == ("fine", ["y.json"], MACHINE)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["good"]["ended"])
    status, again = on_gpu([replace(known[0], words=("-c", "")), *known[3:]])
    assert (status, again["bad"]["status"], again["good"]) == (0, "done", found["good"]), "what is done stays as it is"


def test_an_old_file_is_no_result(on_gpu, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "y.json").write_text("{}")
    assert on_gpu([piece("old", files=("y.json",))])[1]["old"]["status"] == "failed"


def test_a_piece_finds_the_packages_that_the_command_finds(on_gpu, tmp_path, monkeypatch):
    """On a machine without internet they may have been unpacked into a folder on PYTHONPATH."""
    (tmp_path / "carried.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert on_gpu([piece("imports", "import carried, tests.gpu")])[0] == 0


SLICES = """
import pathlib, signal, sys, time
path = pathlib.Path({path!r})
print("begins", flush=True)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
if path.exists(): sys.exit(0)
path.write_text("")
time.sleep(1800)
"""


def test_a_training_is_cut_off_when_the_time_is_up_and_continues(on_gpu, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "step", lambda *_: step(known, Records(tmp_path, True), None, None).__class__(0.02))
    known = piece("slices", SLICES.format(path=str(tmp_path / "state")), resumes=True)
    status, found = on_gpu([known])
    assert (status, found["slices"]["status"], found["slices"]["exit"]) == (3, "cut off", 143)
    monkeypatch.setattr(command, "step", step)
    status, found = on_gpu([known])
    assert (status, found["slices"]["status"], found["slices"]["slices"]) == (0, "done", 2)
    assert found["slices"]["seconds"] > 1, "of both slices"


def test_a_command_that_does_not_stop_is_killed_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "GRACE", 0.3)
    child = "import time; time.sleep(60)"
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"print(subprocess.Popen([sys.executable, '-c', {child!r}]).pid, flush=True); time.sleep(60)"
    )
    outcome = process.run([sys.executable, "-c", code], tmp_path / "log", tmp_path, limit=1.5)
    assert (outcome.exit, outcome.stopped) == (-signal.SIGKILL, "time")
    number = int(process.last_lines(tmp_path / "log")[0])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and alive(number):
        time.sleep(0.05)
    assert not alive(number)


def alive(number):
    """True if a process runs; one that has ended and waits for its parent does not."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


DRIVER = """
import sys
from tests.on_gpu import __main__ as command
from tests.on_gpu.pieces import Piece
command.pieces = lambda _: [Piece("slices", "", 1, ("-c", {code!r}), resumes=True), Piece("next", "", 1, ("-c", ""))]
command.machine_facts = lambda _: {{}}
for number in (2, 15):
    command.signal.signal(number, command.on_signal)
sys.exit(command.main(["--miniature", "--out", "out", "--runs", "runs"]))
"""


def test_a_signal_stops_the_piece_and_is_recorded(on_gpu, tmp_path):
    """A timer instead of Ctrl-C: it raises what the handler of SIGINT raises."""
    before = signal.signal(signal.SIGALRM, lambda *_: command.on_signal(signal.SIGINT, None))
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.5)
        known = [piece("slices", SLICES.format(path=str(tmp_path / "state")), resumes=True), piece("next")]
        status, found = on_gpu(known)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert (status, list(found), found["slices"]["status"]) == (130, ["slices"], "cut off")
    assert found["slices"]["longest"] == 0, "the user stopped it, so its minutes were not too few"


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_or_killed_resumes_with_the_same_piece(number, tmp_path):
    """After SIGKILL the record says `started`. The piece still stops in order, so that nothing blocks the next run."""
    code = SLICES.format(path=str(tmp_path / "state"))
    words = [sys.executable, "-c", DRIVER.format(code=code)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 600
    while not (tmp_path / "state").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    refused = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (refused.returncode, "another `python -m tests.on_gpu`" in refused.stderr) == (2, True)
    first.send_signal(number)
    status = first.wait(600)
    found = json.loads((tmp_path / "out" / "on-gpu.json").read_text())["pieces"]
    assert found["slices"]["status"] == ("started" if number == signal.SIGKILL else "cut off")
    assert status == (-number if number == signal.SIGKILL else 128 + number)
    assert "next" not in found
    assert subprocess.run(words, cwd=tmp_path, env=environment, check=False).returncode == 0
    found = json.loads((tmp_path / "out" / "on-gpu.json").read_text())["pieces"]
    assert [each["status"] for each in found.values()] == ["done", "done"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not a record"),
        ('{"kind": "tests.on_gpu", "version": 2}', "not a record"),
        ('{"kind": "tests.on_gpu", "version": 1, "miniature": true, "pieces": {}}', "of a miniature"),
        ('{"kind": "tests.on_gpu", "version": 1, "miniature": false, "pieces": {"a": {"status": "done"}}}', "lacks"),
    ],
)
def test_other_records_are_refused(content, words, tmp_path):
    (tmp_path / "on-gpu.json").write_text(content)
    with pytest.raises(ValueError, match=words):
        Records(tmp_path, miniature=False)
    assert (tmp_path / "on-gpu.json").read_text() == content


def test_wrong_entries_are_refused(tmp_path):
    Records(tmp_path, miniature=False).put("a", entry("done", seconds=2.0))
    path = tmp_path / "on-gpu.json"
    for old, new in (('"done"', '"fine"'), ("2.0", '"2"'), ("[]", "[1]")):
        path.write_text(path.read_text().replace(old, new, 1))
        with pytest.raises(ValueError, match="not a record"):
            Records(tmp_path, miniature=False)
        path.write_text(path.read_text().replace(new, old, 1))
    assert Records(tmp_path, miniature=False).entries == {"a": entry("done", seconds=2.0)}


@pytest.mark.parametrize("options", [("--minutes", "1"), ("--minutes", "nan"), ("--minutes", "x"), ("--other",)])
def test_wrong_options_are_refused(options, capsys):
    with pytest.raises(SystemExit) as end:
        command.main(options)
    assert end.value.code == 2


def test_unknown_names_and_a_missing_gpu_are_refused(capsys, tmp_path):
    assert command.main(["--only", "test", "--out", str(tmp_path / "out")]) == 2
    assert "unknown: test; known: tests, " in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert command.main(["--out", str(tmp_path / "out"), "--runs", str(tmp_path / "runs")]) == 2
        assert "--miniature" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_what_a_piece_needs_is_checked_before_it_starts(on_gpu, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pieces.shutil, "which", lambda _: None)
    status, found = on_gpu([piece("a", packages=("json", "no_such_package")), piece("b", fashion=True), piece("c")])
    assert (status, list(found)) == (1, ["b", "c"])
    assert "a cannot run here: needs no_such_package: `python -m pip install" in capsys.readouterr().out
    real = Place(tmp_path / "out", tmp_path / "runs", fashion=tmp_path)
    [problem] = piece("b", fashion=True).problems(real)
    assert problem.startswith(f"train-images-idx3-ubyte of Fashion-MNIST is not in {tmp_path}: install")
    monkeypatch.setattr(pieces, "get_path", lambda _: tmp_path)
    needs = ["a C compiler: apt-get install gcc", "Python.h: apt-get install python3-dev"]
    assert piece("c", compiles=True).problems(real) == [f"torch.compile needs {words}" for words in needs]


@pytest.mark.parametrize("inside", [".", "FashionMNIST/raw"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_fashion_mnist_is_found_checked_and_unpacked(inside, suffix, tmp_path, monkeypatch):
    """As Debian packs it, and as torchvision lays it out."""
    content = {name: name.encode() for name in fashion.FILES}
    digests = {name: fashion.sha256(data).hexdigest() for name, data in content.items()}
    monkeypatch.setattr(fashion, "FILES", digests)
    folder = tmp_path / "given" / inside
    folder.mkdir(parents=True)
    for name, data in content.items():
        (folder / f"{name}{suffix}").write_bytes(fashion.gzip.compress(data) if suffix else data)
    where = Place(tmp_path / "out", tmp_path / "runs", fashion=tmp_path / "given")
    bad = folder / f"t10k-labels-idx1-ubyte{suffix}"
    good = bad.read_bytes()
    for damaged, words in ((good[:-9], "cannot be read|damaged"), (b"other", "cannot be read|damaged")):
        bad.write_bytes(damaged)
        assert re.search(words, fashion.prepare(where))
        assert not (tmp_path / "runs").exists()
    bad.write_bytes(good)
    assert fashion.prepare(where) == ""
    raw = fashion.prepared(where) / "FashionMNIST" / "raw"
    assert {path.name: path.read_bytes() for path in raw.iterdir()} == content


@pytest.mark.parametrize("miniature", [False, True])
def test_commands_exist_and_name_no_path_of_this_machine(miniature, tmp_path):
    found = Place(ROOT / "docs" / "measurements" / "gpu", ROOT / "runs" / "on-gpu", miniature=miniature)
    known = pieces.pieces(found)
    assert len({each.name for each in known}) == len(known)
    assert sum(each.minutes for each in known if not each.resumes) <= 55  # as docs/gpu.md says
    for each in known:
        assert each.minutes < 8 or each.resumes
        assert str(Path.home()) not in pieces.shown(each, found)
        assert str(ROOT) not in pieces.shown(each, found)
        assert all(sys.executable not in word for word in each.words)
    assert all("cuda" in each.words for each in known if not miniature and not each.name.startswith("tests"))


def test_every_file_of_cuda_tests_is_run():
    """The marker is the only way to skip a test without a GPU."""
    tests, compiled = (each for each in pieces.pieces(Place(ROOT, ROOT)) if each.name.startswith("tests"))
    marked = {str(path.relative_to(ROOT)) for path in ROOT.glob("tests/**/*.py") if "mark.cuda" in path.read_text()}
    unmarked = [path for path in ROOT.glob("tests/**/test_*.py") if re.search(r"skipif\(.*cuda", path.read_text())]
    assert {"tests/core/test_precision.py", "tests/core/test_gpu.py"} < set(tests.words)
    assert marked - {"tests/conftest.py", "tests/core/test_on_gpu.py", "tests/on_gpu/pieces.py"} <= set(tests.words)
    assert [path for path in unmarked if path != Path(__file__)] == []
    chosen = [each.words[each.words.index("-k") + 1] for each in (tests, compiled)]
    assert chosen == ["not compiled", "compiled"], "every test is in exactly one of the two pieces"
    assert [path for path in compiled.words if path.endswith(".py")] == [p for p in tests.words if p.endswith(".py")]


def test_skipped_and_failed_tests_are_no_success(tmp_path):
    path = tmp_path / "tests.xml"
    for counts, words in (
        ("tests='3' skipped='1'", "1 skipped"),
        ("tests='3' failures='1'", "1 failed"),
        ("", "0 passed"),
    ):
        path.write_text(f"<testsuites><testsuite {counts}/></testsuites>")
        with pytest.raises(ValueError, match=words):
            pieces.counted(path)
    path.write_text("<testsuites><testsuite tests='3'/></testsuites>")
    assert pieces.counted(path) == "3 passed, 0 failed, 0 skipped"


@pytest.mark.parametrize(("network", "words"), [("resnet50", "resnet50 refused: no memory"), ("small", None)])
def test_a_benchmark_without_our_networks_is_no_success(network, words, monkeypatch):
    visits = [SimpleNamespace(network="tiny", refused=""), SimpleNamespace(network=network, refused="no memory")]
    monkeypatch.setattr(pieces, "read_bench", lambda _: SimpleNamespace(visits=visits))
    if words:
        assert pieces.benched(Path()) == words
    else:
        with pytest.raises(ValueError, match="small refused: no memory"):
            pieces.benched(Path())


def test_machine_facts_name_the_gpu_and_its_software(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    facts = place.machine_facts("cuda")
    assert facts["gpu"] == "a GPU"
    assert {"cuda", "driver", "torch", "torchvision", "python", "cpu"} <= set(facts)
