"""The command `hatnet export`."""

import json

import pytest
import torch

import hatnet as package
from hatnet.dense import RetinaNet, SemanticFPN
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


def test_a_detector_is_refused_before_work_with_the_reason(hatnet_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package.save(RetinaNet(SMALL, width=2), "in.safetensors")
    status, _, errors = hatnet_command("export", "--weights", "in.safetensors", "--image-size", "32", "32")
    assert (status, "a RetinaNet cannot be exported: the number of its objects" in errors) == (2, True)
    assert [path.name for path in tmp_path.iterdir()] == ["in.safetensors"]


@pytest.mark.long
def test_a_segmenter_is_exported_for_any_size_and_takes_plain_pixels(hatnet_command, tmp_path, monkeypatch):
    """The facts have no mean and std, which would be applied twice."""
    monkeypatch.chdir(tmp_path)
    model = SemanticFPN(SMALL, [0.2, 0.3, 0.4], [0.5, 0.6, 0.7], width=4).eval()
    package.save(model, "in.safetensors", {"classes": ["a", "b", "c"], "mean": [0.2, 0.3, 0.4]})
    one_size = torch.__version__.startswith(("2.11.", "2.12."))
    sizes = ("--image-size", "33", "40") if one_size else ()
    status, output, errors = hatnet_command("export", "--weights", "in.safetensors", "--out", "m.onnx", *sizes)
    assert (status, errors) == (0, "")
    assert "logits differ by" in output
    session = pytest.importorskip("onnxruntime").InferenceSession("m.onnx")
    facts = json.loads(session.get_modelmeta().custom_metadata_map["hatnet"])
    assert (facts["task"], facts["classes"], {"mean", "std"} & facts.keys()) == ("segmentation", ["a", "b", "c"], set())
    for shape in ((1, 3, 33, 40), (3, 3, 33, 40)) if one_size else ((1, 3, 33, 40), (2, 3, 70, 8)):
        image = torch.rand(*shape)
        (logits,) = session.run(["logits"], {"image": image.numpy()})
        assert torch.allclose(torch.from_numpy(logits), model(image), atol=1e-4)
