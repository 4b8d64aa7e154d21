"""Bad input of dense models is refused with words that say what is wrong."""

from dataclasses import replace
from functools import cache

import pytest
import torch

from hatnet import create_model, get_config
from hatnet.dense import SemanticFPNHead
from tests.dense.networks import DETECTORS, MODELS, THIN, target, thin

IMAGE = torch.rand(3, 64, 64)


@cache
def model_of(task):
    """One model for all inputs; none of them changes it."""
    return thin(task)


@pytest.mark.parametrize(
    ("overrides", "error", "words"),
    [
        ({"task": "segmentaton"}, ValueError, "task='segmentaton' must be one of classification, segmentation"),
        ({"task": None}, ValueError, "task=None"),
        ({"num_classes": 0}, ValueError, "num_classes=0"),
        ({"num_classes": 2.5}, ValueError, "num_classes=2.5"),
        ({"num_classes": 10**6}, ValueError, "at most 20,000"),
        ({"num_clases": 3}, TypeError, "did you mean 'num_classes'"),
        ({"name": "smal"}, ValueError, "did you mean 'small'"),
        ({"grid_sizes": (8, 8, 8)}, ValueError, "grid_sizes"),
    ],
)
def test_wrong_arguments_of_create_model_are_named(overrides, error, words):
    with pytest.raises(error, match=words):
        create_model(**{"name": "micro", "task": "segmentation"} | overrides)


@pytest.mark.parametrize("task", MODELS)
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_mean": [0.5]}, "image_mean=.* must be 3 numbers"),
        ({"image_std": [1.0, 1.0, 0.0]}, "image_std"),
        ({"image_mean": 0.5}, "image_mean=0.5"),
        ({"image_mean": [0.5, 0.5, float("nan")]}, "image_mean"),
    ],
)
def test_a_wrong_normalisation_is_refused(task, settings, words):
    with pytest.raises(ValueError, match=words):
        thin(task, **settings)


@pytest.mark.parametrize("task", DETECTORS)
def test_detectors_refuse_unknown_settings_and_impossible_networks(task):
    with pytest.raises(TypeError, match="unknown setting 'min_sise', did you mean 'min_size'"):
        MODELS[task](THIN, min_sise=64)
    one = replace(THIN, channels=(4,), depths=(1,), kernel_sizes=(3,), expansions=(2,), grid_sizes=(), pool_sizes=())
    with pytest.raises(ValueError, match="has 1 stages; this model needs 2"):
        MODELS[task](one)
    with pytest.raises(ValueError, match="powers of two"):
        MODELS[task](replace(THIN, stem_strides=(3, 2)))
    with pytest.raises(TypeError, match="config='small' must be a HATNetConfig"):
        MODELS[task]("small")


@pytest.mark.parametrize(
    ("image", "error", "words"),
    [
        (torch.rand(1, 1, 64, 64), ValueError, r"\(B, 3, H, W\), got \(1, 1, 64, 64\)"),  # would become colour
        (torch.rand(3, 64, 64), ValueError, r"image\[None\]"),
        (torch.rand(1, 3, 31, 64), ValueError, "too small"),
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError, "divide bytes by 255"),
        (torch.rand(1, 3, 64, 64).double(), TypeError, "float64"),
        ([IMAGE], TypeError, "must be a tensor"),
        (None, TypeError, "must be a tensor"),
    ],
)
def test_the_segmenter_refuses_wrong_images(image, error, words):
    with pytest.raises(error, match=words):
        model_of("segmentation")(image)


def test_training_on_a_single_token_is_refused_with_advice():
    """Batch normalisation has no variance of one number. Evaluation and two images are fine."""
    model = model_of("segmentation").train()
    with pytest.raises(ValueError, match="one image of 32 x 32 pixels has one token .* more or larger images"):
        model(torch.rand(1, 3, 32, 32))
    model(torch.rand(2, 3, 32, 32))
    model.eval()(torch.rand(1, 3, 32, 32))


