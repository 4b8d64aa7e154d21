"""The comparison with ResNet-18: the same pyramid, heads, settings and start for both, and a table of the records."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from hatnet.training.initial_weights import random_network
from hatnet.training.networks import BODY
from tests.measure_backbones import (
    RESNET,
    SCORES,
    VARIANTS,
    Options,
    build,
    config_of,
    costs,
    folder_of,
    recipe_of,
    results,
    start,
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


@pytest.mark.parametrize("from_segmenter", [True, False])
def test_recipes_differ_in_the_network_and_its_random_weights_only(from_segmenter):
    options = replace(OPTIONS, epochs=2, from_segmenter=from_segmenter)
    ours, residual = (recipe_of("detection", arm, 1, options) for arm in ("HAT-Net micro", RESNET))
    different = {name for name in vars(ours) if getattr(ours, name) != getattr(residual, name)}
    assert different == ({"variant"} if from_segmenter else {"variant", "initial_weights"})
    assert (ours.weights, ours.epochs, ours.seed) == (None, 2, 1)


def write_training(task, arm, seed, options, epochs, **scores):
    """The folder of a training, with random weights; the last row of its metrics has these scores, the others zeros."""
    folder, recipe = folder_of(task, arm, seed, options), recipe_of(task, arm, seed, options)
    folder.mkdir()
    rows = [[epoch, *(scores.values() if epoch == epochs else len(scores) * [0])] for epoch in range(1, epochs + 1)]
    (folder / "metrics.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in [["epoch", *scores], *rows]))
    network = build(arm, recipe, config_of(task, recipe))
    save_file(network.state_dict(), folder / "best.safetensors")
    return network


@pytest.mark.parametrize("arm", VARIANTS)
@pytest.mark.parametrize("task", ["detection", "instances"])
def test_a_detector_starts_from_the_backbone_of_its_own_segmenter(tmp_path, task, arm):
    """That of the same network and seed, all of it; pyramid and heads are random."""
    options = replace(OPTIONS, folder=tmp_path)
    segmenters = [write_training("segmentation", arm, seed, options, 5) for seed in (0, 1)]
    recipe = recipe_of(task, arm, 1, options)
    config = config_of(task, recipe)
    random = random_network(recipe, config, lambda it: build(arm, recipe, it)).state_dict()
    started = random_network(
        recipe, config, lambda it: start(build(arm, recipe, it), task, arm, 1, options)
    ).state_dict()
    expected = segmenters[1].backbone.body.state_dict()
    for name, tensor in started.items():
        before = expected[name.removeprefix(BODY)] if name.startswith(BODY) else random[name]
        assert torch.equal(tensor, before), name
    assert len(expected) == sum(name.startswith(BODY) for name in started)


def test_an_unfinished_segmenter_is_no_start(tmp_path):
    options = replace(OPTIONS, folder=tmp_path)
    detector = model("detection", RESNET)
    with pytest.raises(ValueError, match=r"seed-0.metrics.csv has 0 of 5 epochs: train segmentation with ResNet-18"):
        start(detector, "detection", RESNET, 0, options)
    write_training("segmentation", RESNET, 0, options, 4)
    with pytest.raises(ValueError, match=r"has 4 of 5 epochs: train segmentation with ResNet-18 and seed 0 first"):
        start(detector, "detection", RESNET, 0, options)


def test_segmenters_start_from_random_weights(tmp_path):
    segmenter = model("segmentation", RESNET)
    assert start(segmenter, "segmentation", RESNET, 0, replace(OPTIONS, folder=tmp_path)) is segmenter
    detector = model("detection", RESNET)
    assert start(detector, "detection", RESNET, 0, replace(OPTIONS, folder=tmp_path, from_segmenter=False)) is detector


def test_the_record_is_of_complete_trainings(tmp_path):
    """The last row of each `metrics.csv`, which must be of the last epoch; nothing is trained again."""
    scores = {0: 0.25, 1: 0.5}
    options = replace(
        OPTIONS, folder=tmp_path, epochs=2, seeds=tuple(scores), arms=(RESNET,), tasks=("segmentation", "instances")
    )
    for seed, score in scores.items():
        write_training("segmentation", RESNET, seed, options, 2, test_mean_IoU=score)
        write_training("instances", RESNET, seed, options, 2, test_box_AP50=score, test_mask_AP50=score / 2)
    found = results(options)
    assert found["segmentation"][RESNET]["mean IoU"] == [0.25, 0.5]
    assert found["instances"][RESNET]["AP50 of masks"] == [0.125, 0.25]
    pixels, objects = table(found).split("\n\n")
    assert pixels.splitlines()[0] == "| Backbone | M parameters | M MACs | mean IoU, % |"
    assert pixels.splitlines()[2] == "| ResNet-18 | 11.49 | 650 | **37.5** ± 17.7 (25.0, 50.0) |"
    assert objects.splitlines()[2].endswith("| **37.5** ± 17.7 (25.0, 50.0) | **18.8** ± 8.8 (12.5, 25.0) |")
    assert "| **25.0** (25.0) |" in table(results(replace(options, seeds=(0,))))
    with pytest.raises(ValueError, match="has 2 of 3 epochs"):
        results(replace(options, epochs=3))
