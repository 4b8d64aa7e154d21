"""The wheel contains the two packages and the files they need, and nothing of the site or its measurements."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASSETS = {
    "hatnet/assets/README.md",
    "hatnet/assets/chelsea.png",
    "hatnet/assets/fashion-mnist-subset.npz",
    "hatnet/assets/micro-fashion-mnist.safetensors",
    "hatnet/py.typed",
    "reference/py.typed",
}


@pytest.mark.long
def test_a_wheel_contains_the_packages_with_their_assets_and_nothing_else(tmp_path):
    """Beside Python: the assets, and the scripts and styles of the pages that commands write. No measurements."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "distribution found for hatchling" in done.stderr:
        pytest.skip("building a wheel downloads hatchling, and there is no network")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("hatnet-*.whl")
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    packages = (ROOT / "hatnet", ROOT / "reference")
    source = {path.relative_to(ROOT).as_posix() for package in packages for path in package.rglob("*.py")}
    assert {name for name in files if name.endswith(".py")} == source
    assert files >= ASSETS
    assert {Path(name).suffix for name in files - ASSETS - source} <= {".js", ".css"}
    assert {name.split("/")[0] for name in files} == {"hatnet", "reference"}
