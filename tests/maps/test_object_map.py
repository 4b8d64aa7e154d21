"""Maps of objects: what attention brings to the class of an object's pixels, against the reference."""

import copy
from itertools import product

import numpy as np
import pytest
import torch

import reference
import reference.attention_maps as by_hand
from hatnet.maps.class_map import by_window, recorded_for_gradients
from hatnet.maps.object_map import object_maps
from tests.comparing import assert_same
from tests.dense import plain
from tests.dense.networks import filled, parameters, thin
from tests.dense.test_equal_reference import normalised, pixels, reference_features
from tests.maps.nudged import assert_slopes

SIZE = (45, 70)  # maps of 12 x 18 to 2 x 3 tokens: windows of 8 and cells of 16, 8 and 4, cut by the border
LABELS = [2, 0]


@pytest.fixture(scope="module")
def model():
    return filled(thin("segmentation", width=8))


@pytest.fixture(scope="module")
def image():
    return pixels(1, 3, *SIZE)


@pytest.fixture(scope="module")
def masks():
    found = np.zeros((2, *SIZE), bool)
    found[0, 3:17, 40:70] = True
    found[1, 20:45, 5:21] = True
    return found


def logits_of(features, model):
    """The logits (H, W, classes) of a segmenter in plain NumPy, from the outputs of the stages."""
    levels = plain.pyramid(features, parameters(model.backbone.fpn))
    return plain.bilinear(plain.semantic_fpn(levels, parameters(model.head)), SIZE)


def score_of(features, model, mask, label):
    return logits_of(features, model)[mask][:, label].mean()


def gradients(model, image, mask, label):
    with recorded_for_gradients(model, torch.from_numpy(image)[None]) as (logits, weights):
        found = torch.autograd.grad(logits[0, label][torch.from_numpy(mask)].mean(), list(weights.values()))
    return by_window(weights, found, model.config.layout(*SIZE), 1)


def shares_by_differences(features, model, mask, label, step=1e-5):
    """How much the score changes when one token of one map grows, its share of all that grow it, for every token."""
    read = []
    for s, F in enumerate(features):
        slopes = np.zeros(F.shape[:2])
        for place in np.ndindex(slopes.shape):
            for by in (step, -step):
                changed = [each.copy() for each in features]
                changed[s][place] *= 1 + by
                slopes[place] += score_of(changed, model, mask, label) / (2 * by)
        read.append(slopes.clip(min=0).ravel())
    total = sum(each.sum() for each in read)
    return {s: each / total for s, each in enumerate(read)}


def test_gradients_through_pyramid_and_head_equal_central_differences(model, image, masks):
    """Of an object's score, with respect to all weights of all stages: the head of plain NumPy on the reference."""
    layouts, config = model.config.layout(*SIZE), model.config
    assert_slopes(
        gradients(model, image, masks[0], LABELS[0]),
        lambda: score_of(reference_features(normalised(image), model.backbone.body), model, masks[0], LABELS[0]),
        size=lambda stage: layouts[stage].map,
        window=lambda stage: config.stages[stage].grid_size,
    )


def test_maps_equal_the_products_of_the_reference(model, image, masks):
    """Eq. 1-14, from the shares that the head reads, measured by differences, to all tokens of the stem."""
    trace = {}
    params = parameters(model.backbone.body) | {"classifier.weight": np.zeros((1, 12)), "classifier.bias": np.zeros(1)}
    reference.hat_net(normalised(image), params, model.config, trace)
    features = [trace[f"stages.{stage}.output"] for stage in range(4)]
    found = object_maps(model, torch.from_numpy(image), torch.from_numpy(masks), LABELS)
    at_pixels = object_maps(model, torch.from_numpy(image), torch.from_numpy(masks), LABELS, pixels=True)
    assert found.min() >= 0
    reads = shares_by_differences(features, model, masks[0], LABELS[0])
    own = {name: slope[0].numpy() for name, (_, slope) in gradients(model, image, masks[0], LABELS[0]).items()}
    want = by_hand.class_map(trace, own, model.config, reads).reshape(found[0].shape)
    assert np.abs(found[0] - want).max() < 1e-7 * want.max()  # the error of the differences
    over_pixels = found[0].ravel() @ by_hand.stem_matrix(SIZE, model.config.stem_strides)
    assert_same(torch.from_numpy(at_pixels[0]), over_pixels.reshape(SIZE), LABELS[0])


def test_each_object_has_its_own_map_and_the_model_stays_as_it_was(model, image, masks):
    masks, image = torch.from_numpy(masks), torch.from_numpy(image)
    before = model(image[None])
    both = object_maps(model, image, masks, LABELS)
    assert np.abs(both[0] - both[1]).max() > 0.1 * both.max()
    for index in range(2):
        alone = object_maps(model.train(), image, masks[index : index + 1], LABELS[index : index + 1])
        assert model.training
        assert np.array_equal(alone[0], both[index])
    for kinds in product([False, True], repeat=2):
        given = []
        for tensor, inference in zip((image, masks), kinds, strict=True):
            with torch.inference_mode(inference):
                given.append(tensor.clone())
        with torch.inference_mode():
            assert np.array_equal(object_maps(model, *given, LABELS), both)
    assert not model.backbone.fpn._forward_pre_hooks
    assert torch.equal(model.eval()(image[None]), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maps_have_the_precision_of_the_model(model, image, masks, dtype):
    exact = object_maps(model, torch.from_numpy(image), torch.from_numpy(masks), LABELS)
    rounded = copy.deepcopy(model).to(dtype)
    found = object_maps(rounded, torch.from_numpy(image).to(dtype), torch.from_numpy(masks), LABELS)
    assert found.dtype == np.float32
    assert np.abs(found - exact).max() < 100 * torch.finfo(dtype).eps * exact.max()


def test_an_error_inside_leaves_no_hook(model, image, masks):
    with pytest.raises(ValueError, match="image must have shape"):
        object_maps(model, torch.from_numpy(image)[:1], torch.from_numpy(masks), LABELS)
    assert not model.backbone.fpn._forward_pre_hooks


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": torch.nn.Identity()}, r"model=Identity.* SemanticFPN"),
        ({"image": torch.zeros(1, 3, *SIZE)}, r"without an axis for a batch"),
        ({"image": torch.zeros(3, *SIZE, dtype=torch.uint8)}, r"floats in \[0, 1\], got uint8"),
        ({"masks": torch.ones(2, *SIZE)}, r"booleans .* of float32"),
        ({"masks": torch.ones(2, 45, 71, dtype=torch.bool)}, r"as large as the image"),
        ({"masks": torch.zeros(2, *SIZE, dtype=torch.bool)}, r"masks\[0\] has no pixels; leave"),
        ({"labels": [1]}, r"1 labels are given for 2 masks"),
        ({"labels": [1, 3]}, r"labels\[1\]=3 .* from 0 to 2"),
        ({"labels": [1, 1.0]}, r"labels\[1\]=1.0 must be a whole number"),
        ({"labels": 1}, r"a list with the class of each object"),
        ({"limit": 10_000}, r"but the limit is"),
        ({"pixels": "no"}, r"pixels=.no. must be True or False"),
    ],
)
def test_wrong_objects_are_refused(model, image, masks, changes, words):
    given = {"model": model, "image": torch.from_numpy(image), "masks": torch.from_numpy(masks), "labels": LABELS}
    with pytest.raises((TypeError, ValueError), match=words):
        object_maps(**{**given, **changes})
