"""Class maps: gradients with respect to attention weights, and their rollout, against the reference."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import nn

import hatnet
import reference
import reference.attention_maps as by_hand
from hatnet.equivalence import TOLERANCES, run_model
from hatnet.maps import attention_maps
from hatnet.maps.class_map import relevances, weights_and_gradients
from hatnet.maps.unfused_attention import unfused_attention
from tests.cases import NETWORK_MUST_HIT, also, network_cases
from tests.comparing import assert_same
from tests.maps.nudged import assert_slopes
from tests.maps.small import TINY, end_to_end


@also(NETWORK_MUST_HIT)
@settings(max_examples=10)
@given(case=network_cases())
def test_unfused_attention_equals_fused_attention_and_keeps_the_weights_of_the_trace(case):
    """Eq. 2: the same logits, and the same weights under the same names, except rows of tokens that pad a window."""
    model, images = case.model(), case.images()
    trace = run_model(model, images)
    with unfused_attention(), torch.no_grad():
        assert_same(model(images), trace["logits"].numpy(), case)
    labels = trace["logits"].argmax(dim=1)
    for name, (weights, _) in weights_and_gradients(model, images, labels).items():
        padding = trace[name].sum(dim=-1, keepdim=True) == 0
        assert_same(weights.masked_fill(padding, 0), trace[name].numpy(), case)


def test_gradients_of_weights_equal_central_differences_of_the_reference():
    """Eq. 2: nudge each matrix of weights in turn, in the NumPy reference, along a random direction."""
    model, images = TINY.model(), TINY.images()[:1]
    found = weights_and_gradients(model, images, torch.tensor([2]))
    params = hatnet.to_numpy(model)
    assert_slopes(
        found, lambda: reference.hat_net(images[0].numpy(), params, model.config)[2], lambda _: (5, 4), lambda _: 3
    )


@also(NETWORK_MUST_HIT)
@settings(max_examples=10)
@given(case=network_cases())
def test_numpy_and_pytorch_agree_on_the_class_map(case):
    """Eq. 1-14: the reference composes dense matrices, given the gradients; nothing is negative."""
    model, images, maps, traces = end_to_end(case)
    label = case.config.num_classes - 1
    found = maps.class_map(label)
    gradients = weights_and_gradients(model, images, torch.full((case.batch,), label))
    for image, trace in enumerate(traces):
        own = {name: gradient[image].numpy() for name, (_, gradient) in gradients.items()}
        want = by_hand.class_map(trace, own, case.config).reshape(maps.layouts[0].map)
        assert want.max() > 0
        # the reference subtracts matrices of size 1, so it rounds at that size, not at that of the difference
        assert np.abs(found[image] - want).max() <= TOLERANCES[torch.float64] * max(1, want.max()), case
        assert found[image].min() >= 0
    pixels = torch.from_numpy(maps.class_map(label, pixels=True))
    want = found.reshape(case.batch, -1) @ by_hand.stem_matrix(maps.size, case.config.stem_strides)
    assert_same(pixels, want.reshape(-1, *maps.size), case)


def test_class_maps_differ_by_class_and_belong_to_their_own_image():
    model, images = TINY.model(), TINY.images()
    maps = attention_maps(model, images)
    first, last = maps.class_map(0), maps.class_map(2)
    assert np.abs(first - last).max() > 0.01 * last.max()
    mixed = maps.class_map([0, 2])
    assert_same(torch.from_numpy(mixed), np.stack([first[0], last[1]]), TINY)
    predicted = maps.class_map()
    for image in range(2):
        alone = attention_maps(model, images[image])
        assert_same(torch.from_numpy(alone.class_map()), predicted[image], TINY)
        assert_same(torch.from_numpy(alone.rollout(0, 1, (4, 3))), maps.rollout(0, 1, (4, 3))[image], TINY)
        assert alone.logits.shape == (3,)


@pytest.mark.parametrize("image_in_inference_mode", [False, True])
@pytest.mark.parametrize("model_in_inference_mode", [False, True])
@pytest.mark.parametrize("called_in", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_class_maps_work_without_gradients_switched_on(called_in, model_in_inference_mode, image_in_inference_mode):
    want = attention_maps(TINY.model(), TINY.images()).class_map([0, 2])
    with torch.inference_mode(model_in_inference_mode):
        model = TINY.model()
    with torch.inference_mode(image_in_inference_mode):
        images = TINY.images() + 0  # a new tensor
    assert next(model.parameters()).is_inference() == model_in_inference_mode
    assert images.is_inference() == image_in_inference_mode
    with called_in():
        found = attention_maps(model, images).class_map([0, 2])
    assert np.array_equal(found, want)


@pytest.mark.parametrize("what", ["weights", "image", "classes", "not finite"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_class_map_is_refused_after_the_network_or_the_image_has_changed(what, dtype):
    model, images = TINY.model().to(dtype), TINY.images().to(dtype)
    maps = attention_maps(model, images)
    before = maps.class_map(0)
    change = {
        "weights": lambda: model.stages[0].blocks[1].attention.local_attention.qkv.weight.mul_(-1),
        "image": lambda: images.copy_(images.flip(3)),
        "classes": lambda: model.set_submodule("classifier", nn.Linear(6, 5).to(dtype)),
        "not finite": lambda: model.classifier.bias.fill_(torch.nan),
    }
    with torch.no_grad():
        change[what]()
    with pytest.raises(ValueError, match=r"the network or the image has changed since .* call attention_maps"):
        maps.class_map(1)
    assert np.array_equal(maps.class_map(0), before)


def test_a_class_map_of_a_uniform_image_is_refused_if_gradients_overflow():
    """In a new network, black gives zeros: every norm then multiplies by 1 / sqrt(eps), too often for float32."""
    torch.manual_seed(0)
    model, images = hatnet.create_model("micro"), torch.zeros(2, 3, 28, 28)
    images[0] = torch.randn(3, 28, 28)
    maps = attention_maps(model, images)
    for _ in range(2):  # the failure leaves no cached result
        with pytest.raises(ValueError, match=r"finite gradients.* of one colour.* for float32; take another image"):
            maps.class_map()
    assert np.isfinite(attention_maps(model, images[0]).class_map()).all()
    assert np.isfinite(attention_maps(model.double(), images.double()).class_map()).all()


def test_class_maps_of_many_images_are_computed_in_slices_that_fit_into_memory(monkeypatch):
    compute = mock.Mock(wraps=relevances)
    monkeypatch.setattr("hatnet.maps.maps.relevances", compute)
    model, images, labels = TINY.model(), torch.cat([scale * TINY.images() for scale in (1, 2, 3)])[:5], [0, 1, 2, 1, 0]
    at_once = attention_maps(model, images).class_map(labels)
    in_slices = attention_maps(model, images, limit=300_000).class_map(labels)
    assert [len(call.args[1]) for call in compute.call_args_list] == [5, 2, 2, 1]
    assert_same(torch.from_numpy(in_slices), at_once, TINY)