@pytest.mark.parametrize("task", DETECTORS)
@pytest.mark.parametrize(
    ("images", "error", "words"),
    [
        ([torch.rand(1, 64, 64)], ValueError, r"images\[0\] must have the shape \(3, H, W\), got \(1, 64, 64\)"),
        ([IMAGE, IMAGE[None]], ValueError, r"images\[1\]"),
        ([IMAGE.byte()], TypeError, "divide bytes by 255"),
        ([torch.rand(3, 0, 5)], ValueError, r"got \(3, 0, 5\)"),
        ([], ValueError, "at least one image"),
        (None, TypeError, "images=None must be a list"),
        ([None], TypeError, r"images\[0\]=None"),
        (torch.rand(2, 1, 64, 64), ValueError, r"images\[0\]"),
    ],
)
def test_detectors_refuse_wrong_images(task, images, error, words):
    with pytest.raises(error, match=words):
        model_of(task).eval()(images)


def changed(**changes):
    found = target((4, 6, 40, 50)) | changes
    return [{name: value for name, value in found.items() if value is not None}]


BOX = torch.tensor([[4.0, 6.0, 40.0, 50.0]])


@pytest.mark.parametrize("task", DETECTORS)
@pytest.mark.parametrize(
    ("targets", "error", "words"),
    [
        (None, TypeError, "targets=None must be a list"),
        ([], ValueError, "0 targets were given for 1 images"),
        (changed() * 2, ValueError, "2 targets were given for 1 images"),
        ([None], TypeError, r"targets\[0\]=None"),
        (changed(boxes=None), ValueError, "lacks boxes"),
        (changed(labels=None), ValueError, "lacks labels"),
        (changed(boxes=BOX[0]), ValueError, r"boxes must be floats \(N, 4\)"),
        (changed(boxes=BOX.long()), ValueError, "boxes must be floats"),
        (changed(boxes=BOX * torch.nan), ValueError, "must be finite"),
        (changed(labels=torch.tensor([1, 2])), ValueError, r"labels must be int64 \(1,\)"),
        (changed(labels=torch.tensor([1.0])), ValueError, "labels must be int64"),
        (changed(labels=torch.tensor([0])), ValueError, "from 1 to 3, since 0 is the background"),
        (changed(labels=torch.tensor([4])), ValueError, "from 1 to 3"),
        (changed(boxes=BOX[:, [2, 1, 0, 3]]), ValueError, r"boxes\[0\] = .* with x1 < x2 and y1 < y2"),
        (changed(boxes=BOX[:, [0, 1, 2, 1]]), ValueError, r"boxes\[0\] = .* with x1 < x2 and y1 < y2"),
        (changed(boxes=BOX + 64), ValueError, r"in an image of 64 x 64 pixels must show part of it"),
        (changed(boxes=BOX - 64), ValueError, r"in an image of 64 x 64 pixels must show part of it"),
    ],
)
def test_detectors_refuse_wrong_targets_in_training(task, targets, error, words):
    with pytest.raises(error, match=words):
        model_of(task).train()([IMAGE], targets)


def test_mask_r_cnn_needs_masks_of_the_size_of_the_image():
    for masks, words in (
        (None, "lacks masks"),
        (torch.zeros(1, 64, 60), r"\(1, 64, 64\), got \(1, 64, 60\)"),
        (torch.full((1, 64, 64), 255, dtype=torch.uint8), "got torch.uint8 up to 255"),  # a mask from a picture
        (torch.full((1, 64, 64), 0.7), "got torch.float32"),
    ):
        with pytest.raises(ValueError, match=words):
            model_of("instances").train()([IMAGE], changed(masks=masks))


@pytest.mark.parametrize("arguments", [(0, 8, 3), (2, 0, 3), (2, 8, 0), (2, 8, 3, 0), (2, 8, 3, 8, 1.0), (2, 8, "x")])
def test_a_head_without_maps_channels_or_classes_is_refused(arguments):
    with pytest.raises(ValueError, match="must be"):
        SemanticFPNHead(*arguments)


def test_windows_for_dense_tasks_follow_table_1_for_any_number_of_stages():
    assert get_config("large").with_dense_windows().grid_sizes == (8, 8, 8)
    assert get_config("large").with_dense_windows().pool_sizes == (16, 8, 4)
    assert get_config("micro").with_dense_windows().pool_sizes == (8, 4)
