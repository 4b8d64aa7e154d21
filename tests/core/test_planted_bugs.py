"""Every planted bug fits the code, and `python -m tests.plant_bugs`, which takes minutes, found every one."""

import json
import subprocess

import pytest

from tests.plant_bugs import PATCHES, RECORD, ROOT, read_bugs

BUGS = read_bugs()


@pytest.mark.parametrize("bug", BUGS, ids=[bug.patch.stem for bug in BUGS])
def test_a_planted_bug_applies_and_its_test_exists(bug):
    command = ["git", "apply", "--check", "-C1", str(bug.patch)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0, f"{bug.patch.name}: write it anew"
    file, name = bug.test.split("::")
    name = name.partition("[")[0]  # without the parameters
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_the_record_covers_all_planted_bugs_and_all_were_found():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert record == [{"patch": path.name, "found": True} for path in sorted(PATCHES.glob("*.patch"))]


def test_a_patch_without_its_header_is_refused(tmp_path):
    (tmp_path / "no-header.patch").write_text("--- a/hatnet/config.py\n+++ b/hatnet/config.py\n")
    with pytest.raises(ValueError, match="must begin with the lines `Bug: NAME`"):
        read_bugs(tmp_path)
