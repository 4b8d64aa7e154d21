"""The cases and the comparison that the other tests use: cases hide no mistake, and inequality fails."""

import numpy as np
import pytest
import torch

from hatnet.equivalence import Agreement, first_difference, worst
from tests.cases import MUST_HIT, for_maps
from tests.comparing import assert_agree, assert_same

WANT = np.random.default_rng(0).standard_normal((4, 5))
SAME = torch.from_numpy(WANT)


@pytest.mark.parametrize(
    "condition",
    [
        lambda case: case.heads == 1,
        lambda case: case.heads > 1,
        lambda case: case.height % case.grid_size == case.width % case.grid_size == 0 and case.grid_size > 1,
        lambda case: case.height % case.grid_size and case.width % case.grid_size,
        lambda case: case.height % case.pool_size and case.width % case.pool_size,
        lambda case: case.grid_size >= max(case.height, case.width),
        lambda case: 2 * case.grid_size <= min(case.height, case.width) and case.grid_size > 1,
        lambda case: case.batch > 1,
    ],
)
def test_the_cases_that_always_run_break_every_symmetry(condition):
    assert any(condition(case) for case in MUST_HIT)
    assert all(case.height != case.width for case in MUST_HIT)
    assert {case.scale for case in MUST_HIT} == {1e-3, 1.0, 30.0}


@for_maps
def test_random_parameters_hide_nothing(case):
    """Weights of unit gain, biases away from 0, norms away from 1: fresh weights would hide many bugs."""
    _, params = case.filled(torch.nn.Linear(64, 32))
    assert 0.8 < params["weight"].std() * 8 < 1.2
    assert params["bias"].std() > 0.05


def test_assert_same_accepts_rounding():
    assert_same(SAME * (1 + 1e-15), WANT, "case")


@pytest.mark.parametrize(
    ("got", "want", "message"),
    [
        (SAME + 1e-11, WANT, "relative difference"),
        (torch.randn(4, 5, dtype=torch.float64), WANT, "relative difference"),
        (torch.full((4, 5), torch.nan, dtype=torch.float64), WANT, "relative difference nan"),
        (SAME.where(SAME < 1, torch.nan), WANT, r"got np.float64\(nan\)"),
        (torch.full((4, 5), torch.inf, dtype=torch.float64), WANT, "relative difference inf"),
        (torch.from_numpy(WANT.T.copy()), WANT, r"got shape \(5, 4\), want \(4, 5\)"),
        (SAME[:, :1], WANT, r"got shape \(4, 1\)"),
        (SAME.float(), WANT, "got torch.float32, want torch.float64"),
        (WANT, WANT, "not a tensor"),
        (None, WANT, "not a tensor"),
        (SAME, WANT.astype(np.float32), "reference must be float64"),
        (SAME + torch.eye(20)[13].view(4, 5), WANT, r"at \(2, 3\).*\n.*the case"),
    ],
)
def test_assert_same_refuses_anything_else(got, want, message):
    with pytest.raises(AssertionError, match=message):
        assert_same(got, want, "the case")


def test_assert_agree_names_the_first_difference_and_counts_nan_as_one():
    rows = [Agreement(name, (2,), error, 1.0) for name, error in [("a", 1e-16), ("b", np.nan), ("c", 0.1)]]
    assert first_difference(rows, 1e-13) is rows[1]
    assert worst(rows) is rows[1]
    with pytest.raises(AssertionError, match=r"first difference at b\n  \[OK\].*a.*\n  \[DIFF\].*b"):
        assert_agree(rows, "case")
    assert_agree(rows[:1], "case")
