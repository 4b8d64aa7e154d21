"""All arms have equal parameters and equal MACs, and the counts are those of the networks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hatnet.complexity import mhsa_cost, network_costs, total
from hatnet.studies.ablation import ARMS, MATCHED, Settings, build, match_cost
from hatnet.studies.ablation.arms import BASE, CONFIG
from hatnet.studies.ablation.matching import TOLERANCE, part_costs
from hatnet.studies.ablation.record import DATA

all_arms = pytest.mark.parametrize("arm", ARMS)


@pytest.mark.parametrize("arm", MATCHED)
@pytest.mark.parametrize("data", [name for name, data in DATA.items() if data.question is None])
def test_matched_arms_have_the_parameters_and_macs_of_h_mhsa(arm, data):
    """To a relative difference of a thousandth."""
    found, base = (Settings(data, 1).matched(name).cost for name in (arm, BASE))
    assert found.parameters == pytest.approx(base.parameters, rel=TOLERANCE)
    assert found.total_macs == pytest.approx(base.total_macs, rel=TOLERANCE)


@all_arms
def test_counted_parameters_and_macs_are_those_of_the_network(arm):
    """PyTorch counts the MACs, with explicit scores, and with windows that divide the maps so that none is padded."""
    matched = match_cost(ARMS[arm])
    assert sum(parameter.numel() for parameter in build(matched).parameters()) == matched.cost.parameters
    grids = tuple(math.gcd(14 // 2**stage, size) for stage, size in enumerate(matched.arm.grid_sizes))
    unpadded = replace(ARMS[arm], grid_sizes=grids, pool_sizes=(7, 7))
    matched = replace(matched, arm=unpadded, config=unpadded.config())
    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        build(matched).eval()(torch.zeros(1, 1, 28, 28))
    assert counter.get_total_flops() == 2 * matched.cost.total_macs


def test_h_mhsa_is_the_unchanged_hat_net():
    matched = match_cost(ARMS[BASE])
    assert matched.widths == tuple(stage.expansion * stage.channels for stage in CONFIG.stages)
    assert matched.cost == total(network_costs(CONFIG, 28, 28))


@pytest.mark.parametrize("arm", [name for name in ARMS if name not in MATCHED])
def test_arms_at_their_own_cost_keep_the_mlps_and_differ_in_macs(arm):
    found, base = match_cost(ARMS[arm]), match_cost(ARMS[BASE])
    assert found.widths == base.widths
    if found.arm.is_variant:
        assert found.cost.parameters == base.cost.parameters, "G1 and G2 have no parameters"
    assert found.cost.total_macs != base.cost.total_macs


@pytest.mark.parametrize("arm", ["global", "mhsa", "coarse-cells"])
def test_matched_widths_are_the_nearest_solution(arm):
    """By brute force: nearer widths solve the two equations less well than rounded solutions do."""
    found, base = match_cost(ARMS[arm]), match_cost(ARMS[BASE])
    grid = np.stack(np.meshgrid(np.arange(1, 250, 2), np.arange(1, 500, 3), np.arange(1, 500, 3), indexing="ij"))
    widths = grid.reshape(3, -1)

    def cost(*widths):
        made = total(part_costs(ARMS[arm], found.config, 28, widths))
        return np.array([made.parameters, made.total_macs])

    empty = cost(0, 0, 0)
    units = np.stack([cost(1, 0, 0), cost(0, 1, 0), cost(0, 0, 1)], axis=1) - empty[:, None]  # (2, 3)
    target = np.array([base.cost.parameters, base.cost.total_macs])
    error = np.abs((empty[:, None] + units @ widths) / target[:, None] - 1).max(axis=0)
    distance = ((widths / np.array(base.widths)[:, None] - 1) ** 2).sum(axis=0)
    found_distance = ((np.array(found.widths) / base.widths - 1) ** 2).sum()
    assert error[distance < found_distance].min(initial=1) > TOLERANCE / 10


def test_arm_without_a_solution_is_an_error():
    """At 96 pixels, plain attention alone costs more MACs than the MLPs can give back."""
    with pytest.raises(ValueError, match="no widths give plain MHSA the parameters and MACs of H-MHSA"):
        match_cost(ARMS["mhsa"], image_size=96)


@all_arms
def test_last_stage_keeps_plain_attention(arm):
    """As in Table 5 of the paper, which changes the stages before it."""
    matched = match_cost(ARMS[arm])
    costs = {part.name: part.cost for part in part_costs(ARMS[arm], matched.config, 28, matched.widths)}
    assert costs["stages.2.blocks.0.attention"] == mhsa_cost(4, 4, 64)


@all_arms
def test_networks_take_the_images_and_the_classes_of_the_data(arm):
    """CIFAR-100: colour images of 32 x 32 pixels."""
    matched = Settings("cifar100", 1).matched(arm)
    assert build(matched).eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 100)
    assert matched.image_size == 32


@pytest.mark.parametrize("size", [0, -28, 4097, 28.5, True, "28"])
def test_a_size_that_is_no_side_of_an_image_is_an_error(size):
    with pytest.raises(ValueError, match=rf"image_size={size!r} must be a whole number from 1 to 4096"):
        match_cost(ARMS["local"], image_size=size)
