"""The same cases in lower precision and on CUDA. All limits are in `hatnet.equivalence.TOLERANCES`."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from hypothesis import settings
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

import hatnet.attention
import hatnet.hierarchical_attention
import reference
from hatnet.attention import attention_kernel, attention_weights, join_heads, split_heads
from hatnet.device import full_precision
from hatnet.equivalence import TOLERANCES, compare, relative_error
from hatnet.hierarchical_attention import HMHSA
from hatnet.maps.unfused_attention import unfused_attention
from hatnet.studies.ablation import ARMS, build, fit
from hatnet.studies.scaling.modules import NAMES, contenders
from tests.cases import MUST_HIT, NETWORK_MUST_HIT, for_maps, stack
from tests.comparing import assert_agree, assert_same

LOW = [torch.float32, torch.bfloat16]
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


def in_dtype(case, dtype):
    """An H-MHSA and maps rounded to `dtype`, and what the reference makes of the very same numbers."""
    layer = HMHSA(case.channels, case.heads, case.grid_size, case.pool_size)
    case.filled(layer)
    layer = layer.to(dtype)
    x = torch.from_numpy(case.maps()).to(dtype)
    params = hatnet.to_numpy(layer)
    want = stack(
        lambda image: reference.h_mhsa(image, params, case.heads, case.grid_size, case.pool_size), x.double().numpy()
    )
    return layer, x, want


def plain_multi_head_attention(Q, K, V, heads, mask, name):
    """Eq. 2 as it is written, each step rounded to the dtype: what the fused kernels must not be worse than."""
    return join_heads(attention_weights(Q, K, heads, mask) @ split_heads(V, heads))


@pytest.mark.parametrize("dtype", LOW, ids=str)
@for_maps
def test_h_mhsa_in_low_precision(dtype, case):
    """Eq. 6-14."""
    if case.height * case.width * case.channels < 64:
        return  # statistics over a handful of numbers divide by a near zero deviation, and amplify rounding at will
    layer, x, want = in_dtype(case, dtype)
    assert_same(layer(x), want, case, dtype)


@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("case", NETWORK_MUST_HIT, ids=["partial", "whole"])
def test_networks_in_low_precision(dtype, case):
    """Eq. 1-4, 6-14."""
    assert_agree(compare(case.model().to(dtype), case.images()), case, dtype)


@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [(14, 14), (13, 18)], ids=["whole", "partial"])
def test_the_fast_path_is_at_most_twice_as_far_off_as_the_plain_one(dtype, seed, size):
    """Eq. 2: fused kernels against the written formula, both in `dtype`, both against the float64 reference."""
    case = type(MUST_HIT[0])(2, *size, heads=3, head_dim=16, grid_size=7, pool_size=2, scale=1.0, seed=seed)
    layer, x, want = in_dtype(case, dtype)
    fast = layer(x)
    with attention_kernel(plain_multi_head_attention):
        plain = layer(x)

    def root_mean_square(got):
        return float(np.sqrt(np.mean((got.detach().double().numpy() - want) ** 2)))

    assert root_mean_square(plain) > 0
    assert root_mean_square(fast) <= 2 * root_mean_square(plain)


def test_autocast_takes_float32_images_and_is_as_near_as_bfloat16():
    """Eq. 1-4, 6-14 under torch.autocast."""
    case = NETWORK_MUST_HIT[0]
    model, images = case.model(), case.images()
    want = model(images).detach().numpy()
    with torch.autocast("cpu", torch.bfloat16):
        got = model.float()(images.float())
    assert relative_error(got.detach().float().numpy(), want) < TOLERANCES[torch.bfloat16]


# --- On a GPU, or where there is none on a fake one ------------------------------------------------------------------


def on_a_fake_gpu(module, *shape):
    """The devices of what a module makes of an image or map: PyTorch computes shapes, and refuses to mix devices."""
    with FakeTensorMode():
        tensors = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, device="cuda")
            for tensors in (module.named_parameters(), module.named_buffers())
            for name, tensor in tensors
        }
        made = functional_call(module, tensors, torch.empty(shape, device="cuda"))
        return made.device.type


@pytest.mark.parametrize("around", [nullcontext, unfused_attention])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", NETWORK_MUST_HIT, ids=["partial", "whole"])
def test_networks_stay_on_one_device(case, training, around):
    """In training with drop path and dropout."""
    model = hatnet.create_model("micro", drop_path_rate=0.2, classifier_drop_rate=0.2).train(training)
    with around():
        assert on_a_fake_gpu(model, 2, 3, case.height, case.width) == "cuda"


@pytest.mark.parametrize("name", NAMES)
def test_the_attention_of_relatives_stays_on_one_device(name):
    assert on_a_fake_gpu(contenders([name], 1, C=32, heads=2)[name].build(), 2, 13, 18, 32) == "cuda"


@pytest.mark.parametrize("arm", ARMS)
def test_the_arms_of_the_ablation_stay_on_one_device(arm):
    assert on_a_fake_gpu(build(fit(ARMS[arm])), 2, 1, 28, 28) == "cuda"


def test_a_fake_gpu_refuses_what_lies_elsewhere(monkeypatch):
    layer = HMHSA(6, 2, grid_size=3, pool_size=2)
    monkeypatch.setattr(hatnet.hierarchical_attention, "average_pool", lambda x, _: torch.ones(2, 3, 4, 6))
    with pytest.raises(RuntimeError, match="to be on the same device|found two different devices"):
        on_a_fake_gpu(layer, 2, 5, 7, 6)


@needs_cuda
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@settings(max_examples=20)
@for_maps
def test_h_mhsa_on_cuda(dtype, case):
    """Eq. 6-14, without TF32."""
    if dtype != torch.float64 and case.height * case.width * case.channels < 64:
        return
    layer, x, want = in_dtype(case, dtype)
    with full_precision():
        assert_same(layer.cuda()(x.cuda()), want, case, dtype)


@needs_cuda
@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("head_dim", [16, 48, 64])
@pytest.mark.parametrize("size", [(16, 24), (14, 14)], ids=["whole", "partial"])
def test_h_mhsa_on_cuda_with_the_kernels_of_real_networks(size, head_dim, dtype):
    """Eq. 6-14: fused kernels want heads of multiples of 8 channels, and masks are theirs where windows are partial."""
    case = type(MUST_HIT[0])(2, *size, heads=2, head_dim=head_dim, grid_size=8, pool_size=4, scale=1.0, seed=0)
    layer, x, want = in_dtype(case, dtype)
    layer, x = layer.cuda(), x.cuda()
    with full_precision():
        y = layer(x)
        assert_same(y, want, case, dtype)
        gradients = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
        with unfused_attention():
            explicit = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    for fused, plain in zip(gradients, explicit, strict=True):
        assert relative_error(fused.double().cpu().numpy(), plain.double().cpu().numpy()) < TOLERANCES[dtype]


@needs_cuda
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", NETWORK_MUST_HIT, ids=["partial", "whole"])
def test_networks_on_cuda(dtype, case):
    """Eq. 1-4, 6-14; `compare` switches TF32 off."""
    assert_agree(compare(case.model().to("cuda", dtype), case.images()), case, dtype)
