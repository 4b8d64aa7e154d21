"""Choosing G1 and G2 by cost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatnet.complexity import mhsa_cost
from hatnet.complexity.window_sizes import (
    WindowSizes,
    cell_within_window,
    cheapest_window_sizes,
    macs_by_window_sizes,
    valley,
)
from hatnet.relatives.registry import CLASSIFICATION


@given(data=st.data(), side=st.sampled_from([12, 16, 24, 36]), C=st.sampled_from([8, 64, 320]))
def test_cost_falls_with_larger_cells_and_smaller_windows(data, side, C):
    """Eq. 15, for sizes that divide the map. Without a condition the cheapest pair attends to next to nothing."""
    divisors = [size for size in range(1, side + 1) if side % size == 0]
    smaller, larger = sorted(data.draw(st.lists(st.sampled_from(divisors), min_size=2, max_size=2, unique=True)))
    other = data.draw(st.sampled_from(divisors))
    macs = macs_by_window_sizes(side, side, C)
    assert macs[smaller, other] < macs[larger, other]
    assert macs[other, smaller] > macs[other, larger]
    assert cheapest_window_sizes(side, side, C) == WindowSizes(1, side, macs[1, side])


@given(H=st.integers(1, 14), W=st.integers(1, 14), C=st.integers(1, 70))
def test_the_cheapest_pair_is_the_smallest_of_all_that_are_allowed(H, W, C):
    best = cheapest_window_sizes(H, W, C, cell_within_window)
    assert best.G2 <= best.G1
    assert best.macs == min(macs for (G1, G2), macs in macs_by_window_sizes(H, W, C).items() if G2 <= G1)


def test_the_published_pair_of_the_first_stage_is_the_cheapest_with_cells_within_windows():
    best = cheapest_window_sizes(56, 56, 64, cell_within_window)
    assert CLASSIFICATION[0] == (best.G1, best.G2)
    assert abs(best.G1 * best.G2 - valley(56, 56, 64)) < 8


def test_a_condition_that_allows_nothing_is_refused():
    with pytest.raises(ValueError, match="no pair"):
        cheapest_window_sizes(4, 4, 8, lambda G1, G2: False)


def test_one_window_and_cells_of_one_token_cost_more_than_plain_attention():
    assert macs_by_window_sizes(14, 14, 320)[14, 1] > mhsa_cost(14, 14, 320).total_macs
