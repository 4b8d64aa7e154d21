"""`AttentionMaps`: what it keeps, the precision of its results, and errors that list what exists."""

import numpy as np
import pytest
import torch

import hatnet
from hatnet.equivalence import run_model
from hatnet.maps import attention_maps, token_at
from tests.maps.small import TINY


def test_maps_leave_the_model_unchanged_and_keep_only_weights():
    model, images = TINY.model().train(), TINY.images()
    model.stages[0].eval()
    before = [module.training for module in model.modules()]
    maps = attention_maps(model, images[0])
    maps.class_map(0)
    assert [module.training for module in model.modules()] == before
    assert set(before) == {False, True}
    assert all(parameter.grad is None for parameter in model.parameters())
    assert set(maps.weights) == {name for name in run_model(model, images) if name.endswith("weights")}


def test_maps_keep_the_precision_of_the_model_under_autocast():
    model, images = TINY.model().float(), TINY.images().float()
    want = attention_maps(model, images)
    ask = {
        "parts": lambda maps: np.stack(maps.parts(0, 0, (1, 2))),
        "dense": lambda maps: maps.dense(1, 0),
        "rollout": lambda maps: maps.rollout(),
        "class map": lambda maps: maps.class_map(0),
    }
    with torch.autocast("cpu", torch.bfloat16):
        maps = attention_maps(model, images)
        within = {name: compute(maps) for name, compute in ask.items()}
    for name, compute in ask.items():
        assert np.array_equal(within[name], compute(want)), name
        assert np.array_equal(compute(maps), compute(want)), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_maps_have_the_dtype_of_the_model(dtype):
    maps = attention_maps(TINY.model().to(dtype), TINY.images()[0].to(dtype))
    results = (maps.logits, maps.local(0, 0, (0, 0)), maps.rollout(pixels=True), maps.class_map(), maps.dense(1, 0))
    want = "float64" if dtype == torch.float64 else "float32"  # NumPy has no bfloat16
    assert {result.dtype.name for result in results} == {want}


def test_changing_a_map_does_not_change_later_maps():
    maps = attention_maps(TINY.model(), TINY.images())
    asked = {
        "logits": lambda: maps.logits,
        "weights": lambda: maps.weights["stages.1.blocks.0.attention.weights"],
        "local": lambda: maps.local(0, 0, (1, 1), head=0),
        "global": lambda: maps.global_(0, 0, (1, 1), head=0),
        "of cells": lambda: maps.global_(0, 0, (1, 1), head=0, over_tokens=True),
        "composed": lambda: maps.composed(0, 0, (1, 1), head=0),
        "residual": lambda: maps.parts(0, 0, (1, 1)).residual,
        "rollout": maps.rollout,
        "class map": lambda: maps.class_map(1),
    }
    before = {name: ask().copy() for name, ask in asked.items()}
    for ask in asked.values():
        ask()[:] = -1
    for name, ask in asked.items():
        assert np.array_equal(ask(), before[name]), name


def test_a_pixel_belongs_to_the_token_whose_square_contains_it():
    maps = attention_maps(TINY.model(), TINY.images()[0])  # 9 x 8 pixels, 2 per token, so 5 x 4 tokens
    for (x, y), token in {(0, 0): (0, 0), (7, 0): (0, 3), (0, 8): (4, 0), (3, 5): (2, 1)}.items():
        assert maps.token_at(x, y, stage=0) == token
    assert maps.token_at(7, 8, stage=1) == (2, 1)
    for x, y in ((8, 0), (0, 9), (-1, 0)):
        with pytest.raises(ValueError, match=f"query {x},{y} lies outside the image of 8 x 9 pixels: X goes from 0 to"):
            token_at(x, y, (9, 8), 2)


