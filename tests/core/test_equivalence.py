"""The comparison of the two implementations finds differences, and leaves the model as it was."""

from contextlib import suppress

import numpy as np
import pytest
import torch

import hatnet.equivalence
from hatnet.equivalence import compare, compare_traces, evaluation_mode, first_difference, relative_error, to_numpy
from tests.cases import NETWORK_MUST_HIT
from tests.comparing import assert_agree

CASE = NETWORK_MUST_HIT[0]


def test_relative_error_of_nan_nothing_zero_and_other_shapes():
    """It refuses other shapes instead of broadcasting."""
    assert np.isnan(relative_error([1.0, np.nan], [1.0, 1.0]))
    assert relative_error([], []) == 0
    assert relative_error([0.5], [0.0]) == 0.5
    with pytest.raises(ValueError, match="shapes differ"):
        relative_error(np.ones((4, 1)), np.ones((4, 5)))


def test_changing_one_parameter_of_one_side_is_found(monkeypatch):
    model = CASE.model()
    assert_agree(compare(model, CASE.images()), CASE)
    params = to_numpy(model)
    params["stages.1.blocks.0.mlp.expand.weight"][0, 0] += 1e-6
    monkeypatch.setattr(hatnet.equivalence, "to_numpy", lambda _: params)
    assert first_difference(compare(model, CASE.images()), 1e-13).name == "stages.1.blocks.0.output"


def test_traces_with_other_names_or_shapes_are_refused():
    got = {"stem": torch.zeros(2, 3, 4)}
    with pytest.raises(ValueError, match="other names: .*'stem'"):
        list(compare_traces(got, [{"logits": np.zeros((3, 4))}] * 2))
    with pytest.raises(ValueError, match=r"stem: shape \(3, 4\) against the reference's \(4, 3\)"):
        list(compare_traces(got, [{"stem": np.zeros((4, 3))}] * 2))


def test_every_intermediate_is_reported_when_it_is_computed():
    names = []
    agreements = compare(CASE.model(), CASE.images()[:1], names.append)
    assert names == 2 * [agreement.name for agreement in agreements]  # PyTorch's, then the reference's


def test_evaluation_mode_restores_the_mode_of_every_module():
    """Parts of a model may be frozen, such as the norms of a backbone."""
    model = CASE.model().train()
    model.stages[0].eval()
    modes = [module.training for module in model.modules()]
    with suppress(KeyError), evaluation_mode(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert [module.training for module in model.modules()] == modes
    assert any(modes)
    assert not all(modes)
