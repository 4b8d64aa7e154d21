"""The same cases on CUDA, against the reference."""

import pytest
import torch

from hatnet.attention import attention_kernel
from hatnet.device import full_precision
from hatnet.equivalence import TOLERANCES, compare, relative_error
from tests.cases import NETWORK_MUST_HIT, MapCase, for_maps
from tests.comparing import assert_agree, assert_same
from tests.core.low_precision import LOW, formula, in_dtype, well_conditioned

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@for_maps
def test_h_mhsa_on_cuda(dtype, case):
    """Eq. 6-14, without TF32."""
    if well_conditioned(case, dtype):
        layer, x, want = in_dtype(case, dtype)
        with full_precision():
            assert_same(layer.cuda()(x.cuda()), want, case, dtype)


@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("head_dim", [16, 48, 64])
@pytest.mark.parametrize("size", [(16, 24), (14, 14)], ids=["whole", "partial"])
def test_h_mhsa_on_cuda_with_the_kernels_of_real_networks(size, head_dim, dtype):
    """Eq. 6-14: fused kernels need heads of a multiple of 8 channels; partial windows have masks."""
    case = MapCase(2, *size, heads=2, head_dim=head_dim, grid_size=8, pool_size=4, scale=1.0, seed=0)
    layer, x, want = in_dtype(case, dtype)
    layer, x = layer.cuda(), x.cuda()
    with full_precision():
        y = layer(x)
        assert_same(y, want, case, dtype)
        gradients = torch.autograd.grad(y.square().sum(), list(layer.parameters()))
        with attention_kernel(formula):
            unfused = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    for fused, plain in zip(gradients, unfused, strict=True):
        assert relative_error(fused.double().cpu().numpy(), plain.double().cpu().numpy()) < TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", NETWORK_MUST_HIT, ids=["partial", "whole"])
def test_networks_on_cuda(dtype, case):
    """Eq. 1-4, 6-14; `compare` switches TF32 off."""
    assert_agree(compare(case.model().to("cuda", dtype), case.images()), case, dtype)
