"""The command `hatnet`: the main job, exit status, and errors a person can act on."""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import hatnet
from hatnet.cli.main import main
from hatnet.complexity import inference_memory, network_costs, total, training_memory
from hatnet.config import VARIANTS
from hatnet.equivalence import randomise
from tests.core.authors import state_dict


def run(monkeypatch, capsys, *arguments):
    """Exit status, standard output and standard error of `hatnet ARGUMENTS`."""
    monkeypatch.setattr(sys, "argv", ["hatnet", *map(str, arguments)])
    monkeypatch.setenv("COLUMNS", "100")
    status = 0
    try:
        main()
    except SystemExit as stop:
        status = stop.code or 0
    out, err = capsys.readouterr()
    return status, out, err


def test_demo_compares_both_on_a_photo_and_prints_the_reports_path_last(monkeypatch, capsys, tmp_path):
    report = tmp_path / "report.html"
    start = time.monotonic()
    status, out, _ = run(monkeypatch, capsys, "demo", "--out", report)
    assert status == 0
    assert "They agree: all 88 intermediates" in out
    worst = float(out.split("intermediates to ")[1].split()[0])
    assert worst < 1e-12
    assert Path(out.strip().splitlines()[-1]) == report
    assert "<html" in report.read_text(encoding="utf-8")
    assert time.monotonic() - start < 300  # a hang, not a speed limit


def test_verify_agrees_in_every_precision(monkeypatch, capsys):
    for dtype in ("float64", "float32", "bfloat16"):
        status, out, _ = run(monkeypatch, capsys, "verify", "--variant", "micro", "--size", 45, "--dtype", dtype)
        assert status == 0, out
        assert "They agree" in out


def test_verify_ends_with_status_1_and_names_the_first_difference(monkeypatch, capsys):
    """The control: a bug in the model is found."""
    import hatnet.layers

    monkeypatch.setattr(hatnet.layers.F, "avg_pool2d", lambda x, k, **_: torch.nn.functional.max_pool2d(x, k))
    status, out, _ = run(monkeypatch, capsys, "verify", "--variant", "micro", "--size", 32)
    assert status == 1
    assert "They differ: first at stages.0.blocks.0.attention.global_weights" in out


def test_verify_takes_checkpoints_of_ours_and_of_the_authors(monkeypatch, capsys, tmp_path):
    model = hatnet.create_model("micro", num_classes=3)
    randomise(model)
    hatnet.save(model, tmp_path / "ours.safetensors")
    status, out, _ = run(monkeypatch, capsys, "verify", "--checkpoint", tmp_path / "ours.safetensors", "--size", 32)
    assert (status, "HAT-Net Micro" in out) == (0, True)
    status, _, err = run(
        monkeypatch, capsys, "verify", "--checkpoint", tmp_path / "ours.safetensors", "--variant", "tiny"
    )
    assert (status, "holds 'micro', not 'tiny'" in err) == (2, True)
    torch.save({"model": state_dict("tiny")}, tmp_path / "HAT-Net_Tiny.pth")
    status, out, _ = run(monkeypatch, capsys, "verify", "--checkpoint", tmp_path / "HAT-Net_Tiny.pth", "--size", 64)
    assert (status, "HAT-Net Tiny" in out) == (0, True)
    status, out, _ = run(monkeypatch, capsys, "verify", "--pretrained", "fashion-mnist")
    assert (status, "HAT-Net Micro on 28 x 28 pixels" in out) == (0, True)  # grey, of the size of its training


SUMMARY = """
 part          map    C  heads  G1  windows  G2  merged  blocks  parameters
 stem            -    -      -   -        -   -       -       -       7,440
 stages.0    56x56   48      1   8      7x7   8     7x7       2     114,528
 stages.1    28x28   96      2   7      4x4   4     7x7       2     482,784
 stages.2    14x14  240      5   7      2x2   2     7x7       6   5,468,400
 stages.3      7x7  384      8   -        -   -       -       3   6,192,000
 classifier      -    -      -   -        -   -       -       -     385,000
 total                                                           12,650,152
"""

COSTS = """
 part            MACs without  MACs with  inference  training
 stem                    27.1       27.1        3.0       3.8
 stages.0               325.6      393.6       16.9      60.4
 stages.1               348.6      378.1        9.0      31.5
 stages.2               965.3    1,020.6        4.1      40.5
 stages.3               302.8      308.3        2.7       6.7
 classifier               0.4        0.4          -       0.0
 total, or most       1,969.7    2,128.1       16.9     142.9
"""


