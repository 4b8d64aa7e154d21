"""Layer-wise learning rates, and training the classifier alone."""

from dataclasses import replace

import pytest
import torch

from hatnet.network import HATNet
from hatnet.training.optimiser import adamw
from hatnet.training.resuming import load_state
from hatnet.weights.checkpoints import load
from tests.training.runs import SMALL, outcome, run, start, stop_after, thin

DECAYED = replace(SMALL, layer_decay=0.5)


@pytest.fixture
def head_only(whole):
    return replace(SMALL, weights=str(whole / "last.safetensors"), head_only=True)


def rates(optimiser, model):
    """Rate and weight decay of every parameter, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(parameter)]: (group["rate"], group["weight_decay"])
        for group in optimiser.param_groups
        for parameter in group["params"]
    }


def test_the_rate_halves_from_each_layer_to_the_one_before():
    """Independently: walk through the modules in the order in which an image passes them."""
    model = HATNet(replace(SMALL.config(10, 1), depths=(2, 1, 3)))
    layers = [[model.stem]]
    for stage in model.stages:
        for index, block in enumerate(stage.blocks):
            layers.append([block] if index or stage.downsample is None else [stage.downsample, block])
    layers.append([model.classifier])
    assert len(layers) == 8
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    want, rate = {}, 1.0
    for layer in reversed(layers):
        for parameter in (parameter for module in layer for parameter in module.parameters()):
            want[names[id(parameter)]] = (rate, 0.05 if parameter.ndim > 1 else 0.0)
        rate /= 2
    assert rates(adamw(model, DECAYED), model) == want


def test_without_decay_there_are_two_groups_matrices_first():
    optimiser = adamw(HATNet(SMALL.config(10, 1)), SMALL)
    assert [(group["rate"], group["weight_decay"]) for group in optimiser.param_groups] == [(1.0, 0.05), (1.0, 0.0)]


def test_a_step_uses_the_rate_of_each_layer(tmp_path):
    """AdamW's first step moves every weight of a vector by the learning rate, up to its epsilon."""
    training = start(tmp_path, replace(DECAYED, ema=0.0, first_lr=1e-3, lr=1e-3, clip=0.0))
    before = {name: parameter.detach().clone() for name, parameter in training.model.named_parameters()}
    training.learner.take_step(training.batches)
    moved = {
        name: float((parameter.detach() - before[name]).abs().max())
        for name, parameter in training.model.named_parameters()
    }
    assert moved["classifier.bias"] == pytest.approx(1e-3, rel=0.01)
    assert moved["stages.2.blocks.0.attention.norm.bias"] == pytest.approx(5e-4, rel=0.01)
    assert moved["stem.norm.bias"] == pytest.approx(1e-3 / 2**4, rel=0.01)


def test_only_the_classifier_is_trained(head_only, whole, tmp_path):
    training = run(tmp_path, head_only)
    state = load_state(tmp_path / "state.safetensors")[0]
    assert {name.split(".", 2)[2] for name in state.tensors if name.startswith("optimiser.")} == {
        "classifier.weight", "classifier.bias",
    }  # fmt: skip
    before, after = (load(folder / "last.safetensors").state_dict() for folder in (whole, tmp_path))
    assert [name for name in before if not torch.equal(before[name], after[name])] == [
        "classifier.weight", "classifier.bias",
    ]  # fmt: skip
    modes = {name: module.training for name, module in training.model.named_modules() if name}
    assert {name.split(".")[0] for name, mode in modes.items() if mode} == {"drop", "classifier"}, "no drop path"


@pytest.mark.parametrize("changes", [{}, {"layer_decay": 0.7}])
def test_training_the_classifier_resumes_bit_for_bit(changes, head_only, tmp_path):
    recipe = replace(head_only, **changes)
    run(tmp_path / "whole", recipe)
    run(tmp_path / "run", recipe, monitor=stop_after(1))
    run(tmp_path / "run", recipe, resume=True)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_layer_wise_rates_resume_bit_for_bit(tmp_path):
    run(tmp_path / "whole", DECAYED)
    run(tmp_path / "run", DECAYED, monitor=stop_after(10))
    run(tmp_path / "run", DECAYED, resume=True)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_the_classifier_of_random_layers_is_not_trained_alone():
    with pytest.raises(ValueError, match="head_only=True trains only the classifier: give the weights"):
        replace(SMALL, head_only=True)
    assert thin(SMALL.config(10, 1)).classifier.weight.requires_grad
