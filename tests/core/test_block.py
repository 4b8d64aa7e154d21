"""MLP and block: PyTorch, batched, equals the reference image by image."""

import pytest
import torch

import reference
from hatnet.config import Stage
from hatnet.network import MLP, Block
from tests.cases import MUST_HIT, for_maps
from tests.comparing import assert_layer, assert_traces


def stage_of(case, hierarchical):
    """A stage with the sizes of the case, hierarchical or plain."""
    G1, G2 = (case.grid_size, case.pool_size) if hierarchical else (None, None)
    return Stage(case.channels, 1, case.heads, case.kernel_size, case.expansion, G1, G2, stride=4)


@for_maps
def test_mlp(case):
    """Eq. 4, D7: norm, expand, SiLU, depthwise, SiLU, contract, norm."""
    assert_layer(case, MLP(case.channels, case.expansion * case.channels, case.kernel_size), reference.mlp)


@pytest.mark.parametrize("hierarchical", [True, False], ids=["hierarchical", "plain"])
@for_maps
def test_a_block_adds_attention_and_mlp_to_their_inputs(hierarchical, case):
    """Eq. 14 (Eq. 3 in the last stage), then Eq. 4."""
    stage = stage_of(case, hierarchical)
    layer, params = case.filled(Block(stage))
    assert_traces(case, layer, lambda x, trace: reference.block(x, params, stage, trace))


def dropping(**rates):
    """A block with dropout, and maps for it."""
    torch.manual_seed(0)
    layer, _ = MUST_HIT[0].filled(Block(stage_of(MUST_HIT[0], hierarchical=True), **rates))
    return layer, torch.from_numpy(MUST_HIT[0].maps())


def test_drop_path_drops_the_branches_but_never_the_residual():
    """Eq. 4, D9."""
    layer, x = dropping(drop_path_rate=1 - 1e-12)
    assert torch.equal(layer.train()(x), x)
    assert not torch.equal(layer.eval()(x), x)


def test_channel_dropout_of_attention_and_mlp_is_off_in_evaluation():
    layer, x = dropping(drop_rate=0.5)
    assert torch.equal(layer(x), layer(x))
    assert not torch.equal(layer.train()(x), layer(x))
