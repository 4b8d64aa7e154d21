"""The measures have their known values on a toy network, where each patch adds a known amount to the output."""

from math import ceil, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from hatnet.studies.faithfulness import METHODS, MapInputs, area, curve, descending_order, occlusion
from hatnet.studies.faithfulness.curves import patch_counts
from hatnet.studies.faithfulness.occlusion import rank_correlation
from hatnet.studies.faithfulness.patches import baseline_images, blur, patch_means, replace_patches

# Images of 6 x 6 pixels in patches of 2 x 2. The output is the sum of the contributions of the visible patches.
PATCH, SIDE, PATCHES = 2, 6, 9
contributions = st.lists(st.integers(-9, 9), min_size=PATCHES, max_size=PATCHES)
orders = st.permutations(range(PATCHES))
few = settings(max_examples=30)  # the curves are linear in the contributions, so few examples do


def toy(contribution):
    """(output, baseline, image): the image is 1 everywhere, the baseline 0."""
    values = torch.tensor(contribution, dtype=torch.float64)
    baseline = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64)
    return (lambda images: patch_means(images[:, 0], PATCH) @ values), baseline, torch.ones_like(baseline)


def toy_curve(contribution, order, way="insertion"):
    output, baseline, image = toy(contribution)
    begin, end = (baseline, image) if way == "insertion" else (image, baseline)
    return curve(output, begin, end, torch.tensor([list(order)]), PATCH, PATCHES)


def toy_area(contribution, order, way="insertion"):
    return float(area(toy_curve(contribution, order, way), PATCHES))


@few
@given(contributions, orders)
def test_order_by_contribution_is_optimal_for_additive_models(contribution, order):
    """No other order has a larger insertion area or a smaller deletion area."""
    (best,) = descending_order(torch.tensor([contribution], dtype=torch.float64), torch.Generator()).tolist()
    assert toy_area(contribution, order) <= toy_area(contribution, best) + 1e-9
    assert toy_area(contribution, order, "deletion") >= toy_area(contribution, best, "deletion") - 1e-9


@few
@given(contributions, orders)
def test_order_and_its_reverse_average_to_chance(contribution, order):
    """Chance is the mean of both ends. It is also the mean over all orders, because orders come in such pairs."""
    pair = toy_area(contribution, order) + toy_area(contribution, order[::-1])
    assert pair / 2 == pytest.approx(sum(contribution) / 2, abs=1e-9)


def test_random_maps_score_at_chance_on_the_toy():
    """Chance is half of the whole image's output; the mean lies within four standard errors of it."""
    generator, contribution = torch.Generator().manual_seed(0), [9, -3, 0, 2, 7, -9, 1, 4, 5]
    maps = (torch.rand(1, PATCHES, generator=generator) for _ in range(400))
    areas = [toy_area(contribution, descending_order(scores, generator)[0]) for scores in maps]
    assert abs(np.mean(areas) - sum(contribution) / 2) < 4 * np.std(areas) / sqrt(len(areas))


@few
@given(contributions, orders)
def test_deletion_is_the_reversed_insertion_of_the_reversed_order(contribution, order):
    """Both show the same images."""
    inserted = toy_curve(contribution, order[::-1])
    assert torch.allclose(toy_curve(contribution, order, "deletion"), inserted.flip(1), atol=1e-12)


@few
@given(contributions)
def test_occlusion_and_gradient_times_input_give_the_contributions_in_a_linear_network(contribution):
    """So both have the optimal curves there, and a correlation of 1 with each other."""
    output, baseline, image = toy(contribution)
    assert occlusion(output, image, baseline, PATCH)[0].tolist() == pytest.approx(contribution, abs=1e-9)
    inputs = MapInputs(lambda images: output(images)[:, None], image, torch.tensor([0]), baseline, torch.Generator())
    found = patch_means(METHODS["gradient-input"].draw(inputs), PATCH)[0] * PATCH**2
    assert found.tolist() == pytest.approx(contribution, abs=1e-9)
    assert rank_correlation(contribution, contribution) == pytest.approx(float(len(set(contribution)) > 1))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.integers(8, 50))
