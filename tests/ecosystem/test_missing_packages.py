"""A missing package is named with the command that installs it."""

import subprocess
import sys

import pytest

EXTRAS = [
    ("timm", "timm", "timm"),
    ("hub", "huggingface_hub", "timm"),
    ("torchvision", "torchvision", "train"),
    ("dense", "torchvision", "train"),
]


@pytest.mark.long
def test_the_error_names_the_package_and_the_command():
    """In one process, because importing torch takes seconds."""
    code = f"""
import sys
for module, package, extra in {EXTRAS}:
    sys.modules[package] = None
    try:
        __import__("hatnet." + module)
    except ImportError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert len(lines) == len(EXTRAS), done.stderr
    for line, (module, package, extra) in zip(lines, EXTRAS, strict=True):
        assert line.startswith(f"hatnet.{module} needs {package}: python -m pip install 'hatnet[{extra}]'")
