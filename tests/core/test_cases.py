"""The cases that the other tests run on hide no mistake."""

import torch

from tests.cases import MUST_HIT, for_maps


def some(condition):
    return any(condition(case) for case in MUST_HIT)


def test_the_cases_that_always_run_break_every_symmetry():
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


@for_maps
def test_random_parameters_hide_nothing(case):
    """Weights of unit gain, biases away from 0, norms away from 1: fresh weights would hide many bugs."""
    _, params = case.filled(torch.nn.Linear(64, 32))
    assert 0.8 < params["weight"].std() * 8 < 1.2
    assert params["bias"].std() > 0.05