def test_tokens_and_classes_may_be_numbers_of_numpy_and_pytorch():
    maps = attention_maps(TINY.model(), TINY.images()[0])
    query = np.array([1, 2])
    assert np.array_equal(maps.rollout(0, 1, query), maps.rollout(0, 1, (1, 2)))
    assert np.array_equal(maps.composed(0, 1, query), maps.composed(0, 1, (1, 2)))
    want = maps.class_map(2)
    for label in (torch.tensor(2), torch.tensor([2]), np.array(2), np.int64(2), iter([2])):
        assert np.array_equal(maps.class_map(label), want)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda maps: maps.local(2, 0, (0, 0)), "there is no stage 2: the network has 2, counted from 0"),
        (lambda maps: maps.local(0, 2, (0, 0)), "there is no block 2: stage 0 has 2, counted from 0"),
        (lambda maps: maps.composed(1, -1, (0, 0)), "there is no block -1: stage 1 has 1, counted from 0"),
        (lambda maps: maps.composed(0, 0, (0, 0), head=2), "there is no head 2: stage 0 has 2, counted from 0"),
        (lambda maps: maps.dense(0, 0, head=-1), "there is no head -1"),
        (lambda maps: maps.rollout(-1), "there is no stage -1"),
        (lambda maps: maps.global_(0, 0, (5, 0)), r"\(5, 0\) is not on the map of stage 0: rows go from 0 to 4, col"),
        (lambda maps: maps.rollout(1, 0, (0, 2)), r"token \(0, 2\) is not on the map of stage 1"),
        (lambda maps: maps.local(1, 0, (0, 0)), "stage 1 has no windows: its attention is plain"),
        (lambda maps: maps.class_map(3), "there is no class 3: the network has 3, counted from 0"),
        (lambda maps: maps.class_map([0, 1]), "2 labels are given for 1 images"),
        (lambda maps: maps.class_map(torch.tensor(3)), "there is no class 3: the network has 3, counted from 0"),
        (lambda maps: maps.token_at(1.5, 0, 0), "x=1.5 and y=0 must be whole numbers, those of a pixel"),
        (lambda maps: maps.token_at(0, True, 0), "x=0 and y=True must be whole numbers"),
        (lambda maps: maps.rollout(1, 0, np.array([0, 2])), "is not on the map of stage 1"),
    ],
)
def test_the_error_for_something_missing_lists_what_exists(ask, message):
    maps = attention_maps(TINY.model(), TINY.images()[0])
    with pytest.raises(ValueError, match=message):
        ask(maps)


def test_a_network_whose_windows_contradict_its_configuration_is_refused():
    model = TINY.model()
    model.stages[0].blocks[1].attention.grid_size += 1
    with pytest.raises(ValueError, match=r"stages\.0\.blocks\.1\.attention has G1, G2 = .* with create_model"):
        attention_maps(model, TINY.images())


def test_images_that_the_network_refuses_are_refused():
    for image, error, message in (
        (torch.zeros(3, 4, 4), ValueError, "too small"),
        (torch.zeros(1, 28, 28), ValueError, "must have shape"),
        (torch.zeros(28, 28), ValueError, "must have shape"),
        (torch.zeros(3, 28, 28, dtype=torch.uint8), TypeError, "must hold floats"),
        (np.zeros((3, 28, 28)), TypeError, "image must be a tensor, got ndarray; for an array use torch.from_numpy"),
        ([[0.0]], TypeError, "image must be a tensor, got list"),
    ):
        with pytest.raises(error, match=message):
            attention_maps(hatnet.create_model("micro"), image)


@pytest.mark.parametrize("label", [1.7, True, "1", None, np.True_, np.float64(1), [1.0, 1], [True, False]])
def test_labels_that_are_no_whole_numbers_are_refused(label):
    maps = attention_maps(TINY.model(), TINY.images())
    with pytest.raises(ValueError, match="must be a whole number, the number of a class"):
        maps.class_map([label, 0] if label is None else label)


@pytest.mark.parametrize(
    "label", [np.int64(1), np.uint8(1), torch.tensor(1), np.array(1), [1, np.int32(1)], [torch.tensor(1), 1]]
)
def test_whole_numbers_of_any_kind_are_labels(label):
    maps = attention_maps(TINY.model(), TINY.images())
    assert np.array_equal(maps.class_map(label), maps.class_map(1))


@pytest.mark.parametrize("model", [torch.nn.Linear(3, 3), "tiny", None, {}])
def test_what_is_no_network_is_named(model):
    with pytest.raises(TypeError, match=f"model must be a HATNet, got {type(model).__name__}"):
        attention_maps(model, TINY.images())
