"""The commands and the code of `docs/export.md` run in order, and compute what the page says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import hatnet as package
from tests.core.test_export import SMALL, any_size, network
from tests.ecosystem.code_of_pages import PAGES, python_blocks, run_block

COMMANDS = re.findall(r"^hatnet (.+)$", (PAGES / "export.md").read_text(encoding="utf-8"), re.MULTILINE)
ABOUT = {"classes": ["a", "b", "c"], "mean": [0.3], "std": [0.4]}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A small network in `runs/mine` of the working folder."""
    monkeypatch.chdir(tmp_path)
    Path("runs/mine").mkdir(parents=True)
    model = network(replace(SMALL, in_channels=1))
    package.save(model, "runs/mine/last.safetensors", ABOUT)
    return model


@any_size
@pytest.mark.long
def test_the_commands_and_the_code_of_the_page_run(mine, hatnet_command, capsys):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert len(COMMANDS) == 2
    for command in COMMANDS:
        status, _, errors = hatnet_command(*command.split())
        assert (status, errors) == (0, "")
    writing, onnx, pytorch = (run_block("export.md", title, code) for title, code in python_blocks("export.md"))
    clothes = package.create_model("micro", pretrained="fashion-mnist").eval()
    classes = writing["source"].about["classes"]
    assert onnx["facts"].items() >= ABOUT.items()
    assert pytorch["facts"]["classes"] == classes
    assert {"image_size", "network"} <= onnx["facts"].keys() & pytorch["facts"].keys()
    want = ABOUT["classes"][mine(torch.from_numpy(onnx["image"]).float()).argmax()]
    assert capsys.readouterr().out == f"{want}\n{classes[clothes(torch.zeros(1, 1, 28, 28)).argmax()]}\n"
    images = torch.rand(2, 1, 41, 30)
    for run in (writing["graph"].module(), pytorch["network"]):  # both for any size
        assert torch.allclose(run(images), clothes(images), atol=1e-4)
