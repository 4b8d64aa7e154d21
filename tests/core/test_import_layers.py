"""Imports go downwards only: the contracts in pyproject.toml hold, and no module imports itself through others."""

import graphlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="import-linter is not installed: pip install -e '.[dev]'")

from grimp import build_graph

ROOT = Path(__file__).parents[2]


def lint_imports(checkout):
    """Check the contracts in a process of its own, which imports the packages of `checkout`."""
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True, no_logo=True))"
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


def test_every_module_imports_from_lower_layers_only():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("hatnet/config.py", "from hatnet.network import HATNet", "hatnet.config -> hatnet.network"),
        ("hatnet/data/__init__.py", "if TYPE_CHECKING:\n    import hatnet.training", "hatnet.data -> hatnet.training"),
        ("reference/network.py", "import hatnet.layers", "reference.network -> hatnet.layers"),
        ("hatnet/studies/scaling/__init__.py", "import hatnet.studies.ablation", "scaling -> hatnet.studies.ablation"),
        ("hatnet/new.py", "import hatnet.config", "hatnet.new"),
    ],
    ids=["upwards", "upwards for a type", "reference", "sideways", "without a layer"],
)
def test_an_import_that_breaks_a_contract_is_found(tmp_path, file, line, broken):
    for package in ("hatnet", "reference"):
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    source = tmp_path / file
    source.write_text((source.read_text() if source.exists() else "") + f"\n{line}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert broken in done.stdout


def test_no_module_imports_itself_through_others():
    graph = build_graph("hatnet", cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which lists the circle
