"""The command `hatnet export`."""

import json

import torch

import hatnet as package
from hatnet.network import HATNet
from tests.core.test_export import SMALL


def test_the_file_of_the_command_computes_and_carries_the_facts(hatnet_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = HATNet(SMALL).eval()
    package.save(model, "in.safetensors", {"classes": ["a", "b", "c"]})
    status, output, errors = hatnet_command("export", "--weights", "in.safetensors", "--image-size", "20", "24")
    assert (status, errors) == (0, "")
    assert "logits differ by" in output
    extra, image = {"hatnet": ""}, torch.randn(1, 3, 20, 24)
    exported = torch.export.load("micro.pt2", extra_files=extra).module()
    assert json.loads(extra["hatnet"])["classes"] == ["a", "b", "c"]
    assert torch.allclose(exported(image), model(image), atol=1e-5)


def test_wrong_names_are_refused_before_work(hatnet_command, tmp_path):
    for out, message in (("a.onx", "no known suffix"), ("no/a.pt2", "no folder")):
        status, _, errors = hatnet_command("export", "--variant", "micro", "--out", tmp_path / out)
        assert status == 2
        assert message in errors
    assert not list(tmp_path.iterdir())
