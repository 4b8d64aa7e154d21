"""Weights of classification networks in dense models: every name matches, and only the classifier is left out."""

from pathlib import Path

import pytest
import torch

import hatnet
from hatnet import create_model, get_config
from hatnet.dense import load_backbone
from hatnet.weights.checkpoints import CheckpointError
from hatnet.weights.official import authors_names
from tests.comparing import assert_equal
from tests.dense.networks import MODELS

LEFT_OUT = ("classifier.weight", "classifier.bias")
LITTLE = {"channels": (8, 16), "depths": (1, 1), "kernel_sizes": (3, 3), "expansions": (2, 2), "head_dim": 8,
          "grid_sizes": (7,), "pool_sizes": (2,)}  # fmt: skip


def classifier(**changes):
    torch.manual_seed(5)
    return create_model("micro", **LITTLE | changes)


def without_classifier(model):
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("classifier.")}


@pytest.mark.parametrize("task", MODELS)
def test_weights_of_the_package_load_with_their_normalisation(task):
    """Grey images, and the mean and std of Fashion-MNIST."""
    model = create_model("micro", "fashion-mnist", task=task, num_classes=4)
    trained = create_model("micro", "fashion-mnist")
    assert_equal(model.backbone.body.state_dict(), without_classifier(trained))
    assert (model.config.in_channels, model.config.num_classes) == (1, 4)
    assert (model.config.grid_sizes, model.config.pool_sizes) == ((8, 8), (8, 4))
    assert model.config.stem_strides == trained.config.stem_strides
    assert (model.transform.image_mean, model.transform.image_std) == ([0.286], [0.353])
    assert model.training


def test_a_file_a_folder_and_a_state_dict_give_the_same(tmp_path):
    model, source = create_model("micro", task="segmentation", **LITTLE), classifier()
    hatnet.save(source, tmp_path / "last.safetensors", {"mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]})
    for weights in (source.state_dict(), tmp_path / "last.safetensors", tmp_path, str(tmp_path)):
        model.backbone.body.reset_parameters()
        head = model.head.classifier.weight.clone()
        assert load_backbone(model, weights) == LEFT_OUT
        assert_equal(model.backbone.body.state_dict(), without_classifier(source))
        assert torch.equal(model.head.classifier.weight, head)
    assert (model.transform.image_mean, model.transform.image_std) == ([0.1, 0.2, 0.3], [1, 2, 3])
    built = create_model("micro", tmp_path, task="detection", pool_sizes=(3,), drop_path_rate=0.1)
    assert_equal(built.backbone.body.state_dict(), without_classifier(source))
    assert (built.config.grid_sizes, built.config.pool_sizes, built.config.drop_path_rate) == ((8,), (3,), 0.1)


def test_the_weights_are_copies(tmp_path):
    model, source = create_model("micro", task="segmentation", **LITTLE), classifier()
    load_backbone(model, source.state_dict())
    source.stem.conv1.weight.data.zero_()
    assert model.backbone.body.stem.conv1.weight.abs().max() > 0


@pytest.mark.long
def test_an_authors_checkpoint_loads_into_the_dense_windows(tmp_path):
    """Their names; no parameter depends on G1 and G2. The file also holds the unused proj_norm (D5)."""
    torch.manual_seed(1)
    source = create_model("tiny", num_classes=5)
    tensors = {theirs: source.state_dict()[ours] for ours, theirs in authors_names(source.config).items()}
    tensors = {
        name: tensor[..., None, None] if tensor.ndim == 2 and not name.startswith("classifier") else tensor
        for name, tensor in tensors.items()
    }
    torch.save(tensors, tmp_path / "HAT-Net_Tiny.pth")
    model = create_model("tiny", tmp_path / "HAT-Net_Tiny.pth", task="segmentation", num_classes=2)
    assert_equal(model.backbone.body.state_dict(), without_classifier(source))
    assert model.config == get_config("tiny", num_classes=2).with_dense_windows()
    assert model.transform.image_mean == [0.485, 0.456, 0.406]


def damaged(**changes):
    tensors = dict(classifier().state_dict()) | changes
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (damaged(**{"stem.conv1.bias": None}), r"missing \(1\): stem.conv1.bias"),
        (damaged(**{"head.weight": torch.zeros(2)}), r"unexpected \(1\): head.weight"),
        (damaged(**{"stem.conv1.bias": torch.zeros(7)}), r"stem.conv1.bias \(7,\) for \(16,\)"),
        (damaged(**{"stem.conv1.bias": torch.full((16,), torch.nan)}), "NaN or infinity in stem.conv1.bias"),
        (damaged(**{"stem.conv1.bias": torch.zeros(16, dtype=torch.int64)}), "not floating"),
        (damaged(**{"stem.conv1.bias": [0.0] * 16}), "must hold tensors only"),
        (classifier(in_channels=1).state_dict(), r"stem.conv1.weight \(16, 1, 3, 3\) for \(16, 3, 3, 3\)"),
        ({}, "missing"),
        ("fashion-mnist", r"stem.conv1.weight \(16, 1, 3, 3\) for"),
    ],
)
def test_whatever_does_not_match_is_listed_and_nothing_is_loaded(weights, words):
    model = create_model("micro", task="segmentation", **LITTLE)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=words):
        load_backbone(model, weights)
    assert_equal(model.state_dict(), before)
    assert model.transform.image_mean == [0.485, 0.456, 0.406]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: create_model("tiny", "fashion-mnist", task="detection"), ValueError, "of 'micro', not of 'tiny'"),
        (lambda: create_model("micro", "no-such-file", task="detection"), FileNotFoundError, "no-such-file"),
        (lambda: create_model("micro", Path("fashion-mnist"), task="detection"), FileNotFoundError, "fashion-mnist"),
        (lambda: create_model("micro", "fashion-mnist", task="detection", in_channels=3), ValueError, "in_channels=3"),
        (lambda: create_model("micro", "fashion-mnist", task="detection", depth=3), TypeError, "'depth'"),
        (lambda: create_model("micro", 3, task="detection"), TypeError, "pretrained=3"),
        (lambda: load_backbone(create_model("micro"), "fashion-mnist"), TypeError, "SemanticFPN"),
        (lambda: create_model("micro", width=8), TypeError, "width=8 is for dense tasks"),
        (lambda: load_backbone(None, "fashion-mnist"), TypeError, "SemanticFPN"),
        (lambda: load_backbone(create_model("micro", task="segmentation"), 3), TypeError, "weights=3"),
    ],
)
def test_wrong_weights_are_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()
