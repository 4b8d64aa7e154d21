"""What a type checker sees: the overrides by name and type, and the type of `model(x)`."""

import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import get_type_hints

import pytest

from hatnet.config import HATNetConfig, Overrides

ROOT = Path(__file__).parents[2]
CODE = """
import torch
import hatnet
from hatnet.weights.windows import change_windows

model = hatnet.create_model("tiny", num_classes=10, grid_sizes=(8, 7, 7), drop_path_rate=0.1)
reveal_type(model(torch.zeros(1, 3, 32, 32)))
change_windows(model, grid_sizes=(4, 4, 4))
hatnet.create_model("tiny", num_clases=10)
hatnet.create_model("tiny", num_classes="ten")
hatnet.get_config("tiny", depth=(1, 1, 1, 1))
change_windows(model, grid_size=4)
hatnet.load_official("x.pth", pool_sizes=2)
hatnet.create_model("tiny", task="segmentaton")
hatnet.create_model("tiny", task="detection", num_clases=3)
reveal_type(hatnet.create_model("tiny"))
reveal_type(hatnet.create_model("tiny", task="segmentation", num_classes=3))
reveal_type(hatnet.create_model("tiny", "x.pth", task="detection"))
reveal_type(hatnet.create_model("tiny", task="instances"))
reveal_type(hatnet.create_model("tiny", task="segmentation")(torch.zeros(1, 3, 32, 32)))
reveal_type(hatnet.load("x.safetensors"))
reveal_type(hatnet.load("x.safetensors", task="segmentation"))
reveal_type(hatnet.load("x.safetensors", task="detection"))
reveal_type(hatnet.load("x.safetensors", task="instances"))
"""


def test_overrides_are_the_fields_of_the_configuration():
    hints = get_type_hints(HATNetConfig)
    assert get_type_hints(Overrides) == {f.name: hints[f.name] for f in fields(HATNetConfig) if f.name != "name"}
    assert all(field.default is not MISSING for field in fields(HATNetConfig))


@pytest.mark.long
def test_a_type_checker_finds_wrong_overrides_and_knows_the_type_of_logits(tmp_path):
    pytest.importorskip("mypy")
    (tmp_path / "code.py").write_text(CODE)
    command = [sys.executable, "-m", "mypy", str(tmp_path / "code.py")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    found = [line.split(":", 3) for line in done.stdout.splitlines() if "code.py:" in line]
    errors = {int(number): text for _, number, kind, text in found if kind == " error"}
    assert 'Revealed type is "torch._tensor.Tensor"' in done.stdout
    assert list(errors) == [9, 10, 11, 12, 13, 14, 15], done.stdout
    revealed = [
        text.partition('"')[2].rstrip('"\n').rpartition(".")[2]
        for text in done.stdout.splitlines()
        if "Revealed" in text
    ]
    classes = ["HATNet", "SemanticFPN", "RetinaNet", "MaskRCNN"]
    assert revealed == ["Tensor", *classes, "Tensor", *classes]
    assert all('"create_model"' in errors[number] for number in (9, 10, 14, 15))  # of several overloads
    for number, name in ((11, "depth"), (12, "grid_size"), (13, "pool_sizes")):
        assert f'"{name}"' in errors[number]
