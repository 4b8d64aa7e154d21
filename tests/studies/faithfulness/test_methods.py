"""The maps under test: their shapes, their formulas, and that each image's map is its own."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from hatnet.equivalence import run_model
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


@pytest.mark.parametrize(("method", "stage"), [("grad-cam", 2), ("grad-cam-early", 1)])
def test_grad_cam_is_drawn_of_the_last_stage_and_of_the_one_before(inputs, method, stage):
    pytest.importorskip("captum")
    tokens = grad_cam(inputs.model, inputs.images, inputs.targets, stage).flatten(1)
    assert torch.equal(METHODS[method].draw(inputs), to_pixels(inputs, tokens, stage))


def test_last_attention_is_the_mean_over_heads_and_queries(inputs):
    """What all tokens together attend to: rows of weights, one for each query, are averaged, not their columns."""
    weights = run_model(inputs.model, inputs.images)["stages.2.blocks.1.attention.weights"]
    tokens = sum(weights[:, head, query] for head in range(4) for query in range(16)) / 64
    assert torch.allclose(METHODS["last-attention"].draw(inputs), to_pixels(inputs, tokens, 2), rtol=1e-4)
    assert tokens.std(dim=1).min() > 0
