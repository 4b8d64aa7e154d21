"""The comparison with ResNet-18: the same pyramid and head on both, and a table of what was recorded."""

from dataclasses import replace

import pytest
import torch

from hatnet.dense import SemanticFPN
from tests.measure_backbones import BUILD, Options, build, costs, folder_of, recipe_of, results, table


@pytest.fixture
def config():
    return recipe_of("ResNet-18", 1, 0).config(6, 3)


def test_both_networks_have_the_same_pyramid_and_head_per_level(config):
    ours, residual = (build(arm, config) for arm in BUILD)
    assert type(ours) is SemanticFPN
    assert ours.width == residual.width == 64
    for level, theirs in zip(ours.head.levels, residual.head.levels, strict=False):
        assert [tensor.shape for tensor in level.parameters()] == [tensor.shape for tensor in theirs.parameters()]
    assert len(residual.head.levels) == len(ours.head.levels) + 1, "ResNet-18 has one map more"
    image = torch.rand(2, 3, 64, 96)
    assert ours(image).shape == residual(image).shape == (2, 6, 64, 96)


def test_the_residual_network_is_torchvisions(config):
    """Its 11,689,512 parameters without the 513,000 of the classifier; every parameter gets a gradient."""
    model = build("ResNet-18", config)
    assert sum(tensor.numel() for tensor in model.backbone.body.parameters()) == 11_689_512 - 513_000
    model(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(tensor.grad is not None for tensor in model.parameters())
    assert costs("ResNet-18")["parameters"] == sum(tensor.numel() for tensor in model.parameters())


def test_recipes_differ_in_the_random_weights_only():
    ours, residual = (recipe_of(arm, 3, 1) for arm in BUILD)
    different = {name for name in vars(ours) if getattr(ours, name) != getattr(residual, name)}
    assert different == {"initial_weights"}
    assert (ours.weights, ours.epochs, ours.seed) == (None, 3, 1)


def test_the_record_is_of_complete_trainings(tmp_path):
    """The last row of each `metrics.csv`, which must be of the last epoch; nothing is trained again."""
    scores = {0: 0.25, 1: 0.5}
    options = Options(tmp_path, epochs=2, seeds=tuple(scores), arms=("ResNet-18",))
    for seed, score in scores.items():
        folder = folder_of("ResNet-18", seed, options)
        folder.mkdir()
        rows = f"epoch,test_mean_IoU\n1,0.1\n2,{score}\n"
        (folder / "metrics.csv").write_text(rows)
    found = results(options)
    assert found["ResNet-18"]["mean IoU"] == [0.25, 0.5]
    assert "| ResNet-18 | 11.49 | 681 | 25.0, 50.0 | 37.5 % | 17.7 |" in table(found)
    assert "| 25.0 | 25.0 % | one seed |" in table(results(replace(options, seeds=(0,))))
    with pytest.raises(AssertionError):
        results(replace(options, epochs=3))
