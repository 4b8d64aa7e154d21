"""Plant bugs one at a time and check that the named test turns red: a test of the tests.

    python -m tests.plant_bugs             # all of them, in six minutes; writes docs/planted-bugs.json for the site
    python -m tests.plant_bugs "eps 1e-5"  # only bugs whose name contains these words; writes nothing

Each bug is a patch in tests/planted_bugs: two header lines, `Bug:` with its name and `Test:` with the test that must
find it, then a unified diff. The patch is applied to a copy of the repository. First every named test runs on an
unchanged copy, where it must pass; then with its bug, where it must fail because a comparison fails.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATCHES = ROOT / "tests" / "planted_bugs"
RECORD = ROOT / "docs" / "planted-bugs.json"
HEADER = re.compile(r"Bug: (?P<name>.+)\nTest: (?P<test>.+)\n\n(?=--- a/)")


@dataclass(frozen=True)
class Bug:
    """A plausible mistake, as a patch, and the test that must find it."""

    name: str
    test: str  # as pytest names it
    patch: Path


def read_bugs(folder: Path = PATCHES) -> list[Bug]:
    """All bugs of a folder, in the order of their file names.

    Raises:
        ValueError: if a patch has no header.
    """
    bugs = []
    for path in sorted(folder.glob("*.patch")):
        header = HEADER.match(path.read_text(encoding="utf-8"))
        if header is None:
            raise ValueError(f"{path} must begin with the lines `Bug: NAME` and `Test: FILE::TEST`, and an empty line")
        bugs.append(Bug(*header.groups(), path))
    return bugs


def run_test(test: str, bug: Bug | None = None) -> subprocess.CompletedProcess[str]:
    """Run one test in a copy of the repository, with a bug planted in it.

    Raises:
        ValueError: if the patch does not apply, because the code has changed since it was written.
    """
    with tempfile.TemporaryDirectory() as folder:
        for name in ("hatnet", "reference", "tests"):
            shutil.copytree(ROOT / name, Path(folder) / name, ignore=shutil.ignore_patterns("__pycache__", "site"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        if bug is not None:
            command = ["git", "apply", "--recount", "-C1", str(bug.patch)]
            applied = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if applied.returncode:
                raise ValueError(f"{bug.patch.name} does not apply; write it anew: {applied.stderr.strip()}")
        environment = {**os.environ, "PYTHONPATH": folder, "HYPOTHESIS_PROFILE": "planted"}
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "--long", "-p", "no:cacheprovider", test]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def verdict(bug: Bug) -> tuple[bool, str]:
    """Return whether the named test failed because of a claim, and the first line of its error."""
    result = run_test(bug.test, bug)
    reasons = re.findall(r"^E +(.*\S)", result.stdout, re.MULTILINE)
    found = result.returncode == 1 and any("AssertionError" in reason or "assert " in reason for reason in reasons)
    return found, next(iter(reasons), result.stdout[-300:] + result.stderr[-300:])


def main(words: str = "") -> int:
    """Plant the bugs whose name contains `words`; return how many were not found, or whose test fails without them."""
    if find_spec("pytest") is None:
        print("planting bugs needs pytest: python -m pip install -c constraints.txt -e '.[dev]'")
        return 1
    bugs = read_bugs()
    chosen = [bug for bug in bugs if words in bug.name]
    if not chosen:
        print(f"no bug's name contains {words!r}; the names are: {', '.join(bug.name for bug in bugs)}")
        return 1
    rows, failures = [], 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tests = sorted({bug.test for bug in chosen})
        for test, control in zip(tests, pool.map(run_test, tests), strict=True):
            if control.returncode:
                print(f"[RED]      without a bug: {test}\n{control.stdout[-2000:]}{control.stderr[-2000:]}")
                failures += 1
        for bug, (found, reason) in zip(chosen, pool.map(verdict, chosen), strict=True):
            print(f"{'[FOUND]   ' if found else '[SURVIVED]'} {bug.name}\n           {bug.test}\n           {reason}")
            rows.append({"patch": bug.patch.name, "found": found})
    survivors = sum(not row["found"] for row in rows)
    print(f"{len(rows) - survivors} of {len(rows)} planted bugs turned their test red")
    if not words and not failures + survivors:
        RECORD.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return failures + survivors


if __name__ == "__main__":
    sys.exit(min(main(*sys.argv[1:]), 1))
