"""H-MHSA and networks in every precision, on the CPU and on CUDA, against the float64 reference on the same numbers."""

import numpy as np
import pytest
import torch

import reference
from hatnet.attention import attention_kernel, attention_weights, join_heads, split_heads
from hatnet.device import full_precision
from hatnet.equivalence import TOLERANCES, compare, relative_error, to_numpy
from hatnet.hierarchical_attention import HMHSA
from tests.cases import NETWORK_MUST_HIT, MapCase, for_maps, stack
from tests.comparing import assert_agree, assert_same
from tests.gpu import GPU

LOW = [torch.float32, torch.float16, torch.bfloat16]
everywhere = pytest.mark.parametrize(  # float64 on the CPU is in the other tests
    ("device", "dtype"),
    [("cpu", dtype) for dtype in LOW] + [pytest.param(GPU, dtype, marks=pytest.mark.cuda) for dtype in TOLERANCES],
)


def in_dtype(case, dtype, device="cpu"):
    """An H-MHSA and maps rounded to `dtype`, and the reference's output for them."""
    layer, _ = case.filled(HMHSA(case.channels, case.heads, case.grid_size, case.pool_size))
    layer, x = layer.to(device, dtype), torch.from_numpy(case.maps()).to(dtype)
    params = to_numpy(layer)
    want = stack(
        lambda image: reference.h_mhsa(image, params, case.heads, case.grid_size, case.pool_size), x.double().numpy()
    )
    return layer, x.to(device), want


def formula(Q, K, V, heads, mask, name):
    """Eq. 2 as it is written, each step rounded to the dtype: a kernel to compare the fused ones with."""
    return join_heads(attention_weights(Q, K, heads, mask) @ split_heads(V, heads))


@everywhere
@for_maps
def test_h_mhsa_equals_the_reference_in_every_precision(device, dtype, case):
    """Eq. 6-14. Norms of few numbers may divide by a deviation near zero, which amplifies rounding."""
    if dtype == torch.float64 or case.height * case.width * case.channels >= 64:
        layer, x, want = in_dtype(case, dtype, device)
        with full_precision():
            assert_same(layer(x), want, case, dtype)


@everywhere
@pytest.mark.parametrize("case", NETWORK_MUST_HIT, ids=["partial", "whole"])
def test_networks_equal_the_reference_in_every_precision(device, dtype, case):
    """Eq. 1-4, 6-14."""
    assert_agree(compare(case.model().to(device, dtype), case.images()), case, dtype)


@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [(14, 14), (13, 18)], ids=["whole", "partial"])
def test_the_fused_kernel_errs_at_most_twice_as_much_as_the_formula(dtype, seed, size):
    """Eq. 2: fused kernels against the written formula, both in `dtype`, both against the float64 reference."""
    case = MapCase(2, *size, heads=3, head_dim=16, grid_size=7, pool_size=2, scale=1.0, seed=seed)
    layer, x, want = in_dtype(case, dtype)
    fast = layer(x)
    with attention_kernel(formula):
        plain = layer(x)
    errors = [float(np.sqrt(np.mean((got.detach().double().numpy() - want) ** 2))) for got in (fast, plain)]
    assert errors[1] > 0
    assert errors[0] <= 2 * errors[1]


@pytest.mark.cuda
@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("head_dim", [16, 48, 64])
@pytest.mark.parametrize("size", [(16, 24), (14, 14)], ids=["whole", "partial"])
def test_the_kernels_of_real_networks_on_cuda(size, head_dim, dtype):
    """Eq. 6-14: fused kernels need heads of a multiple of 8 channels; partial windows have masks."""
    case = MapCase(2, *size, heads=2, head_dim=head_dim, grid_size=8, pool_size=4, scale=1.0, seed=0)
    layer, x, want = in_dtype(case, dtype, GPU)
    with full_precision():
        y = layer(x)
        assert_same(y, want, case, dtype)
        gradients = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
        with attention_kernel(formula):
            unfused = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    for fused, plain in zip(gradients, unfused, strict=True):
        assert relative_error(fused.double().cpu().numpy(), plain.double().cpu().numpy()) < TOLERANCES[dtype]


def test_autocast_accepts_float32_images_and_errs_like_bfloat16():
    """Eq. 1-4, 6-14 under torch.autocast."""
    case = NETWORK_MUST_HIT[0]
    model, images = case.model(), case.images()
    want = model(images).detach().numpy()
    with torch.autocast("cpu", torch.bfloat16):
        got = model.float()(images.float())
    assert relative_error(got.detach().float().numpy(), want) < TOLERANCES[torch.bfloat16]
