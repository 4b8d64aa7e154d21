"""The same cases in lower precision. All limits are in `hatnet.equivalence.TOLERANCES`."""

import numpy as np
import pytest
import torch

from hatnet.attention import attention_kernel
from hatnet.equivalence import TOLERANCES, compare, relative_error
from tests.cases import NETWORK_MUST_HIT, MapCase, for_maps
from tests.comparing import assert_agree, assert_same
from tests.core.low_precision import LOW, formula, in_dtype, well_conditioned


@pytest.mark.parametrize("dtype", LOW, ids=str)
@for_maps
def test_h_mhsa_in_low_precision_equals_the_reference(dtype, case):
    """Eq. 6-14."""
    if well_conditioned(case, dtype):
        layer, x, want = in_dtype(case, dtype)
        assert_same(layer(x), want, case, dtype)


@pytest.mark.parametrize("dtype", LOW, ids=str)
@pytest.mark.parametrize("case", NETWORK_MUST_HIT, ids=["partial", "whole"])
def test_networks_in_low_precision_equal_the_reference(dtype, case):
    """Eq. 1-4, 6-14."""
    assert_agree(compare(case.model().to(dtype), case.images()), case, dtype)


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

    def root_mean_square(got):
        return float(np.sqrt(np.mean((got.detach().double().numpy() - want) ** 2)))

    assert root_mean_square(plain) > 0
    assert root_mean_square(fast) <= 2 * root_mean_square(plain)


def test_autocast_accepts_float32_images_and_errs_like_bfloat16():
    """Eq. 1-4, 6-14 under torch.autocast."""
    case = NETWORK_MUST_HIT[0]
    model, images = case.model(), case.images()
    want = model(images).detach().numpy()
    with torch.autocast("cpu", torch.bfloat16):
        got = model.float()(images.float())
    assert relative_error(got.detach().float().numpy(), want) < TOLERANCES[torch.bfloat16]
