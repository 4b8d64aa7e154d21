"""Files and state dicts written before the halves of H-MHSA became modules still load."""

import json
import zlib
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hatnet import HMHSA, create_model, load
from hatnet.equivalence import randomise
from hatnet.former_names import current_name, former_name
from hatnet.studies.ablation import ARMS, build, match_cost
from hatnet.training.recipes import get_recipe
from hatnet.training.resuming import State, load_state, optimiser_tensors, restore_optimiser, save_state
from hatnet.weights.pretrained import pretrained_file
from tests.comparing import assert_equal


def formerly(tensors):
    """Tensors under their former names."""
    renamed = {former_name(name): tensor for name, tensor in tensors.items()}
    assert set(renamed) != set(tensors)
    return renamed


@pytest.fixture
def model():
    model = create_model("micro")
    randomise(model)
    return model


def test_every_name_has_one_former_name(model):
    for name in model.state_dict():
        assert current_name(former_name(name)) == current_name(name) == name
    former = {part for name in model.state_dict() for part in former_name(name).split(".")}
    assert former >= {"local_qkv", "merge_norm", "global_q", "global_kv"}


def test_files_of_earlier_versions_load(model, tmp_path):
    path = tmp_path / "model.safetensors"
    metadata = {"format": "hatnet", "version": "1", "config": json.dumps(asdict(model.config))}
    save_file(formerly(model.state_dict()), path, metadata)
    assert_equal(load(path).state_dict(), model.state_dict())


def test_the_weights_that_ship_load():
    """The file still has the former names."""
    tensors = load_file(pretrained_file("micro", "fashion-mnist"))
    assert any(".local_qkv." in name for name in tensors)
    loaded = create_model("micro", pretrained="fashion-mnist").state_dict()
    assert_equal({current_name(name): tensor for name, tensor in tensors.items()}, loaded)


@pytest.mark.parametrize(
    "make",
    [
        lambda: create_model("micro"),
        lambda: HMHSA(6, 2, grid_size=3, pool_size=2),
        lambda: torch.nn.ModuleDict({"backbone": create_model("micro")}),
        *(partial(build, match_cost(ARMS[arm])) for arm in ("h-mhsa", "local", "global")),
    ],
    ids=["network", "layer", "part of another network", "h-mhsa", "local", "global"],
)
def test_state_dicts_load(make):
    model, other = make(), make()
    state_dict = formerly(model.state_dict())
    before = list(state_dict)
    other.load_state_dict(state_dict)
    assert_equal(other.state_dict(), model.state_dict())
    assert list(state_dict) == before  # the caller's dictionary is left alone


def test_training_states_load(model, tmp_path):
    """Weights, their average, and the state of the optimiser."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    optimiser = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    optimiser.step()
    average = {f"average.{name}": 2 * tensor for name, tensor in model.state_dict().items()}
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors = weights | average | optimiser_tensors(optimiser, names)
    save_state(tmp_path / "state", State(step=1, tensors=formerly(tensors)), get_recipe("fashion"))
    state, _ = load_state(tmp_path / "state")
    assert_equal({name: state.tensors[name] for name in tensors}, tensors)
    assert len(state.tensors) == len(tensors)

    again = torch.optim.AdamW(model.parameters())
    restore_optimiser(again, names, state.tensors)
    for parameter, name in names.items():
        assert torch.equal(again.state[parameter]["exp_avg"], optimiser.state[parameter]["exp_avg"]), name


def test_randomise_draws_the_same_weights_as_ever():
    """It draws each parameter by its former name, so that figures on the site keep their numbers."""
    layer = HMHSA(6, 2, grid_size=3, pool_size=2).double()
    randomise(layer, seed=5)
    noise = np.random.default_rng([5, zlib.crc32(b"local_qkv.weight")]).standard_normal((18, 6))
    assert np.array_equal(layer.local_attention.qkv.weight.detach().numpy(), noise / np.sqrt(6))
