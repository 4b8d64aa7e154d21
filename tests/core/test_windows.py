"""Windows change under trained weights: the same weights in a network with other G1, G2 or strides, or a refusal."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import hatnet
from hatnet.data import open_data
from hatnet.data.image_file import CHELSEA
from hatnet.equivalence import randomise, run_reference
from hatnet.weights.source import find_source
from hatnet.weights.windows import describe_changes
from tests.core.authors import state_dict

CHANGES = {"grid_sizes": (5, 3), "pool_sizes": (3, 1), "stem_strides": (2, 2)}


@pytest.fixture
def micro():
    model = hatnet.create_model("micro", num_classes=7).double().eval()
    randomise(model)
    return model


@pytest.mark.parametrize("names", [["grid_sizes"], ["pool_sizes"], ["stem_strides"], list(CHANGES)])
def test_changed_windows_equal_the_reference_with_the_same_weights(micro, names):
    changes = {name: CHANGES[name] for name in names}
    changed = hatnet.change_windows(micro, **changes)
    image = torch.rand(1, 3, 30, 37, dtype=torch.float64)
    by_hand = hatnet.HATNet(hatnet.get_config("micro", num_classes=7, **changes)).double().eval()
    by_hand.load_state_dict(micro.state_dict())
    want = run_reference(by_hand, image[0].numpy())["logits"]
    with torch.no_grad():
        np.testing.assert_allclose(changed(image)[0], want, rtol=1e-10)
        assert not torch.allclose(changed(image), micro(image))
    assert micro.config == hatnet.get_config("micro", num_classes=7)


def test_weights_are_shared_and_the_mode_is_kept(micro):
    changed = hatnet.change_windows(micro.train(), grid_sizes=[4, 4])
    assert changed.training
    assert changed.config.grid_sizes == (4, 4)
    with torch.no_grad():
        changed.classifier.bias.fill_(5)
    assert (micro.classifier.bias == 5).all()
    assert all(parameter.requires_grad for parameter in changed.parameters())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"num_classes": 3}, hatnet.CheckpointError, r"the model cannot be given num_classes=3 \(its own: 7\)"),
        ({"head_dim": 16}, hatnet.CheckpointError, r"head_dim=16 \(its own: 32\)"),  # adds no parameter, but heads
        ({"name": "tiny"}, hatnet.CheckpointError, r"name='tiny' \(its own: 'micro'\)"),
        ({"depths": (2, 2, 3), "in_channels": 1}, hatnet.CheckpointError, r"in_channels=1 .*depths=\(2, 2, 3\)|depths"),
        ({"grid_size": (4, 4)}, TypeError, "unknown field 'grid_size', did you mean 'grid_sizes'"),
        ({"grid_sizes": (4,)}, ValueError, "grid_sizes=.4,. must have 2 entries"),
        ({"pool_sizes": (4, 2.5)}, ValueError, "must be whole numbers"),
    ],
)
def test_changes_that_belong_to_the_weights_are_refused(micro, changes, error, message):
    with pytest.raises(error, match=message):
        hatnet.change_windows(micro, **changes)


def test_fields_with_their_present_value_and_drop_rates_are_accepted(micro):
    assert hatnet.change_windows(micro, num_classes=7, drop_path_rate=0.1).config.drop_path_rate == 0.1
    with pytest.raises(TypeError, match="model must be a HATNet, got Linear"):
        hatnet.change_windows(torch.nn.Linear(1, 1), grid_sizes=(4, 4))


def test_all_ways_to_trained_weights_refuse_the_same():
    with pytest.raises(hatnet.CheckpointError, match="head_dim=16"):
        hatnet.create_model("micro", pretrained="fashion-mnist", head_dim=16)
    with pytest.raises(hatnet.CheckpointError, match=r"head_dim=24 \(its own: 48\)"):
        hatnet.load_official(state_dict("tiny"), head_dim=24)
    with pytest.raises(hatnet.CheckpointError, match="num_classes=10"):
        hatnet.load_official(state_dict("tiny"), num_classes=10)
    assert hatnet.load_official(state_dict("tiny"), stem_strides=(1, 1)).config.stem_strides == (1, 1)
    with pytest.raises(TypeError, match="name"):
        hatnet.create_model("micro", pretrained="fashion-mnist", **{"name": "tiny"})


def test_every_difference_is_described_and_equal_values_are_not():
    source = find_source("fashion-mnist", windows={"grid_sizes": (4, 4), "pool_sizes": (4, 2), "stem_strides": None})
    assert source.changes == ("grid_sizes: 7 7 (the weights') -> 4 4 (given)",)
    assert find_source("fashion-mnist").changes == ()
    assert find_source(variant="micro", windows={"pool_sizes": (2, 2)}).changes == (
        "pool_sizes: 4 2 (the variant's) -> 2 2 (given)",
    )
    assert describe_changes(source.model.config, source.model.config) == []


@pytest.mark.parametrize(
    ("command", "options"),
    [
        ("verify", ("--weights", "fashion-mnist")),
        ("attention", (CHELSEA, "--weights", "fashion-mnist", "--kind", "local", "--out", "a.png")),
        ("predict", (CHELSEA, "--weights", "fashion-mnist", "--out", "a.json")),
        ("evaluate", ("fashion-mnist", "--data", "fashion-subset", "--out", ".")),
    ],
)
def test_every_command_changes_windows_and_prints_it(command, options, hatnet_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    few = replace(open_data("fashion-subset"), test=open_data("fashion-subset").test.part(torch.arange(50)))
    monkeypatch.setattr("hatnet.training.checkpoint_evaluation.open_shared_data", lambda *_: few)
    status, out, err = hatnet_command(command, *options, "--stem-strides", 2, 2, "--grid-sizes", 4, 4)
    assert status == 0, err
    assert "grid_sizes: 7 7 (the weights') -> 4 4 (given)" in out
    assert "stem_strides: 1 1 (the weights') -> 2 2 (given)" in out
    record = {"predict": "a.json", "evaluate": "evaluation.json"}.get(command)
    if record is not None:
        facts = json.loads((tmp_path / record).read_text())
        assert facts["changed"][0].startswith("stem_strides: 1 1 (the weights') -> 2 2")


def test_an_evaluation_with_other_windows_does_not_replace_that_of_the_weights(hatnet_command):
    status, _, err = hatnet_command("evaluate", "fashion-mnist", "--grid-sizes", 4, 4)
    assert (status, "give --out a folder: with other windows" in err) == (2, True)
