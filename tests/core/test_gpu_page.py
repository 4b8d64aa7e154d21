"""The page about GPUs shows what `python -m tests.on_gpu` recorded, and says so if that is nothing."""

import json
import re
import subprocess
import sys

import pytest

pytest.importorskip("matplotlib")
from builder.gpu import NOTHING, gpu
from builder.tables import insert_tables
from tests.on_gpu.place import ROOT
from tests.on_gpu.records import Entry, Records

RECORDS = ROOT / "docs" / "measurements" / "gpu" / "on-gpu.json"


def test_without_a_record_the_page_says_that_nothing_was_run(tmp_path):
    assert gpu(tmp_path) == [NOTHING]
    if not RECORDS.exists():
        page = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
        assert NOTHING in insert_tables(page, ROOT)


def test_every_piece_is_in_the_table_and_failures_with_their_last_lines(tmp_path):
    folder = tmp_path / "measurements" / "gpu"
    folder.mkdir(parents=True)
    records = Records(folder, miniature=False)
    facts = {"command": "python", "machine": {"gpu": "a GPU", "cores": 3}, "started": "2026-01-02T03:04:05+00:00"}
    records.put("tests", Entry("done", **facts, seconds=90.0, result="3 passed"))
    records.put("precision", Entry("failed", **facts, seconds=6.0, result="exit status 1", log=["no | memory"]))
    text = "\n".join(gpu(tmp_path))
    assert "| tests | done | 2026-01-02 | 1.5 | 3 passed |" in text
    assert "| precision | failed | 2026-01-02 | 0.1 | exit status 1 |" in text
    assert '??? abstract "precision failed: exit status 1"\n\n    ```text\n    no | memory\n    ```\n' in text
    assert text.count("gpu a GPU") == 1
    assert "cores" not in text
    records.path.write_text("{}")
    with pytest.raises(ValueError, match="not a record"):
        gpu(tmp_path)


@pytest.mark.long
def test_the_miniature_runs_every_piece_and_the_page_shows_it(tmp_path):
    """The commands of all pieces, in small on the CPU, and every kind of result on the page."""
    docs = tmp_path / "docs"
    folder = docs / "measurements" / "gpu"
    words = ["-m", "tests.on_gpu", "--miniature", "--out", str(folder), "--runs", str(tmp_path / "runs")]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    pieces = json.loads((folder / "on-gpu.json").read_text())["pieces"]
    assert {piece["status"] for piece in pieces.values()} == {"done"}
    text = "\n".join(gpu(docs))
    for name, piece in pieces.items():
        assert (f"### {name} {{" in text) == (name != "tests")
        assert all((folder / file).is_file() for file in piece["files"])
    for path in re.findall(r"\]\((measurements/.*?)\)", text):
        assert (docs / path).is_file()
    for words in ("Distance from the reference", "H-MHSA", "ResNet-50", "seed 2", "spread (n - 1)"):
        assert words in text, words
    assert str(tmp_path) not in text
