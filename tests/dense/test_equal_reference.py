"""What a dense model computes equals the NumPy reference: features, pyramid, head."""

import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import reference
from hatnet.data.photo import MEAN, STD
from tests.comparing import assert_same
from tests.dense import plain
from tests.dense.networks import THIN, filled, parameters, thin

SIDE = st.integers(32, 90)  # a first map of 8 to 23 tokens: windows of 8 and cells of 16, whole and cut


def reference_features(image, body):
    """The maps (H, W, C) of the stages of a HAT-Net for a normalised image (C, H, W)."""
    params = parameters(body) | {"classifier.weight": np.zeros((1, 12)), "classifier.bias": np.zeros(1)}
    trace = {}
    reference.hat_net(image, params, body.config, trace)
    return [trace[f"stages.{stage}.output"] for stage in range(len(body.config.stages))]


def normalised(image):
    return (image - MEAN[:, None, None]) / STD[:, None, None]


def pixels(seed, *size):
    return np.random.default_rng(seed).uniform(0, 1, size)


def seen_maps(model):
    """The maps that the pyramid of a model receives, filled by its next call."""
    seen = {}
    model.backbone.fpn.register_forward_pre_hook(lambda _, given: seen.update(given[0]))
    return seen


@settings(max_examples=2)
@example(height=64, width=32)  # whole windows and cells
@example(height=33, width=100)  # both cut by the border
@given(height=SIDE, width=SIDE)
def test_the_segmenter_equals_the_reference_from_pixels_to_logits(height, width):
    """Eq. 6-14 with G1 = 8, 8, 8 and G2 = 16, 8, 4; then pyramid and head."""
    model = filled(thin("segmentation"))
    seen, images = seen_maps(model), pixels(height, 2, 3, height, width)
    logits = model(torch.from_numpy(images))
    assert logits.shape == (2, 3, height, width)
    for index, image in enumerate(images):
        maps = reference_features(normalised(image), model.backbone.body)
        for stage, want in enumerate(maps):
            assert_same(seen[str(stage)][index].permute(1, 2, 0), want, (height, width, stage))
        levels = plain.pyramid(maps, parameters(model.backbone.fpn))
        want = plain.bilinear(plain.semantic_fpn(levels, parameters(model.head)), (height, width))
        assert_same(logits[index].permute(1, 2, 0), want, (height, width))


@settings(max_examples=2)
@example(width=72, wider=130)
@given(width=st.integers(48, 96), wider=st.integers(48, 140))
def test_the_features_of_a_detector_equal_the_references_on_padded_images(width, wider):
    """torchvision puts images of several sizes at the top left of one batch, whose sides are multiples of 32."""
    model = filled(thin("detection", min_size=48, max_size=1000))  # the height of both, so that nothing is resized
    seen, images = seen_maps(model), [pixels(size, 3, 48, size) for size in (width, wider)]
    model([torch.from_numpy(image) for image in images])
    whole = -(-max(width, wider) // 32) * 32
    for index, image in enumerate(images):
        padded = np.zeros((3, 64, whole))
        padded[:, :48, : image.shape[2]] = normalised(image)
        features = reference_features(padded, model.backbone.body)[1:]  # RetinaNet leaves out the first
        for stage, (got, want) in enumerate(zip(seen.values(), features, strict=True), 1):
            assert_same(got[index].permute(1, 2, 0), want, (width, wider, stage))


def test_the_pyramids_of_the_detectors_equal_the_plain_one():
    """RetinaNet leaves out the finest map and makes two more; Mask R-CNN takes every second token of the coarsest."""
    image = torch.from_numpy(pixels(0, 1, 3, 70, 100))
    for task, first in (("detection", 1), ("instances", 0)):
        model = filled(thin(task))
        found = model.backbone(image)
        maps = reference_features(image[0].numpy(), model.backbone.body)[first:]
        params = parameters(model.backbone.fpn)
        want = dict(zip("0123", plain.pyramid(maps, params), strict=False))
        if task == "detection":
            p6, p7 = ({n: params[f"extra_blocks.{p}.{n}"] for n in ("weight", "bias")} for p in ("p6", "p7"))
            want["p6"] = reference.conv2d(maps[-1], **p6, stride=2)
            want["p7"] = reference.conv2d(np.maximum(want["p6"], 0), **p7, stride=2)
        else:
            want["pool"] = want["3"][::2, ::2]
        assert list(found) == list(want)
        for name, map in found.items():
            assert_same(map[0].permute(1, 2, 0), want[name], (task, name))


def test_the_plain_resizing_is_right_on_small_examples():
    """By hand: doubling two places, and the nearest of three for five."""
    two = np.array([0.0, 4.0])[:, None, None]
    assert plain.bilinear(two, (4, 1)).ravel().tolist() == [0, 1, 3, 4]
    three = np.array([1.0, 2.0, 3.0])[:, None, None]
    assert plain.nearest(three, (5, 1)).ravel().tolist() == [1, 1, 2, 2, 3]


def test_the_windows_are_those_of_the_paper_for_dense_tasks():
    assert (THIN.grid_sizes, THIN.pool_sizes) == ((8, 8, 8), (16, 8, 4))
