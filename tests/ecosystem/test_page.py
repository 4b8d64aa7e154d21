"""The code of `docs/ecosystem.md` runs, block by block, and computes what the page says."""

import json
import warnings

import numpy as np
import pytest
import torch

import hatnet
from hatnet.export import ONE_SIZE_ONLY
from tests.ecosystem.code_of_pages import python_blocks, run_block

BLOCKS = python_blocks("ecosystem.md")


def check_timm(found):
    assert found["model"].classifier.out_features == 10
    assert [tuple(map.shape[1:]) for map in found["maps"]] == [(96, 28, 28), (240, 14, 14), (384, 7, 7)]
    assert (found["preprocessing"]["mean"], found["preprocessing"]["input_size"]) == ((0.286,), (1, 28, 28))


def check_fine_tuning(found):
    import onnxruntime

    session, images = onnxruntime.InferenceSession("shoes.onnx"), torch.randn(2, 1, 28, 28)
    (logits,) = session.run(None, {"image": images.numpy()})
    assert torch.allclose(torch.from_numpy(logits), found["model"](images), rtol=1e-4, atol=1e-4)
    assert json.loads(session.get_modelmeta().custom_metadata_map["hatnet"])["classes"] == ["other", "shoe"]
    before = hatnet.load(hatnet.weights.pretrained.PRETRAINED["micro", "fashion-mnist"]).stages[0].blocks[0].mlp.expand
    assert not torch.equal(found["model"].stages[0].blocks[0].mlp.expand.weight, before.weight), "it was trained"


def check_torchvision(found):
    assert [tuple(map.shape) for map in found["maps"].values()] == [(1, 28, 28, 96), (1, 7, 7, 384)]
    losses = found["detector"].train()
    losses.transform.min_size, losses.transform.max_size = (64,), 64
    target = {"boxes": torch.tensor([[4.0, 4.0, 40.0, 40.0]]), "labels": torch.tensor([1])}
    sum(losses([torch.rand(3, 64, 64)], [target]).values()).backward()
    assert all(parameter.grad is not None for parameter in losses.parameters())


def check_lightning(found):
    trained = hatnet.load("mine.safetensors")
    assert torch.equal(trained.classifier.weight, found["network"].model.classifier.weight)
    assert found["network"].trainer.global_step == 2


def check_onnx(found):
    want = found["model"](found["images"]).detach().numpy()
    assert np.abs(found["logits"] - want).max() < 1e-5 * np.abs(want).max()


def check_hub(found):
    assert hatnet.load("micro/model.safetensors").config == found["again"].config
    assert found["again"].about["mean"] == [0.286]


def check_sharding(found):
    assert all(parameter.isfinite().all() and not parameter.is_meta for parameter in found["model"].parameters())
    assert 0.019 < found["model"].classifier.weight.std() < 0.021


def check_derivatives(found):
    model, image = (part.double() for part in (found["model"], found["image"]))
    want = (model(image + 1e-4) - model(image - 1e-4)) / 2e-4
    assert torch.allclose(found["change"].double(), want, rtol=1e-3, atol=1e-5)


SECTIONS = {  # the check of each section, and the packages that it needs
    "timm": (check_timm, ["timm"]),
    "Fine-tuning in timm": (check_fine_tuning, ["timm", "onnxruntime", "onnxscript"]),
    "torchvision": (check_torchvision, ["torchvision"]),
    "Lightning": (check_lightning, ["lightning"]),
    "ONNX Runtime": (check_onnx, ["onnxruntime", "onnxscript"]),
    "Hugging Face hub": (check_hub, ["huggingface_hub"]),
    "Sharded training": (check_sharding, []),
    "Derivatives of derivatives": (check_derivatives, []),
}


def test_every_block_of_code_is_tested():
    assert [title for title, _ in BLOCKS] == list(SECTIONS)


@pytest.mark.long
@pytest.mark.parametrize(("title", "code"), BLOCKS, ids=dict(BLOCKS))
def test_the_code_of_the_page_runs(title, code, tmp_path, monkeypatch):
    check, packages = SECTIONS[title]
    for package in packages:
        pytest.importorskip(package)
    if "onnxscript" in packages and torch.__version__.startswith(ONE_SIZE_ONLY):
        pytest.skip("PyTorch before 2.13 exports one size only")
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    found = run_block("ecosystem.md", title, code)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other libraries
        check(found)
