"""A release: `python -m build` makes a source archive and a wheel, which hold what they should and work elsewhere."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ASSETS = {
    "hatnet/assets/README.md",
    "hatnet/assets/chelsea.png",
    "hatnet/assets/fashion-mnist-subset.npz",
    *(
        f"hatnet/assets/micro-{name}.safetensors"
        for name in ("fashion-mnist", "scenes-instances", "scenes-segmentation")
    ),
    *(path.relative_to(ROOT).as_posix() for path in (ROOT / "hatnet/assets/textures").rglob("*.jpg")),
    "hatnet/py.typed",
    "reference/py.typed",
}
FOLDERS = ("docs", "hatnet", "reference", "tests", "tutorials")
NOT_IN_THE_ARCHIVE = (".ci/", ".github/", ".pre-commit-config.yaml")

USE = """
import hatnet, reference, torch
from hatnet.data import open_data
test = open_data("fashion-subset").test
images = (test.pixels[::25] / 255 - 0.286) / 0.353
with torch.no_grad():
    found = hatnet.create_model("micro", pretrained="fashion-mnist").eval()(images).argmax(dim=1)
print(hatnet.__file__, reference.__file__, (found == test.labels[::25]).sum().item())
"""


def output_of(*command, **settings):
    done = subprocess.run(command, capture_output=True, text=True, check=False, **settings)
    if "distribution found for hatchling" in done.stdout + done.stderr:
        pytest.skip("building downloads hatchling, and there is no network")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    """The folder with the source archive, and the wheel that is made from it alone."""
    pytest.importorskip("build", reason="build is not installed: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("release")
    output_of(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT))
    assert len(list(folder.iterdir())) == 2
    return folder


def test_the_changelog_names_the_version():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    headings = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    assert any(line == "## Unreleased" or line.startswith(f"## {version} ") for line in headings)


@pytest.mark.long
def test_a_wheel_contains_the_packages_with_their_assets_and_nothing_else(release):
    """Beside Python: the assets, and the scripts and styles of the pages that commands write. No measurements."""
    (wheel,) = release.glob("hatnet-*.whl")
    files = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    packages = (ROOT / "hatnet", ROOT / "reference")
    source = {path.relative_to(ROOT).as_posix() for package in packages for path in package.rglob("*.py")}
    assert {name for name in files if name.endswith(".py")} == source
    assert files >= ASSETS
    assert {Path(name).suffix for name in files - ASSETS - source} <= {".js", ".css"}
    assert {name.split("/")[0] for name in files} == {"hatnet", "reference"}


@pytest.mark.long
def test_the_source_archive_contains_the_files_of_the_checkout_and_nothing_else(release):
    """All that git tracks, without the settings of the project's own checks, and the metadata."""
    if not shutil.which("git") or not (ROOT / ".git").exists():
        pytest.skip("not a checkout of git")
    (archive,) = release.glob("hatnet-*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {member.name.split("/", 1)[1] for member in opened.getmembers() if member.isfile()}
    new = output_of("git", "ls-files", "--others", "--exclude-standard", *FOLDERS, cwd=ROOT).splitlines()
    files = {*output_of("git", "ls-files", cwd=ROOT).splitlines(), *new}
    kept = {name for name in files if (ROOT / name).is_file() and not name.startswith(NOT_IN_THE_ARCHIVE)}
    assert names == kept | {"PKG-INFO"}
    assert {name.split("/")[0] for name in names if "/" in name} == set(FOLDERS)


@pytest.mark.long
def test_an_installed_wheel_works_away_from_the_checkout(release, tmp_path):
    (wheel,) = release.glob("hatnet-*.whl")
    output_of(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(tmp_path), str(wheel))
    settings = {"cwd": tmp_path.parent, "env": os.environ | {"PYTHONPATH": str(tmp_path)}}
    *files, right = output_of(sys.executable, "-c", USE, **settings).split()
    assert all(Path(file).is_relative_to(tmp_path) for file in files)
    assert int(right) > 85
    assert "4.55" in output_of(sys.executable, "-m", "hatnet", "summary", "small", **settings)


@pytest.mark.long
def test_a_notebook_runs_outside_the_checkout_with_the_installed_wheel(release, tmp_path):
    """Tutorial 3, which reads kept records, from the archive of notebooks. Its first cell finds the package."""
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed: pip install -e '.[docs]'")
    from builder.bundle import ARCHIVE, make_notebooks

    (wheel,) = release.glob("hatnet-*.whl")
    site, folder = tmp_path / "generated", tmp_path / "elsewhere"
    (site / "tutorials").mkdir(parents=True)
    make_notebooks(ROOT, site)
    zipfile.ZipFile(site / ARCHIVE).extractall(folder)
    folder /= "hatnet-notebooks"
    assert len(list(folder.glob("*.ipynb"))) == len(list((ROOT / "tutorials").glob("[0-9]*.py")))
    assert [path.name for path in folder.glob("*.whl")] == [wheel.name]
    packages = tmp_path / "packages"
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", str(packages))
    output_of(*pip, str(next(folder.glob("*.whl"))))
    cells = json.loads((folder / "03_complexity.ipynb").read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    where = "\nimport hatnet, reference\nprint(hatnet.__file__, reference.__file__)"
    environment = os.environ | {"PYTHONPATH": str(packages), "MPLBACKEND": "Agg", "OMP_NUM_THREADS": "1"}
    *_, line = output_of(sys.executable, "-c", code + where, cwd=folder, env=environment).splitlines()
    assert all(Path(file).is_relative_to(packages) for file in line.split())
