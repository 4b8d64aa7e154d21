"""The comparison with ResNet-18: the same pyramid, heads and settings on both, and a table of what was recorded."""

from dataclasses import replace

import pytest
import torch

from tests.measure_backbones import (
    RESNET,
    SCORES,
    Options,
    build,
    config_of,
    costs,
    folder_of,
    recipe_of,
    results,
    table,
)

TASKS = tuple(SCORES)
OURS = "HAT-Net tiny"
OPTIONS = Options()


def model(task, arm):
    recipe = recipe_of(task, arm, 0, OPTIONS)
    return build(arm, recipe, config_of(task, recipe))


@pytest.mark.parametrize("task", TASKS)
def test_both_networks_have_the_same_pyramid_heads_and_settings(task):
    """Only the convolutions that take the network's own channels differ in shape."""
    ours, residual = model(task, OURS), model(task, RESNET)
    assert isinstance(residual, type(ours))
    assert residual.width == ours.width
    assert residual.facts() == ours.facts()
    shapes = [
        {name: tuple(tensor.shape) for name, tensor in each.named_parameters() if ".body." not in name}
        for each in (ours, residual)
    ]
    assert shapes[0].keys() == shapes[1].keys()
    different = {name for name, shape in shapes[0].items() if shape != shapes[1][name]}
    assert all(name.startswith(("backbone.fpn.inner_blocks", "backbone.fpn.extra_blocks")) for name in different)


@pytest.mark.parametrize("task", TASKS)
def test_the_residual_network_is_torchvisions_and_learns(task):
    """Its 11,689,512 parameters without the classifier's 513,000; all of backbone and pyramid get a gradient."""
    residual = model(task, RESNET)
    assert sum(tensor.numel() for tensor in residual.backbone.body.parameters()) == 11_689_512 - 513_000
    maps = residual.backbone(torch.rand(2, 3, 64, 96))
    sum(map.square().sum() for map in maps.values()).backward()
    assert all(tensor.grad is not None for tensor in residual.backbone.parameters())


@pytest.mark.parametrize("task", TASKS)
def test_a_model_on_resnet_is_built_again_from_its_facts(task):
    residual = model(task, RESNET)
    assert residual.require_unchanged() == {name: tuple(t.shape) for name, t in residual.state_dict().items()}


@pytest.mark.parametrize("task", TASKS)
def test_tiny_costs_about_as_much_as_resnet(task):
    """Tiny is compared for its similar cost: parameters within a tenth, multiplications within a quarter."""
    ours, residual = costs(task, OURS, OPTIONS), costs(task, RESNET, OPTIONS)
    assert ours["parameters"] == pytest.approx(residual["parameters"], rel=0.1)
    assert ours["MACs"] == pytest.approx(residual["MACs"], rel=0.25)
    assert residual["parameters"] == sum(tensor.numel() for tensor in model(task, RESNET).parameters())


def test_recipes_differ_in_the_network_and_its_random_weights_only():
    ours, residual = (recipe_of("detection", arm, 1, replace(OPTIONS, epochs=2)) for arm in ("HAT-Net micro", RESNET))
    different = {name for name in vars(ours) if getattr(ours, name) != getattr(residual, name)}
    assert different == {"variant", "initial_weights"}
    assert (ours.weights, ours.epochs, ours.seed) == (None, 2, 1)


def test_the_record_is_of_complete_trainings(tmp_path):
    """The last row of each `metrics.csv`, which must be of the last epoch; nothing is trained again."""
    scores = {0: 0.25, 1: 0.5}
    options = replace(
        OPTIONS, folder=tmp_path, epochs=2, seeds=tuple(scores), arms=(RESNET,), tasks=("segmentation", "instances")
    )
    for seed, score in scores.items():
        for task, columns in (("segmentation", ["test_mean_IoU"]), ("instances", ["test_box_AP50", "test_mask_AP50"])):
            folder = folder_of(task, RESNET, seed, options)
            folder.mkdir()
            rows = [f"epoch,{','.join(columns)}", f"1,{','.join('0' for _ in columns)}"]
            rows.append("2," + ",".join(f"{score / place}" for place in range(1, len(columns) + 1)))
            (folder / "metrics.csv").write_text("\n".join(rows) + "\n")
    found = results(options)
    assert found["segmentation"][RESNET]["mean IoU"] == [0.25, 0.5]
    assert found["instances"][RESNET]["AP50 of masks"] == [0.125, 0.25]
    pixels, objects = table(found).split("\n\n")
    assert pixels.splitlines()[0] == "| Backbone | M parameters | M MACs | mean IoU, % |"
    assert pixels.splitlines()[2] == "| ResNet-18 | 11.49 | 650 | **37.5** ± 17.7 (25.0, 50.0) |"
    assert objects.splitlines()[2].endswith("| **37.5** ± 17.7 (25.0, 50.0) | **18.8** ± 8.8 (12.5, 25.0) |")
    assert "| **25.0** (25.0) |" in table(results(replace(options, seeds=(0,))))
    with pytest.raises(AssertionError):
        results(replace(options, epochs=3))
