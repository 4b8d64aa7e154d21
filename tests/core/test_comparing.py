"""The comparison that the other tests use fails on anything that is not equal."""

import numpy as np
import pytest
import torch

from hatnet.equivalence import Agreement, first_difference, worst
from tests.comparing import assert_agree, assert_same

WANT = np.random.default_rng(0).standard_normal((4, 5))


def test_assert_same_accepts_rounding():
    assert_same(torch.from_numpy(WANT) * (1 + 1e-15), WANT, "case")


@pytest.mark.parametrize(
    ("got", "message"),
    [
        (torch.from_numpy(WANT) + 1e-11, "relative difference"),
        (torch.randn(4, 5, dtype=torch.float64), "relative difference"),
        (torch.full((4, 5), torch.nan, dtype=torch.float64), "relative difference nan"),
        (torch.from_numpy(WANT).where(torch.from_numpy(WANT) < 1, torch.nan), r"got np.float64\(nan\)"),
        (torch.full((4, 5), torch.inf, dtype=torch.float64), "relative difference inf"),
        (torch.from_numpy(WANT.T.copy()), r"got shape \(5, 4\), want \(4, 5\)"),
        (torch.from_numpy(WANT)[:, :1], r"got shape \(4, 1\)"),
        (torch.from_numpy(WANT).float(), "got torch.float32, want torch.float64"),
        (WANT, "not a tensor"),
        (None, "not a tensor"),
    ],
)
def test_assert_same_refuses_anything_else(got, message):
    with pytest.raises(AssertionError, match=message):
        assert_same(got, WANT, "case")


def test_assert_same_refuses_a_reference_that_is_not_float64():
    with pytest.raises(AssertionError, match="reference must be float64"):
        assert_same(torch.from_numpy(WANT), WANT.astype(np.float32), "case")


def test_assert_same_names_the_case_and_the_worst_index():
    got = torch.from_numpy(WANT.copy())
    got[2, 3] += 1
    with pytest.raises(AssertionError, match=r"at \(2, 3\).*\n.*the case"):
        assert_same(got, WANT, "the case")


def test_assert_agree_names_the_first_difference_and_counts_nan_as_one():
    rows = [Agreement(name, (2,), error, 1.0) for name, error in [("a", 1e-16), ("b", np.nan), ("c", 0.1)]]
    assert first_difference(rows, 1e-13) is rows[1]
    assert worst(rows) is rows[1]
    with pytest.raises(AssertionError, match=r"first difference at b\n  \[OK\].*a.*\n  \[DIFF\].*b"):
        assert_agree(rows, "case")
    assert_agree(rows[:1], "case")