def test_summary_prints_a_row_a_stage(monkeypatch, capsys):
    """Tables 1 and 2, within 80 columns."""
    status, out, _ = run(monkeypatch, capsys, "summary", "tiny")
    assert status == 0
    lines = [line.rstrip() for line in out.splitlines()]
    for table in (SUMMARY, COSTS):
        rows = table.strip("\n").splitlines()
        assert [line for line in lines if line in rows] == rows
    assert max(map(len, lines)) <= 80
    assert "Paper, at 224 x 224: 12.7 M parameters, 2.0 G FLOPs" in out
    assert "Ours, at 224 x 224: 1.97 G MACs without attention, 2.13 G with." in out
    assert "12,655,912 in the authors' file" in out


def test_summary_of_the_largest_image_fits_in_80_columns(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "summary", "large", "--image-size", 800, 1333)
    assert max(len(line.rstrip()) for line in out.splitlines()) <= 80
    assert "Paper, at 224 x 224: 63.1 M parameters, 11.5 G FLOPs" in out


def test_summary_of_our_own_variant_has_no_published_figures(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "summary", "micro")
    assert "Paper" not in out
    assert "authors" not in out


def test_summary_prints_json_and_nothing_else(monkeypatch, capsys):
    status, out, err = run(monkeypatch, capsys, "summary", "small", "--image-size", 100, 133, "--json")
    assert (status, err) == (0, "")
    printed = json.loads(out)
    cost = total(network_costs(VARIANTS["small"], 100, 133))
    assert printed["image_size"] == [100, 133]
    assert printed["parameters"] == cost.parameters
    assert printed["macs"] == {"without_attention": cost.projection_macs, "with_attention": cost.total_macs}
    assert printed["memory"]["inference"] == inference_memory(VARIANTS["small"], 100, 133)
    assert printed["memory"]["training"] == training_memory(VARIANTS["small"], 100, 133)
    assert printed["paper_at_224"] == {"parameters_millions": 25.7, "gflops": 4.3}
    assert [part["part"] for part in printed["parts"]] == ["stem", *(f"stages.{s}" for s in range(4)), "classifier"]


def test_summary_shows_what_another_image_size_means(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "summary", "tiny", "--image-size", 100, 133)
    assert "25x34" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("summary", "tny"), "unknown variant 'tny', did you mean 'tiny'"),
        (("summary", "tiny", "--image-size", "224", "31"), "224 x 31 pixels is too small"),
        (("summary", "tiny", "--image-size", "-5", "224", "--json"), "-5 x 224 pixels is too small"),
        (("verify", "--variant", "huge"), "unknown variant 'huge'"),
        (("verify", "--size", 20), "20 x 20 pixels is too small"),
        (("verify", "--image", "none.jpg"), "no image file at none.jpg"),
        (("verify", "--checkpoint", "none.pth"), "no checkpoint file at none.pth"),
        (("verify", "--device", "abacus"), "device 'abacus' can't be used here"),
        (
            ("demo", "--out", "no/such/folder/report.html"),
            "no folder no/such/folder to write report.html to; create it",
        ),
        (("demo", "--out", "."), ". is a folder; give the report a file name"),
        (("demo", "--seed", "-1"), "seed=-1 must not be negative"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(monkeypatch, capsys, arguments, message):
    status, _, err = run(monkeypatch, capsys, *arguments)
    assert status == 2
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err


def test_a_port_that_is_taken_costs_no_build(monkeypatch, capsys):
    pytest.importorskip("mkdocs", reason="no extra docs")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, err = run(monkeypatch, capsys, "docs", "--port", port)
    assert status == 2
    assert f"cannot listen on port {port}" in err
    assert "--port" in err


@pytest.mark.parametrize("arguments", [("verify", "--dtype", "float8"), ("verify", "--sise", "3"), ("sumary", "tiny")])
def test_unknown_options_are_refused_by_name(monkeypatch, capsys, arguments):
    status, out, err = run(monkeypatch, capsys, *arguments)
    assert status == 2
    assert arguments[-2] in out + err or arguments[0] in out + err


def test_importing_hatnet_needs_torch_and_numpy_alone():
    """Plots, command-line libraries and image libraries are imported where they are used."""
    code = (
        "import sys, hatnet; extra = {'PIL', 'rich', 'tyro', 'matplotlib', 'safetensors', 'torchvision', 'reference'};"
        "print(*sorted(extra & {name.partition('.')[0] for name in sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_reference_needs_numpy_alone():
    """It imports nothing of ours, and hatnet nothing of its arithmetic: only equivalence.py knows both."""
    code = "import sys, reference; print('torch' in sys.modules, 'hatnet' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )
    for file in (Path(hatnet.__file__).parent).glob("*.py"):
        if file.name != "equivalence.py":
            assert "import reference" not in file.read_text(encoding="utf-8"), file
            assert "from reference" not in file.read_text(encoding="utf-8"), file
