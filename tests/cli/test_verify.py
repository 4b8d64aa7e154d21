"""The commands `hatnet verify` and `hatnet demo` compare PyTorch with the reference; `hatnet docs` shows the result."""

import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch

import hatnet
import hatnet.layers
from hatnet.equivalence import compare, randomise
from tests.core.authors import state_dict


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
def test_verify_agrees_in_every_precision(hatnet_command, dtype):
    status, out, _ = hatnet_command("verify", "--variant", "micro", "--size", 45, "--dtype", dtype)
    assert status == 0, out
    assert "They agree" in out


def test_verify_ends_with_status_1_and_names_the_first_difference(hatnet_command, monkeypatch):
    monkeypatch.setattr(hatnet.layers.F, "avg_pool2d", lambda x, k, **_: torch.nn.functional.max_pool2d(x, k))
    status, out, _ = hatnet_command("verify", "--variant", "micro", "--size", 32)
    assert status == 1
    assert "They differ: first at stages.0.blocks.0.attention.global_weights" in out


def test_verify_takes_checkpoints_of_ours_and_of_the_authors(hatnet_command, tmp_path):
    model = hatnet.create_model("micro", num_classes=3)
    randomise(model)
    ours, authors = tmp_path / "ours.safetensors", tmp_path / "HAT-Net_Tiny.pth"
    hatnet.save(model, ours)
    torch.save({"model": state_dict("tiny")}, authors)
    for arguments, status, message in (
        (("--weights", ours, "--size", 32), 0, "HAT-Net Micro"),
        (("--weights", ours, "--variant", "tiny"), 2, "holds 'micro', not 'tiny'"),
        (("--weights", authors, "--size", 64), 0, "HAT-Net Tiny"),
        (("--weights", "fashion-mnist"), 0, "HAT-Net Micro on 28 x 28 pixels"),  # of the size of its training
        (("--checkpoint", ours, "--size", 32), 0, "HAT-Net Micro"),  # the former names
        (("--pretrained=fashion-mnist",), 0, "HAT-Net Micro on 28 x 28 pixels"),
    ):
        ended, out, err = hatnet_command("verify", *arguments)
        assert (ended, message in out + err) == (status, True)


def test_demo_compares_both_on_a_photo_and_prints_the_reports_path_last(hatnet_command, tmp_path):
    report = tmp_path / "report.html"
    start = time.monotonic()
    status, out, _ = hatnet_command("demo", "--out", report)
    assert status == 0
    assert "They agree: all 88 intermediates" in out
    assert float(out.split("intermediates to ")[1].split()[0]) < 1e-12
    assert Path(out.strip().splitlines()[-1]) == report
    assert "A trained HAT-Net on a scene in colour: its 40 intermediates agree" in " ".join(out.split())
    html = report.read_text(encoding="utf-8")
    assert "<html" in html
    assert "Attention of a trained network over a scene" in html
    assert html.count("<attention-explorer linked><script") == html.count("<attention-explorer><script") == 1
    assert time.monotonic() - start < 300  # a hang, not a speed limit


def test_demo_without_torchvision_says_how_to_see_the_scene(hatnet_command, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hatnet.maps.colour_scene", None)
    status, out, _ = hatnet_command("demo", "--out", tmp_path / "report.html")
    assert status == 0
    assert "install torchvision" in out
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<attention-explorer linked><script") == 1
    assert "<attention-explorer><script" not in html
    assert "install torchvision and run this again: <code>python -m pip" in html


def test_demo_writes_its_report_even_if_maps_cannot_be_shown(hatnet_command, tmp_path, monkeypatch):
    monkeypatch.setattr("hatnet.maps.colour_scene.object_maps", mock.Mock(side_effect=ValueError("no <b>finite</b>")))
    assert hatnet_command("demo", "--out", tmp_path / "report.html")[0] == 0
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "cannot be shown: no &lt;b&gt;finite" in html
    assert "88 intermediates agree" in html


def test_demo_fails_if_the_trained_network_differs(hatnet_command, tmp_path, monkeypatch):
    def differ(model, images):
        first, *others = compare(model, images)
        return [replace(first, error=1e-3), *others]

    monkeypatch.setattr("hatnet.cli.demo.compare", differ)
    status, out, _ = hatnet_command("demo", "--out", tmp_path / "report.html")
    assert status == 1
    assert "do not agree (largest difference 1.0e-03)" in " ".join(out.split())
    assert "1 of 40 intermediates do not agree" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_port_that_is_taken_costs_no_build(hatnet_command):
    pytest.importorskip("mkdocs", reason="no extra docs")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        status, _, err = hatnet_command("docs", "--port", port)
    assert status == 2
    assert f"cannot listen on port {port}" in err
    assert "--port" in err
