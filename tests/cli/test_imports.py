"""The packages that the core needs, and the only file that may import the reference."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import hatnet
from hatnet.cli.main import COMMANDS, load, outline, run


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_hatnet_needs_torch_and_numpy_alone():
    extra = ["PIL", "rich", "tyro", "matplotlib", "safetensors", "torchvision", "timm", "huggingface_hub", "reference"]
    assert python(f"import sys, hatnet; print(*sys.modules.keys() & {extra})") == ""


def test_the_command_line_needs_none_of_the_libraries_of_the_studies():
    missing = "import sys; sys.modules |= dict.fromkeys(['captum', 'matplotlib', 'scipy', 'torchvision']);"
    load_all = "from hatnet.cli.main import COMMANDS, load; print(all(callable(load(name)) for name in COMMANDS))"
    assert python(f"{missing} {load_all}") == "True"


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_the_help_imports_no_pytorch(words):
    command = [sys.executable, "-X", "importtime", "-m", "hatnet", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == (0 if words else 2)
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert not imported & {"torch", "numpy", "PIL", "matplotlib"}
    assert {name for name in imported if name.startswith("hatnet.")} <= {
        "hatnet.environment", "hatnet.cli", "hatnet.cli.main",
    }  # fmt: skip


def test_the_help_shows_the_docstrings_of_the_commands(capsys):
    shown = []
    for how in (load, outline):
        with pytest.raises(SystemExit):
            run({name: how(name) for name in COMMANDS}, ["--help"])
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]
    assert "Print the architecture of a variant" in shown[0]


def test_importing_the_reference_needs_numpy_alone():
    assert python("import sys, reference; print('torch' in sys.modules, 'hatnet' in sys.modules)") == "False False"


def test_only_equivalence_imports_the_reference():
    files = Path(hatnet.__file__).parent.rglob("*.py")
    found = [path.name for path in files if re.search(r"\b(from|import) reference\b", path.read_text("utf-8"))]
    assert found == ["equivalence.py"]
