"""The tools of the other tests can fail."""

import dataclasses
import json
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import given

from hatnet.device import full_precision
from hatnet.equivalence import (
    Agreement,
    compare,
    compare_traces,
    evaluation_mode,
    first_difference,
    relative_error,
    worst,
)
from tests.cases import MUST_HIT, NETWORK_MUST_HIT, map_cases
from tests.comparing import assert_agree, assert_same
from tests.pictures import assert_same_picture
from tests.plant_bugs import BUGS, RESULT, ROOT

WANT = np.random.default_rng(0).standard_normal((4, 5))


def test_assert_same_accepts_what_is_the_same():
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


def test_assert_same_names_the_case_and_the_worst_place():
    got = torch.from_numpy(WANT.copy())
    got[2, 3] += 1
    with pytest.raises(AssertionError, match=r"at \(2, 3\).*\n.*the case"):
        assert_same(got, WANT, "the case")


def test_relative_error_refuses_other_shapes_instead_of_broadcasting():
    with pytest.raises(ValueError, match="shapes differ"):
        relative_error(np.ones((4, 1)), np.ones((4, 5)))


def test_relative_error_of_nan_is_nan_and_of_nothing_zero():
    assert np.isnan(relative_error([1.0, np.nan], [1.0, 1.0]))
    assert relative_error([], []) == 0
    assert relative_error([0.5], [0.0]) == 0.5


def test_the_layer_report_names_the_first_difference_and_counts_nan_as_one():
    rows = [Agreement(name, (2,), error, 1.0) for name, error in [("a", 1e-16), ("b", np.nan), ("c", 0.1)]]
    assert first_difference(rows, 1e-13) is rows[1]
    assert worst(rows) is rows[1]
    with pytest.raises(AssertionError, match=r"first difference at b\n  \[OK\].*a.*\n  \[DIFF\].*b"):
        assert_agree(rows, "case")
    assert_agree(rows[:1], "case")


def test_a_network_comparison_turns_red_where_one_parameter_differs():
    case = NETWORK_MUST_HIT[0]
    model = case.model()
    agreements = compare(model, case.images())
    assert_agree(agreements, case)
    import hatnet.equivalence as equivalence

    params = equivalence.to_numpy(model)
    params["stages.1.blocks.0.mlp.expand.weight"][0, 0] += 1e-6
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(equivalence, "to_numpy", lambda _: params)
        assert first_difference(compare(model, case.images()), 1e-13).name == "stages.1.blocks.0.output"


def test_traces_with_other_names_or_shapes_are_refused():
    got = {"stem": torch.zeros(2, 3, 4)}
    with pytest.raises(ValueError, match="other names: .*'stem'"):
        list(compare_traces(got, [{"logits": np.zeros((3, 4))}] * 2))
    with pytest.raises(ValueError, match=r"stem: shape \(3, 4\) against the reference's \(4, 3\)"):
        list(compare_traces(got, [{"stem": np.zeros((4, 3))}] * 2))


def test_the_cases_that_are_always_run_break_every_symmetry():
    def some(condition):
        return any(condition(case) for case in MUST_HIT)

    assert all(case.height != case.width for case in MUST_HIT)
    assert some(lambda case: case.heads == 1)
    assert some(lambda case: case.heads > 1)
    assert some(lambda case: case.height % case.grid_size == case.width % case.grid_size == 0 and case.grid_size > 1)
    assert some(lambda case: case.height % case.grid_size and case.width % case.grid_size)
    assert some(lambda case: case.height % case.pool_size and case.width % case.pool_size)
    assert some(lambda case: case.grid_size >= max(case.height, case.width))
    assert some(lambda case: 2 * case.grid_size <= min(case.height, case.width) and case.grid_size > 1)
    assert {case.scale for case in MUST_HIT} == {1e-3, 1.0, 30.0}
    assert some(lambda case: case.batch > 1)


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_a_bug_to_plant_has_one_place_in_the_source_and_a_test_that_exists(bug):
    """They are planted by `python -m tests.plant_bugs`, which takes minutes."""
    assert (ROOT / bug.file).read_text(encoding="utf-8").count(bug.old) == 1
    file, name = bug.test.split("::")
    name = name.partition("[")[0]  # without the case
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_the_record_of_planted_bugs_is_of_these_bugs_and_all_were_found():
    record = json.loads(RESULT.read_text(encoding="utf-8"))
    assert all(row.pop("found") for row in record)
    assert record == [dataclasses.asdict(bug) for bug in BUGS]


@given(case=map_cases)
def test_drawn_parameters_hide_nothing(case):
    """Weights of unit gain, biases away from 0, norms away from 1: with fresh ones many bugs go unseen."""
    _, params = case.filled(torch.nn.Linear(64, 32))
    assert 0.8 < params["weight"].std() * 8 < 1.2
    assert params["bias"].std() > 0.05


PICTURE = '<dc:title>Matplotlib v3.11.2, </dc:title><path id="ma6f4f05706" d="M 1.5 2.25"/><text>83.50</text>'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("1.5", "1.500001"), None),  # a last digit, and with it the name of the shape
        (("ma6f4f05706", "m0f4f05706a"), None),
        (("3.11.2", "3.12.0"), None),  # another version may draw otherwise
        (("1.5", "1.6"), "at other places"),
        (("83.50", "83.75"), "at other places"),
        (("M 1.5", "L 1.5"), "draws other things"),
        (('<path id="ma6f4f05706" d="M 1.5 2.25"/>', ""), "draws other things"),
    ],
)
def test_assert_same_picture_sees_what_a_reader_would(change, message, tmp_path):
    drawn, kept = tmp_path / "drawn.svg", tmp_path / "kept.svg"
    drawn.write_text(PICTURE.replace(*change))
    kept.write_text(PICTURE)
    if message is None:
        assert_same_picture(drawn, kept)
    else:
        with pytest.raises(AssertionError, match=message):
            assert_same_picture(drawn, kept)


def test_full_precision_is_for_as_long_as_it_is_asked_for_and_keeps_cudnn():
    conv, matmul = torch.backends.cudnn.conv, torch.backends.cuda.matmul
    before = conv.fp32_precision, matmul.fp32_precision
    try:
        conv.fp32_precision = matmul.fp32_precision = "tf32"
        with torch.autocast("cpu", torch.bfloat16), suppress(KeyError), full_precision():
            assert (conv.fp32_precision, matmul.fp32_precision) == ("ieee", "ieee")
            assert torch.backends.cudnn.enabled
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
            raise KeyError
        assert (conv.fp32_precision, matmul.fp32_precision) == ("tf32", "tf32")
    finally:
        conv.fp32_precision, matmul.fp32_precision = before


def test_a_model_that_is_tested_is_left_as_it_was():
    """Parts of it may be frozen, as the norms of a backbone are."""
    model = NETWORK_MUST_HIT[0].model().train()
    model.stages[0].eval()
    modes = [module.training for module in model.modules()]
    with suppress(KeyError), evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model.modules()] == modes
    assert any(modes)
    assert not all(modes)