def test_area_is_the_sum_of_trapezoids_and_lies_within_the_curve(points, patches):
    at = [count / patches for count in patch_counts(patches, len(points) - 1)]
    found = float(area(torch.tensor([points], dtype=torch.float64), patches))
    assert found == pytest.approx(np.trapezoid(points, at), abs=1e-12)
    assert min(points) - 1e-9 <= found <= max(points) + 1e-9


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**31))
def test_replace_patches_changes_only_the_selected_patches(height, width, patch, seed):
    """Partial patches at the border included; patch_means reads them back."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = -(-height // patch), -(-width // patch)
    selected = torch.rand(2, rows * columns, generator=generator) < 0.5
    found = replace_patches(torch.zeros(2, 3, height, width), torch.ones(2, 3, height, width), selected, patch)
    cells = selected.view(2, 1, rows, columns).float().expand(-1, 3, -1, -1)
    assert torch.equal(found, torch.kron(cells, torch.ones(patch, patch))[..., :height, :width])
    assert torch.allclose(patch_means(found[:, 0], patch), selected.float())


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=12), st.integers(0, 2**31))
def test_descending_order_holds_every_patch_once(scores, seed):
    (order,) = descending_order(torch.tensor([scores]), torch.Generator().manual_seed(seed)).tolist()
    assert sorted(order) == list(range(len(scores)))
    assert [scores[at] for at in order] == sorted(scores, reverse=True)


def test_ties_are_broken_at_random():
    """A flat map must not profit from the order in which patches are numbered."""
    firsts = descending_order(torch.zeros(500, PATCHES), torch.Generator().manual_seed(0))[:, 0]
    assert firsts.bincount(minlength=PATCHES).min() > 500 / PATCHES / 2


@pytest.mark.parametrize(
    ("one", "other", "want"),
    [
        ([1, 2, 3, 4, 5], [5, 6, 7, 8, 7], 0.8207826816681233),  # the example in SciPy's documentation
        ([1, 2, 3], [3, 2, 1], -1),
        ([1, 2, 3, 4], [1, 3, 2, 4], 0.8),  # 1 - 6 * (1 + 1) / (4 * 15)
        ([1, 1, 2, 2], [1, 2, 1, 2], 0),
        ([0, 0, 0], [1, 2, 3], 0),  # a flat map has no order
        ([1, 2, 3], [0, 0, 0], 0),
    ],
)
def test_rank_correlation_has_known_values(one, other, want):
    assert rank_correlation(one, other) == pytest.approx(want, abs=1e-12)


@given(st.lists(st.integers(-20, 20), min_size=4, max_size=20), st.integers(0, 2**31))
def test_rank_correlation_depends_on_the_order_alone(values, seed):
    """Equal values stay equal, and a monotonic function keeps the order."""
    other = np.random.default_rng(seed).permutation(values)
    found = rank_correlation(values, other)
    assert -1 <= found <= 1
    assert found == rank_correlation([value**3 for value in values], other)
    assert found == pytest.approx(rank_correlation(other, values), abs=1e-12)


@settings(max_examples=30)
@given(st.floats(0.3, 4), st.floats(-2, 2))
def test_blur_keeps_a_uniform_colour_and_lowers_contrast(width, colour):
    flat = torch.full((1, 2, 9, 11), colour)
    assert torch.allclose(blur(flat, width), flat, atol=1e-5)
    noise = torch.randn(1, 1, 15, 15, generator=torch.Generator().manual_seed(0))
    assert blur(noise, width).std() < noise.std()


def test_baselines_black_and_mean_have_these_colours():
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)))
    for name, colour in (("black", 0 * mean), ("mean", mean)):
        found = baseline_images(name, torch.randn(2, 3, 4, 5), mean.flatten().tolist(), std.flatten().tolist(), 1.0)
        assert torch.allclose(found * std + mean, colour.expand(2, 3, 4, 5), atol=1e-6)


@pytest.mark.parametrize("width", [0.7, 2.0, 4.0])
def test_blur_is_the_gaussian_of_scipy(width):
    images = torch.randn(2, 3, 15, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    want = gaussian_filter(images.numpy(), width, axes=(2, 3), mode="nearest", radius=ceil(3 * width))
    assert np.allclose(blur(images, width), want, atol=1e-12)


def test_an_unknown_baseline_is_an_error():
    with pytest.raises(ValueError, match="unknown baseline 'blurr', did you mean 'blur'"):
        baseline_images("blurr", torch.zeros(1, 3, 4, 5), [0.5] * 3, [0.5] * 3, 1.0)
