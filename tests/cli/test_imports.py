"""The packages that the core needs, and the only file that may import the reference."""

import re
import subprocess
import sys
from pathlib import Path

import hatnet


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_hatnet_needs_torch_and_numpy_alone():
    extra = ["PIL", "rich", "tyro", "matplotlib", "safetensors", "torchvision", "timm", "huggingface_hub", "reference"]
    assert python(f"import sys, hatnet; print(*sys.modules.keys() & {extra})") == ""


def test_the_command_line_needs_none_of_the_libraries_of_the_studies():
    missing = "import sys; sys.modules |= dict.fromkeys(['captum', 'matplotlib', 'scipy', 'torchvision']);"
    assert python(f"{missing} import hatnet.cli.main; print('loaded')") == "loaded"


def test_importing_the_reference_needs_numpy_alone():
    assert python("import sys, reference; print('torch' in sys.modules, 'hatnet' in sys.modules)") == "False False"


def test_only_equivalence_imports_the_reference():
    files = Path(hatnet.__file__).parent.rglob("*.py")
    found = [path.name for path in files if re.search(r"\b(from|import) reference\b", path.read_text("utf-8"))]
    assert found == ["equivalence.py"]
