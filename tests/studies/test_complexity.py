"""The formulas for cost: against the paper's equations and figures; choosing G1 and G2 by cost; bad sizes."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hatnet import relatives
from hatnet.complexity import (
    attention_weights,
    equation_5,
    equation_15,
    h_mhsa_cost,
    inference_memory,
    mhsa_cost,
    network_costs,
    reference_memory,
    total,
    training_memory,
)
from hatnet.complexity.window_sizes import (
    WindowSizes,
    cell_within_window,
    cheapest_window_sizes,
    macs_by_window_sizes,
    valley,
)
from hatnet.config import VARIANTS
from hatnet.relatives.registry import CLASSIFICATION_SIZES

TINY = VARIANTS["tiny"]

# MACs of one image of 224 x 224 pixels: without the products of attention, with them; and the paper's figure, in G.
KNOWN = {
    "tiny": (1_969_741_824, 2_128_134_912, 2.0),
    "small": (4_292_868_096, 4_548_314_112, 4.3),
    "medium": (8_294_604_800, 8_777_348_096, 8.3),
    "large": (11_440_291_328, 12_074_854_656, 11.5),
}


@pytest.mark.parametrize("variant", KNOWN)
def test_published_variants_have_the_known_cost(variant):
    """Table 2 prints the counts without the products of attention, except for the last digit of Large."""
    cost = total(network_costs(VARIANTS[variant], 224, 224))
    without, together, printed = KNOWN[variant]
    assert (cost.projection_macs, cost.total_macs) == (without, together)
    assert cost.attention_macs == together - without
    assert abs(without / 1e9 - printed) < 0.1 < abs(together / 1e9 - printed)


@given(C=st.integers(1, 400), H=st.integers(1, 100), W=st.integers(1, 100))
def test_equation_5_is_plain_attention_without_its_output_projection(C, H, W):
    """Eq. 5 leaves out W^p."""
    cost = mhsa_cost(H, W, C)
    assert cost.total_macs - cost.macs["Wp"] == equation_5(H, W, C)


@given(
    C=st.integers(1, 400), G1=st.integers(1, 9), G2=st.integers(1, 9), rows=st.integers(1, 5), columns=st.integers(1, 5)
)
def test_equation_15_is_h_mhsa_without_its_output_projection(C, G1, G2, rows, columns):
    """Eq. 15 leaves out W^p, too."""
    H, W = rows * G1 * G2, columns * G1 * G2
    cost = h_mhsa_cost(H, W, C, G1, G2)
    assert cost.total_macs - cost.macs["Wp"] == equation_15(H, W, C, G1, G2)
    assert cost == h_mhsa_cost(H, W, C, G1, G2, padded=True)


@pytest.mark.parametrize(
    ("H", "C", "G1", "G2", "ratio"),
    [(56, 64, 8, 8, 13.4), (28, 128, 7, 4, 2.7), (14, 320, 7, 2, 0.83), (128, 64, 8, 16, 64)],
)
def test_h_mhsa_costs_less_on_large_maps_and_more_on_small_ones(H, C, G1, G2, ratio):
    """Eq. 5 over Eq. 15: stages 2, 3 and 4 of Small (as the paper counts) at 224, and stage 2 at 512 with G2 = 16."""
    got = equation_5(H, H, C) / equation_15(H, H, C, G1, G2)
    assert got == pytest.approx(ratio, abs=0.5 if ratio > 50 else 0.05 if ratio > 1 else 0.005)
    plain, hierarchical = mhsa_cost(H, H, C), h_mhsa_cost(H, H, C, G1, G2)
    assert (plain.total_macs > hierarchical.total_macs) == (ratio > 1)  # W^p is the same on both sides


def test_padding_costs_only_where_windows_do_not_divide_the_map():
    """At 224 both counts agree; at 800 x 1333 PyTorch computes more than the tokens need."""
    for config in VARIANTS.values():
        side = 224 if config.name != "micro" else 32
        assert network_costs(config, side, side) == network_costs(config, side, side, padded=True)
    needed, computed = (total(network_costs(TINY, 800, 1333, padded)).total_macs for padded in (False, True))
    assert needed < computed < 1.1 * needed


def test_parts_are_in_the_order_of_computation_and_hold_their_stage():
    parts = network_costs(TINY, 224, 224)
    names = [part.name for part in parts]
    assert names[:3] == ["stem", "stages.0.blocks.0.attention", "stages.0.blocks.0.mlp"]
    assert names[5] == "stages.1.downsample"
    assert (names[-1], parts[-1].stage, parts[-1].layout) == ("classifier", None, None)
    assert (parts[5].stage, parts[5].layout.map) == (1, (28, 28))


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
    assert CLASSIFICATION_SIZES[0] == (best.G1, best.G2)
    assert abs(best.G1 * best.G2 - valley(56, 56, 64)) < 8


def test_one_window_and_cells_of_one_token_cost_more_than_plain_attention():
    assert macs_by_window_sizes(14, 14, 320)[14, 1] > mhsa_cost(14, 14, 320).total_macs


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mhsa_cost(0, 7, 64), "H=0 must be a whole number of at least 1"),
        (lambda: mhsa_cost(7, 7.0, 64), "W=7.0 must be a whole number"),
        (lambda: h_mhsa_cost(14, 14, 64, G1=-7, G2=2), "G1=-7 must be a whole number"),
        (lambda: h_mhsa_cost(14, 14, 64, G1=7, G2=True), "G2=True must be a whole number"),
        (lambda: cheapest_window_sizes(4, 4, 0), "C=0 must be a whole number of at least 1"),
        (lambda: cheapest_window_sizes(4, 4, 8, lambda G1, G2: False), "no pair (G1, G2) is allowed on a map of 4 x 4"),
        (lambda: equation_5(14, 14, None), "C=None must be"),
        (lambda: equation_15(14, 15, 64, G1=7, G2=2), "Eq. 15 holds where G1 divides H and W; G1=7 does not divide"),
        (lambda: equation_15(14, 21, 64, G1=7, G2=2), "Eq. 15 holds where G2 divides H and W; G2=2 does not divide"),
        (lambda: network_costs(TINY, 224.0, 224), "height=224.0 must be a whole number"),
        (lambda: network_costs(TINY, 224, 31), "image of 224 x 31 pixels is too small"),
        (lambda: inference_memory(TINY, 224, 224, batch=0), "batch=0 must be a whole number of at least 1"),
        (lambda: inference_memory(TINY, 16, 224), "image of 16 x 224 pixels is too small"),
        (lambda: training_memory(TINY, 224, 224, batch=1.5), "batch=1.5 must be a whole number"),
        (lambda: training_memory(TINY, "224", 224), "height='224' must be a whole number"),
        (lambda: reference_memory(TINY, 224, -1), "width=-1 must be a whole number"),
        (lambda: attention_weights(mhsa_cost(7, 7, 64), C=64, heads=0), "heads=0 must be a whole number"),
        (lambda: relatives.swin_cost(14, 14, 64, window=0), "window=0 must be a whole number of at least 1"),
        (lambda: relatives.swin_cost(14, 14, 64, window=7, heads=0), "heads=0 must be"),
        (lambda: relatives.pvt_cost(14, 14, 64, reduction=0), "reduction=0 must be"),
        (lambda: relatives.pvt_v2_linear_cost(14, 14, 64, pooled=0), "pooled=0 must be"),
        (lambda: relatives.twins_cost(14, 14, 64, window=7, reduction="2"), "reduction='2' must be"),
        (lambda: relatives.SwinAttention(6, 4, window=4), "4 heads do not divide 6 channels"),
        (lambda: relatives.SwinAttention(6, 2, window=4, shift=4), "shift=4 must be at least 0 and less than"),
        (lambda: relatives.PVTAttention(6, 2, reduction=0), "reduction=0 must be a whole number from 1 to 1024"),
        (lambda: relatives.PVTv2LinearAttention(6, 2, pooled=0), "pooled=0 must be a whole number from 1 to 1024"),
        (
            lambda: relatives.TwinsAttention(6, 2, window=0, reduction=2),
            "window=0 must be a whole number from 1 to 1024",
        ),
    ],
)
def test_the_error_for_a_bad_size_names_the_allowed_sizes(call, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        call()
