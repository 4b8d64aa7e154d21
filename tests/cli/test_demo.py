"""The command `hatnet demo`."""

import time
from pathlib import Path


def test_demo_compares_both_on_a_photo_and_prints_the_reports_path_last(hatnet_command, tmp_path):
    report = tmp_path / "report.html"
    start = time.monotonic()
    status, out, _ = hatnet_command("demo", "--out", report)
    assert status == 0
    assert "They agree: all 88 intermediates" in out
    worst = float(out.split("intermediates to ")[1].split()[0])
    assert worst < 1e-12
    assert Path(out.strip().splitlines()[-1]) == report
    assert "<html" in report.read_text(encoding="utf-8")
    assert time.monotonic() - start < 300  # a hang, not a speed limit
