"""The maps under test: their shapes, their formulas, and that each image's map is its own."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from hatnet.studies.faithfulness.methods import METHODS, grad_cam, to_pixels


@pytest.mark.parametrize("stage", [1, 2])
def test_grad_cam_by_captum_equals_its_formula(inputs, stage):
    """ReLU(sum_k mean_ij(dz_c / dA_kij) A_k), with A the output of the stage; the hook is removed afterwards."""
    pytest.importorskip("captum")
    found = grad_cam(inputs.model, inputs.images, inputs.targets, stage)
    outputs = []
    hook = inputs.model.stages[stage].register_forward_hook(lambda _, __, output: outputs.append(output))
    logits = inputs.model(inputs.images).gather(1, inputs.targets[:, None])
    hook.remove()
    (gradients,) = torch.autograd.grad(logits.sum(), outputs)
    want = F.relu((gradients.mean(dim=(1, 2), keepdim=True) * outputs[0]).sum(dim=-1))
    assert torch.allclose(found, want, atol=1e-6)
    assert not inputs.model.stages[stage]._forward_hooks


@pytest.mark.parametrize("method", METHODS)
def test_maps_cover_the_image_and_do_not_depend_on_the_batch(inputs, method):
    if method.startswith("grad-cam"):
        pytest.importorskip("captum")
    found = METHODS[method].draw(inputs)
    assert found.shape == (3, 28, 28)
    assert torch.isfinite(found).all()
    assert method in ("gradient-input", "brightness") or (found >= 0).all()
    if method != "random":
        one = {name: getattr(inputs, name)[1:2] for name in ("images", "targets", "baselines")}
        alone = METHODS[method].draw(replace(inputs, **one))
        assert torch.allclose(alone[0], found[1], atol=1e-5 * float(found.abs().max()))


def test_rollout_sums_to_one(inputs):
    assert METHODS["rollout"].draw(inputs).sum(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_uniform_map_of_tokens_stays_uniform_over_pixels(inputs, stage):
    """Otherwise a map without information would have an order, and a score for it."""
    H, W = inputs.model.config.layout(28, 28)[stage].map
    pixels = to_pixels(inputs, torch.ones(3, H * W), stage)
    assert torch.allclose(pixels, pixels[0, 0, 0].expand(3, 28, 28), rtol=1e-5)
