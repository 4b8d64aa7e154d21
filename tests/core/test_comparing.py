"""The cases and the comparisons that the other tests use: cases hide no mistake, and inequality fails."""

from contextlib import suppress

import numpy as np
import pytest
import torch

import hatnet.equivalence
from hatnet.equivalence import (
    Agreement,
    compare,
    compare_traces,
    evaluation_mode,
    first_difference,
    relative_error,
    to_numpy,
    worst,
)
from tests.cases import MUST_HIT, NETWORK_MUST_HIT, for_maps
from tests.comparing import assert_agree, assert_same
from tests.pictures import assert_same_picture

WANT = np.random.default_rng(0).standard_normal((4, 5))
SAME = torch.from_numpy(WANT)
NETWORK = NETWORK_MUST_HIT[0]
PICTURE = '<dc:title>Matplotlib v3.11.2, </dc:title><path id="ma6f4f05706" d="M 1.5 2.25"/><text>83.50</text>'


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


def test_relative_error_of_nan_nothing_zero_and_other_shapes():
    """It refuses other shapes instead of broadcasting."""
    assert np.isnan(relative_error([1.0, np.nan], [1.0, 1.0]))
    assert relative_error([], []) == 0
    assert relative_error([0.5], [0.0]) == 0.5
    with pytest.raises(ValueError, match="shapes differ"):
        relative_error(np.ones((4, 1)), np.ones((4, 5)))


def test_changing_one_parameter_of_one_side_is_found(monkeypatch):
    model = NETWORK.model()
    assert_agree(compare(model, NETWORK.images()), NETWORK)
    params = to_numpy(model)
    params["stages.1.blocks.0.mlp.expand.weight"][0, 0] += 1e-6
    monkeypatch.setattr(hatnet.equivalence, "to_numpy", lambda _: params)
    assert first_difference(compare(model, NETWORK.images()), 1e-13).name == "stages.1.blocks.0.output"


def test_traces_with_other_names_or_shapes_are_refused():
    got = {"stem": torch.zeros(2, 3, 4)}
    with pytest.raises(ValueError, match="other names: .*'stem'"):
        list(compare_traces(got, [{"logits": np.zeros((3, 4))}] * 2))
    with pytest.raises(ValueError, match=r"stem: shape \(3, 4\) against the reference's \(4, 3\)"):
        list(compare_traces(got, [{"stem": np.zeros((4, 3))}] * 2))


def test_every_intermediate_is_reported_when_it_is_computed():
    names = []
    agreements = compare(NETWORK.model(), NETWORK.images()[:1], names.append)
    assert names == 2 * [agreement.name for agreement in agreements]  # PyTorch's, then the reference's


def test_evaluation_mode_restores_the_mode_of_every_module():
    """Parts of a model may be frozen, such as the norms of a backbone."""
    model = NETWORK.model().train()
    model.stages[0].eval()
    modes = [module.training for module in model.modules()]
    with suppress(KeyError), evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model.modules()] == modes
    assert any(modes)
    assert not all(modes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("1.5", "1.500001"), None),  # a last digit, and with it the name of the shape
        (("ma6f4f05706", "m0f4f05706a"), None),
        (("3.11.2", "3.12.0"), None),  # another version may draw otherwise
        (("1.5", "1.6"), "at other places"),
        (("83.50", "83.75"), "at other places"),
        (("M 1.5", "L 1.5"), "other shapes"),
        (('<path id="ma6f4f05706" d="M 1.5 2.25"/>', ""), "other shapes"),
    ],
)
def test_pictures_differ_where_a_reader_would_notice(change, message, tmp_path):
    drawn, kept = tmp_path / "drawn.svg", tmp_path / "kept.svg"
    drawn.write_text(PICTURE.replace(*change))
    kept.write_text(PICTURE)
    if message is None:
        assert_same_picture(drawn, kept)
    else:
        with pytest.raises(AssertionError, match=message):
            assert_same_picture(drawn, kept)
