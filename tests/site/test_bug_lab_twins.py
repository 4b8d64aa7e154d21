"""The bugs of the bug lab do to the reference what the planted patches do to PyTorch."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: pip install -e '.[docs]'")

from builder.lab_record import driver, lab
from builder.live_changes import BUGS
from tests.site.conftest import ROOT

SIZES = [(4, 6, 2), (5, 7, 3), (3, 8, 4), (6, 6, 3), (7, 3, 8)]
CUT = "hierarchical-attention-rows-and-columns-of-windows-exchanged-when-put-back"  # alike where windows divide
OUTPUTS = """
import json, sys
import numpy as np, torch
from hatnet.hierarchical_attention import HMHSA
from reference import h_mhsa
import lab

found = []
for H, W, G1 in json.loads(sys.argv[1]):
    x, params = lab.case(H, W, "unit")
    if sys.argv[2] == "reference":
        found.append((h_mhsa(x, params, lab.HEADS, G1, lab.G2) + x).tolist())
        continue
    layer = HMHSA(lab.C, lab.HEADS, G1, lab.G2).double().eval()
    layer.load_state_dict({name: torch.from_numpy(value) for name, value in params.items()})
    map_ = torch.from_numpy(x)[None]
    with torch.inference_mode():
        found.append((layer(map_) + map_)[0].tolist())
print(json.dumps(found))
"""


@pytest.mark.long
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.patch)
def test_a_bug_of_the_lab_computes_what_its_planted_patch_computes(tmp_path, bug):
    """In float64 to 1e-12, on maps that windows divide and maps that they do not."""
    for name in ("hatnet", "reference"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    patch = ROOT / "tests/planted_bugs" / f"{bug.patch}.patch"
    subprocess.run(["git", "apply", "--recount", "-C1", str(patch)], cwd=tmp_path, check=True)
    sizes = [size for size in SIZES if bug.patch != CUT or size[0] % size[2] == size[1] % size[2] == 0]
    package = "reference" if "--- a/reference" in patch.read_text() else "hatnet"
    command = [sys.executable, "-c", OUTPUTS, json.dumps(sizes), package]
    environment = {"PYTHONPATH": f"{tmp_path}:{ROOT / 'docs/live'}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, cwd=tmp_path)
    texts = {path.relative_to(ROOT).as_posix(): path.read_text() for path in (ROOT / "reference").rglob("*.py")}
    wrong = driver.load_reference(driver.edited(texts, bug.changes))
    for size, planted in zip(sizes, json.loads(done.stdout), strict=True):
        ours = lab.output(wrong, *size, "unit")
        np.testing.assert_allclose(ours, planted, rtol=0, atol=1e-12 * np.abs(ours).max(), err_msg=str(size))
