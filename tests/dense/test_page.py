"""The code of `docs/dense-prediction.md` runs, and the page names the parts of each model."""

import re
from pathlib import Path

import pytest

from tests.dense.test_models import PREFIXES

PAGE = (Path(__file__).parents[2] / "docs/dense-prediction.md").read_text(encoding="utf-8")


@pytest.mark.long
def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    found = {}
    for block in blocks:
        exec(compile(block.replace('"small"', '"tiny"'), "docs/dense-prediction.md", "exec"), found)
    assert set(found["found"]) == {"boxes", "labels", "scores"}
    assert found["model"].transform.min_size == (64,)
    assert [type(found[name]).__name__ for name in ("segmenter", "detector", "masks")] == [
        "SemanticFPN", "RetinaNet", "MaskRCNN",
    ]  # fmt: skip


def test_the_page_lists_the_names_of_all_parameters():
    table = PAGE[PAGE.index("| Names | Part |") :].split("\n\n")[0]
    for names in PREFIXES.values():
        for name in names:
            assert name in table or f"`.{name.rpartition('.')[2]}`" in table, name
