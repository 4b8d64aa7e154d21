"""Which packages the core needs, and which file may import the reference."""

import subprocess
import sys
from pathlib import Path

import hatnet


def python(code):
    """What `code` prints in a fresh Python."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_hatnet_needs_torch_and_numpy_alone():
    """Libraries for plots, images, files and the command line are imported where they are used."""
    code = (
        "import sys, hatnet; extra = {'PIL', 'rich', 'tyro', 'matplotlib', 'safetensors', 'torchvision', 'reference'};"
        "print(*sorted(extra & {name.partition('.')[0] for name in sys.modules}))"
    )
    assert python(code) == ""


def test_importing_the_reference_needs_numpy_alone():
    assert python("import sys, reference; print('torch' in sys.modules, 'hatnet' in sys.modules)") == "False False"


def test_only_equivalence_imports_the_reference():
    for file in Path(hatnet.__file__).parent.rglob("*.py"):
        if file.name != "equivalence.py":
            assert "import reference" not in file.read_text(encoding="utf-8"), file
            assert "from reference" not in file.read_text(encoding="utf-8"), file
