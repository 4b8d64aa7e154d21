"""Faithfulness: the measures are right where the truth is known, and the study is what its record says."""

import sys
from dataclasses import replace
from math import sqrt
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

import hatnet
from hatnet.cli.faithfulness import faithfulness
from hatnet.data import DataError, open_data
from hatnet.data.transforms import for_testing
from hatnet.studies.faithfulness import (
    METHODS,
    Asked,
    Settings,
    area,
    curve,
    descending,
    occlusion,
    read,
    study,
    tables,
    write,
)
from hatnet.studies.faithfulness.baselines import baseline, blur
from hatnet.studies.faithfulness.correlation import ranks, spearman
from hatnet.studies.faithfulness.curves import counts
from hatnet.studies.faithfulness.grad_cam import Watched, grad_cam
from hatnet.studies.faithfulness.methods import to_pixels
from hatnet.studies.faithfulness.patches import over_patches, swap
from hatnet.studies.faithfulness.record import MEASURES
from hatnet.studies.faithfulness.statistics import BETTER, gain, interval, mean_score, told_apart
from hatnet.studies.faithfulness.study import BATCH, at_once, check, chosen, patches, pieces, untrained
from hatnet.training.checkpoint_evaluation import normalised_as
from hatnet.training.initial_weights import before_training
from hatnet.training.recipes import RECIPES, to_json
from hatnet.weights.source import Source, find_source
from tests.pictures import assert_same_picture
from tests.training.image_files import write_folder

PAGE = Path(__file__).parents[2] / "docs" / "faithfulness.md"
KEPT = Path(__file__).parents[2] / "docs" / "measurements" / "faithfulness.json"

# A toy whose truth is known: patches of 2 x 2 pixels on 6 x 6; the answer adds up what each shown patch is worth.
PATCH, SIDE, PATCHES = 2, 6, 9
worths = st.lists(st.integers(-9, 9), min_size=PATCHES, max_size=PATCHES)
orders = st.permutations(range(PATCHES))


def toy(worth):
    """(answer, baseline, image): the image is one everywhere, the baseline zero."""
    values = torch.tensor(worth, dtype=torch.float64)
    ends = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64), torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64)
    return (lambda images: over_patches(images[:, 0], PATCH) @ values), *ends


def inserted(worth, order):
    answer, empty, whole = toy(worth)
    return float(area(curve(answer, empty, whole, torch.tensor([list(order)]), PATCH, PATCHES), PATCHES))


def deleted(worth, order):
    answer, empty, whole = toy(worth)
    return float(area(curve(answer, whole, empty, torch.tensor([list(order)]), PATCH, PATCHES), PATCHES))


@given(worths, orders)
def test_no_order_has_a_larger_insertion_or_a_smaller_deletion_than_that_by_contribution(worth, order):
    """Where patches add up, the order by what each adds is optimal for both curves."""
    (perfect,) = descending(torch.tensor([worth], dtype=torch.float64), torch.Generator()).tolist()
    assert inserted(worth, order) <= inserted(worth, perfect) + 1e-9
    assert deleted(worth, order) >= deleted(worth, perfect) - 1e-9


@given(worths, orders)
def test_an_order_and_its_reverse_average_to_chance(worth, order):
    """Chance is the mean of both ends: so is the mean over all orders, since they come in such pairs."""
    pair = inserted(worth, order) + inserted(worth, order[::-1])
    assert pair / 2 == pytest.approx(sum(worth) / 2, abs=1e-9)


def test_random_maps_score_at_chance_on_the_toy():
    """Within four standard errors of half of what the whole image is worth."""
    generator, worth = torch.Generator().manual_seed(0), [9, -3, 0, 2, 7, -9, 1, 4, 5]
    found = [inserted(worth, descending(torch.rand(1, PATCHES, generator=generator), generator)[0]) for _ in range(400)]
    assert abs(np.mean(found) - sum(worth) / 2) < 4 * np.std(found) / sqrt(len(found))


@given(worths, orders)
def test_deletion_is_insertion_of_the_reverse_order_read_backwards(worth, order):
    """Taking patches out from the first on shows the images that appear when they come in from the last on."""
    answer, empty, whole = toy(worth)
    away = curve(answer, whole, empty, torch.tensor([list(order)]), PATCH, PATCHES)
    back = curve(answer, empty, whole, torch.tensor([list(order[::-1])]), PATCH, PATCHES)
    assert torch.allclose(away, back.flip(1), atol=1e-12)


@given(worths)
def test_occlusion_of_the_toy_is_what_each_patch_is_worth(worth):
    answer, empty, whole = toy(worth)
    assert occlusion(answer, whole, empty, PATCH)[0].tolist() == pytest.approx(worth, abs=1e-9)


@given(worths)
def test_gradient_times_input_finds_the_worth_of_every_patch_of_a_linear_network(worth):
    """So it has the optimal curves there, and a correlation of 1 with occlusion."""
    answer, empty, whole = toy(worth)
    network = lambda images: answer(images)[:, None]  # noqa: E731
    asked = Asked(network, whole, torch.tensor([0]), empty, torch.Generator())
    found = over_patches(METHODS["gradient-input"].draw(asked), PATCH)[0] * PATCH**2
    assert found.tolist() == pytest.approx(worth, abs=1e-9)
    assert spearman(worth, worth) == (1 if len(set(worth)) > 1 else 0)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=9), st.integers(8, 50))
def test_the_area_is_the_sum_of_trapezoids_and_within_the_curve(points, patches):
    at = [count / patches for count in counts(patches, len(points) - 1)]
    steps = zip(at, at[1:], points, points[1:], strict=False)
    want = sum((right - left) * (a + b) / 2 for left, right, a, b in steps)
    found = float(area(torch.tensor([points], dtype=torch.float64), patches))
    assert found == pytest.approx(want, abs=1e-12)
    assert min(points) - 1e-9 <= found <= max(points) + 1e-9


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(0, 2**31))
def test_swapping_takes_the_chosen_patches_and_nothing_else(height, width, patch, seed):
    """Partial patches at the border included; over_patches reads them back."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = -(-height // patch), -(-width // patch)
    wanted = torch.rand(2, rows * columns, generator=generator) < 0.5
    begin, end = torch.zeros(2, 3, height, width), torch.ones(2, 3, height, width)
    found = swap(begin, end, wanted, patch)
    for row in range(height):
        for column in range(width):
            number = row // patch * columns + column // patch
            assert torch.equal(found[:, :, row, column], wanted[:, number, None].float().expand(-1, 3))
    assert torch.allclose(over_patches(found[:, 0], patch), wanted.float())


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=2, max_size=12), st.integers(0, 2**31))
def test_an_order_descends_and_holds_every_patch_once(scores, seed):
    (order,) = descending(torch.tensor([scores]), torch.Generator().manual_seed(seed)).tolist()
    assert sorted(order) == list(range(len(scores)))
    assert [scores[at] for at in order] == sorted(scores, reverse=True)


def test_which_of_equal_patches_comes_first_is_drawn():
    """A flat map must not gain from the order in which patches are numbered."""
    firsts = descending(torch.zeros(500, PATCHES), torch.Generator().manual_seed(0))[:, 0]
    assert firsts.bincount(minlength=PATCHES).min() > 500 / PATCHES / 2


@pytest.mark.parametrize(
    ("one", "other", "want"),
    [
        ([1, 2, 3, 4, 5], [5, 6, 7, 8, 7], 0.8207826816681233),  # scipy.stats.spearmanr's own example
        ([1, 2, 3], [3, 2, 1], -1),
        ([1, 2, 3, 4], [1, 3, 2, 4], 0.8),  # 1 - 6 * (1 + 1) / (4 * 15)
        ([1, 1, 2, 2], [1, 2, 1, 2], 0),
        ([0, 0, 0], [1, 2, 3], 0),  # a flat map ranks nothing
    ],
)
def test_spearman_has_known_values(one, other, want):
    assert spearman(one, other) == pytest.approx(want, abs=1e-12)


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=20))
def test_ranks_share_and_survive_what_keeps_the_order(values):
    found = ranks(values)
    assert found.sum() == pytest.approx(len(values) * (len(values) + 1) / 2)
    assert np.array_equal(found, ranks([value**3 for value in values]))
    assert -1 <= spearman(values, values[::-1]) <= 1


@given(st.floats(0.3, 4), st.floats(-2, 2))
def test_a_blur_keeps_one_colour_and_lowers_contrast(width, colour):
    flat = torch.full((1, 2, 9, 11), colour)
    assert torch.allclose(blur(flat, width), flat, atol=1e-5)
    noise = torch.randn(1, 1, 15, 15, generator=torch.Generator().manual_seed(0))
    assert blur(noise, width).std() < noise.std()


def test_black_is_black_and_the_mean_is_the_mean():
    images = torch.randn(2, 3, 4, 5)
    mean, std = (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)
    pixels = [
        baseline(name, images, mean, std, 1.0) * torch.tensor(std)[:, None, None] + torch.tensor(mean)[:, None, None]
        for name in ("black", "mean")
    ]
    assert torch.allclose(pixels[0], torch.zeros(()), atol=1e-6)
    assert torch.allclose(pixels[1], torch.tensor(mean)[:, None, None].expand(2, 3, 4, 5), atol=1e-6)


# --- Maps of the network ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def asked():
    """Three images for a network with weights as training begins with."""
    (model, *_) = untrained(Source(hatnet.create_model("micro"), "random weights"), Settings(seed=3))
    images = torch.randn(3, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    return Asked(model, images, torch.tensor([1, 7, 4]), torch.zeros_like(images), torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stage", [1, 2])
def test_grad_cam_of_the_library_is_its_formula(asked, stage):
    """ReLU(sum_k mean_ij(dz_c / dA_kij) A_k), and the network with the stage watched is the network."""
    pytest.importorskip("captum")
    network = Watched(asked.model, stage)
    assert torch.allclose(network(asked.images), asked.model(asked.images), atol=1e-6)
    kept = []
    network.output.register_forward_hook(lambda module, inputs, output: kept.append(output))
    chosen = network(asked.images).gather(1, asked.labels[:, None])
    (slopes,) = torch.autograd.grad(chosen.sum(), kept)
    want = F.relu((slopes.mean(dim=(2, 3), keepdim=True) * kept[0]).sum(dim=1))
    assert torch.allclose(grad_cam(asked.model, asked.images, asked.labels, stage), want, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_every_map_covers_the_image_is_finite_and_the_image_s_own(asked, method):
    """A batch is as its images one by one: no map may depend on what else is in the batch."""
    if method.startswith("grad-cam"):
        pytest.importorskip("captum")
    found = METHODS[method].draw(asked)
    assert found.shape == (3, 28, 28)
    assert torch.isfinite(found).all()
    assert method in ("gradient-input", "brightness") or (found >= 0).all()
    if method != "random":
        alone = Asked(asked.model, asked.images[1:2], asked.labels[1:2], asked.covered[1:2], asked.generator)
        assert torch.allclose(METHODS[method].draw(alone)[0], found[1], atol=1e-5 * float(found.abs().max()))


def test_rollout_shares_out_one_whole(asked):
    assert METHODS["rollout"].draw(asked).sum(dim=(1, 2)).tolist() == pytest.approx([1, 1, 1], abs=1e-4)


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_way_to_pixels_prefers_none(asked, stage):
    """Else a map that says nothing would have an order, and be scored for it."""
    H, W = asked.model.config.layout(28, 28)[stage].map
    pixels = to_pixels(asked, torch.ones(3, H * W), stage)
    assert torch.allclose(pixels, pixels[0, 0, 0].expand(3, 28, 28), rtol=1e-5)


# --- The study and its record ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found():
    """The whole study, as small as it can be."""
    names = ("rollout", "gradient", "brightness", "random")
    small = Settings(images=10, methods=names, baselines=("mean",), patch=14, steps=2, untrained=2)
    calls = []
    record = study(small, find_source(pretrained="fashion-mnist"), open_data("fashion-subset"), calls.append)
    assert len(calls) == pieces(small)
    return record


def test_scores_are_in_their_ranges_and_there_is_one_an_image(found):
    assert len(found.scores) == 1 + 4 + 2 * 2
    assert [score.weights for score in found.untrained("mean", "rollout")] == ["untrained 1", "untrained 2"]
    for score in found.scores:
        for measure, low in (("insertion", 0), ("deletion", 0), ("occlusion", -1), ("size", -1)):
            values = getattr(score, measure)
            assert len(values) == 10
            assert all(low <= value <= 1 for value in values)
        assert score.insertion_curve[0] == score.deletion_curve[-1]
        assert score.insertion_curve[-1] == score.deletion_curve[0]
        assert score.insertion_curve[-1][0] == pytest.approx(found.probability, abs=1e-4)
    assert found.score("mean", "occlusion").occlusion == [1] * 10
    assert {one.method for one in found.likenesses} == {"rollout", "gradient"}
    assert found.likeness("brightness") is None


def test_a_study_in_the_middle_of_a_training_leaves_it_as_it_was(found):
    """And takes its gradients though its caller asked for none."""
    source, small = find_source(pretrained="fashion-mnist"), replace(found.settings, methods=("gradient",), untrained=1)
    source.model.train()
    with torch.inference_mode():
        again = study(small, source, open_data("fashion-subset"))
    assert source.model.training
    assert again.score("mean", "gradient") == found.score("mean", "gradient")


def test_the_first_untrained_network_is_the_one_that_training_began_with():
    source = find_source(pretrained="fashion-mnist")
    first, second = untrained(source, Settings(untrained=2))
    began = before_training(source.about, source.model.config)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), began.parameters(), strict=True))
    assert not torch.equal(first.classifier.weight, second.classifier.weight)


@pytest.mark.parametrize("initial", ["authors", "fan-in"])
def test_every_untrained_network_is_drawn_as_the_training_s_recipe_says(initial):
    """Else the table would mix two distributions of weights."""
    shipped = find_source(pretrained="fashion-mnist")
    begun = {**shipped.about["recipe"], "weights": None, "initial_weights": initial}
    source = knowing(shipped, started_from={"recipe": begun})  # itself trained on by another recipe
    first, second, third = (
        float(new.stages[0].blocks[0].attention.projection.weight.detach().std())
        for new in untrained(source, Settings())
    )
    assert second == pytest.approx(first, rel=0.1)
    assert third == pytest.approx(first, rel=0.1)
    assert (first < 0.03) == (initial == "authors")  # a standard deviation of 0.02, or far more for so few channels


def test_a_record_says_where_it_is_not_known_how_the_training_began(found):
    assert found.initial_weights == "fan-in"
    assert "How this training began is not known" not in tables.page(found)
    small = replace(found.settings, methods=("random",), untrained=1)
    source = knowing(find_source(pretrained="fashion-mnist"), started_from={"file": "elsewhere.pth"})
    record = study(small, source, open_data("fashion-subset"))
    assert record.initial_weights == "unknown"
    assert "How this training began is not known" in tables.page(record)


def test_pixels_are_normalised_as_the_weights_were_trained():
    """By what the checkpoint says, whatever data set the images are from."""
    data, shipped = open_data("fashion-subset"), find_source(pretrained="fashion-mnist")
    other = knowing(shipped, mean=[0.5], std=[0.25])
    images, others = (chosen(Settings(), one, normalised_as(data, one.about))[0] for one in (shipped, other))
    assert torch.allclose(images * 0.353 + 0.286, others * 0.25 + 0.5, atol=1e-6)
    small = Settings(images=10, methods=("brightness",), baselines=("mean",), patch=14, steps=1)
    assert study(small, other, data).probability != study(small, shipped, data).probability


# --- Photos ----------------------------------------------------------------------------------------------------------


def knowing(source, **changes):
    """A source whose weights say something else of their training."""
    return replace(source, about={**source.about, **changes})


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """(source, data): weights trained on photos that are resized to 64 pixels, and photos of two sizes."""
    folder = write_folder(tmp_path_factory.mktemp("photos"), images=4)
    for name, size in (("wide", (90, 70)), ("tall", (60, 110))):
        write_folder(folder.parent / name, images=1, size=size)
    for image, other in (("cat/0.png", "wide"), ("dog/1.png", "tall")):
        (folder.parent / other / "val" / image[:3] / "0.png").rename(folder / "val" / image)
    data = open_data(f"folder:{folder}")
    recipe = replace(RECIPES["imagenette"], variant="micro", image_size=64, data=data.name)
    torch.manual_seed(0)
    known = {"recipe": to_json(recipe), "classes": list(data.classes), "image_size": 64}
    return Source(hatnet.create_model("micro", num_classes=2).eval(), "weights of a test", known), data


def test_photos_of_many_sizes_are_prepared_as_hatnet_evaluate_does_it(photos):
    source, data = photos
    images, labels = chosen(Settings(images=8), source, data)
    prepare = for_testing(replace(RECIPES["imagenette"], image_size=64), data)
    assert images.shape == (8, 3, 64, 64)
    assert torch.equal(images, torch.stack([prepare(data.test.image(index)) for index in range(8)]))
    assert labels.tolist() == [0] * 4 + [1] * 4


def test_where_memory_is_short_fewer_images_are_taken_at_once_and_the_study_is_the_same(photos):
    source, data = photos
    small = Settings(images=8, methods=("class-map", "gradient"), baselines=("mean",), patch=16, steps=2, untrained=1)
    one = next(limit for limit in (2**power for power in range(40)) if fits(small, source, limit))
    assert at_once(small, source, one) == 1
    assert at_once(small, source, 8 * one) in (6, 12)  # BATCH is halved to 25, 12, 6
    assert at_once(small, source, 2**31) == BATCH
    alone, together = (study(small, source, data, limit=limit) for limit in (one, 2**31))
    for a, b in zip(alone.scores, together.scores, strict=True):
        assert a.insertion == pytest.approx(b.insertion, abs=1e-3)
    assert alone.patches == patches(small, source) == 16
    assert alone.initial_weights == "authors"


def fits(settings, source, limit):
    try:
        return at_once(settings, source, limit) > 0
    except ValueError:
        return False


def test_tiny_on_photos_needs_no_more_than_the_usual_memory():
    """50 images at once would take more; so would the class map of fewer."""
    source = Source(hatnet.create_model("tiny"), "random weights")
    assert 1 <= at_once(Settings(), source, 2**31) < BATCH
    assert at_once(Settings(methods=("rollout",)), source, 2**31) > at_once(Settings(), source, 2**31)


def test_what_does_not_fit_memory_is_refused_before_any_image_is_read(photos, monkeypatch):
    source, data = photos
    monkeypatch.setattr(type(data.test), "image", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(ValueError, match=r"of 1 image of 64 x 64 pixels take .* GiB"):
        study(Settings(images=8), source, data, limit=1000)


def test_the_mean_of_several_scores_is_that_of_each_image(found):
    one = replace(found.scores[0], insertion=[0.1, 0.5])
    assert mean_score([one, replace(one, insertion=[0.3, 0.5])]).insertion == pytest.approx([0.2, 0.5])


def test_the_same_seed_finds_the_same(found):
    again = study(found.settings, find_source(pretrained="fashion-mnist"), open_data("fashion-subset"))
    assert again.scores == found.scores


def test_a_record_is_read_as_it_was_written(found, tmp_path):
    write(found, tmp_path / "record.json")
    assert read(tmp_path / "record.json") == found


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"kind": "hatnet faithfulness", "version": 1}'])
def test_something_else_is_not_taken_for_a_record(tmp_path, content):
    (tmp_path / "record.json").write_text(content)
    with pytest.raises(ValueError, match="record of hatnet faithfulness"):
        read(tmp_path / "record.json")


def test_an_interval_and_a_gain_by_hand(found):
    """Deletion is better where it is lower; 3 values have t = 4.30 with 2 degrees of freedom."""
    assert interval([1.0, 2.0, 3.0]).margin == pytest.approx(4.30 / sqrt(3))
    one = replace(found.scores[0], deletion=[0.1, 0.2, 0.3], insertion=[0.5, 0.5, 0.5])
    other = replace(one, deletion=[0.4, 0.5, 0.6])
    assert gain(one, other, "deletion").mean == pytest.approx(0.3)
    assert told_apart(one, one) == dict.fromkeys(MEASURES, 0)
    assert set(BETTER) == set(MEASURES)


def test_figures_and_tables_are_made_of_the_record_alone(found, tmp_path):
    pytest.importorskip("matplotlib")
    from hatnet.studies.faithfulness.draw import draw_curves, draw_scores, save

    for draw in (draw_curves, draw_scores):
        for name in ("a.svg", "b.svg"):
            save(draw(found), tmp_path / name)
        assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    assert "rollout" in tables.page(found)


def test_bands_are_95_percent_intervals_as_in_the_tables(found):
    """Of 10 images: Student's t with 9 degrees of freedom is 2.26."""
    pytest.importorskip("matplotlib")
    from hatnet.studies.faithfulness.draw import draw_curves

    (band,) = draw_curves(found).axes[0].collections  # of random maps
    points = band.get_paths()[0].vertices
    for x, (_, error) in zip((0, 50, 100), found.score("mean", "random").insertion_curve, strict=True):
        heights = points[points[:, 0] == x][:, 1]
        assert np.ptp(heights) == pytest.approx(2 * 2.26 * error)


@pytest.mark.skipif(not KEPT.is_file(), reason="no study is kept")
def test_the_kept_tables_and_figures_are_those_of_the_kept_record(tmp_path):
    """And the page includes them, so its numbers can't part from the record."""
    from hatnet.studies.faithfulness.draw import draw_curves, draw_scores, save

    record = read(KEPT)
    assert KEPT.with_suffix(".txt").read_text(encoding="utf-8") == tables.page(record)
    for name, draw in (("scores", draw_scores), ("curves", draw_curves)):
        save(draw(record), tmp_path / f"{name}.svg")
        assert_same_picture(tmp_path / f"{name}.svg", KEPT.parent / f"faithfulness-{name}.svg")
    page = PAGE.read_text(encoding="utf-8")
    for name in ("faithfulness.txt", "faithfulness-scores.svg", "faithfulness-curves.svg"):
        assert f"measurements/{name}" in page


@pytest.mark.skipif(not KEPT.is_file(), reason="no study is kept")
def test_what_the_page_concludes_holds_in_the_kept_record():
    """Of `Which map deserves trust`: where this fails, other weights have made other sentences true."""
    record, curves = read(KEPT), ("insertion", "deletion")
    first, second = record.settings.baselines
    for over in (first, second):
        of = {name: record.score(over, name) for name in (*METHODS, "occlusion")}
        signs = {name: against_random(record, over, name) for name in MAPS}
        for name, other in of.items():
            if name not in ("class-map", "last-attention"):
                assert [told_apart(of["class-map"], other)[curve] for curve in curves] == [1, 1]
        assert abs(interval(of["class-map"].occlusion).mean) < 0.15
        assert signs["class-map"] == signs["last-attention"] == signs["grad-cam"] == (1, 1)
        assert told_apart(of["last-attention"], of["random"])["occlusion"] == -1
        assert told_apart(of["grad-cam"], of["brightness"])["insertion"] == {first: -1, second: 0}[over]
        assert signs["grad-cam-early"] == signs["gradient"] == (1, 0)
        falls = sorted(((interval(of[name].occlusion).mean, name) for name in MAPS), reverse=True)
        assert falls[0][1] == "gradient-input"
        assert falls[0][0] > 2 * falls[1][0]
        assert signs["gradient-input"] == (0, 1)
        assert told_apart(of["gradient"], of["random"])["size"] == 1
        told = [told_apart(of["gradient"], of[name])["size"] for name in MAPS if name != "gradient"]
        assert over == first or told == [1] * len(told)
    best, next_best = (record.score(second, name) for name in ("class-map", "last-attention"))
    assert [told_apart(best, next_best)[curve] for curve in curves] == [1, 0]
    best, next_best = (record.score(first, name) for name in ("class-map", "last-attention"))
    assert [told_apart(best, next_best)[curve] for curve in curves] == [1, 1]
    assert against_random(record, first, "rollout") == (0, 0)
    assert against_random(record, second, "rollout") == (1, -1)
    assert told_apart(record.score(first, "gradient"), record.score(first, "class-map"))["size"] == 0
    for new in record.untrained(first, "class-map"):
        assert all(gain(record.score(first, "class-map"), new, curve).sign == 1 for curve in curves)
    new = mean_score(record.untrained(first, "rollout"))
    assert all(gain(record.score(first, "rollout"), new, curve).sign == 0 for curve in curves)


def test_what_the_page_says_of_the_weights_before_holds_in_their_record():
    """Of `A verdict belongs to one network`."""
    record = read(KEPT.with_name("faithfulness-14x14.json"))
    first, second = record.settings.baselines
    assert record.weights["test_accuracy"] == 0.936
    assert against_random(record, first, "rollout") == (1, 1)
    for over in (first, second):
        assert against_random(record, over, "last-attention") == (1, 0)
        assert against_random(record, over, "grad-cam") == (0, 0)
        assert against_random(record, over, "class-map") == (1, 1)
        fall = {name: interval(record.score(over, name).occlusion).mean for name in MAPS}
        assert max(fall, key=fall.__getitem__) == "gradient-input"


def test_what_the_page_says_of_the_weights_of_the_third_training_holds_in_their_record():
    """Of the same warning: ten epochs change verdicts."""
    record = read(KEPT.with_name("faithfulness-third.json"))
    first, second = record.settings.baselines
    assert record.weights["test_accuracy"] == 0.9443
    assert against_random(record, first, "rollout") == (0, -1)
    assert against_random(record, second, "rollout") == (1, 0)
    assert against_random(record, second, "gradient-input") == (1, 0)
    for over in (first, second):
        assert against_random(record, over, "class-map") == (1, 1)
        fall = {name: interval(record.score(over, name).occlusion).mean for name in MAPS}
        assert max(fall, key=fall.__getitem__) == "gradient-input"


MAPS = [name for name, method in METHODS.items() if method.kind != "control"]


def against_random(record, over, name):
    """The signs of insertion and deletion: 1 is better than random maps, -1 worse, 0 not told apart."""
    signs = told_apart(record.score(over, name), record.score(over, "random"))
    return signs["insertion"], signs["deletion"]


# --- Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods", "rolout"], "unknown method 'rolout', did you mean 'rollout'?"),
        (["--methods", "rollout", "rollout"], "none twice"),
        (["--baselines", "blurr"], "unknown baseline 'blurr', did you mean 'blur'?"),
        (["--images", "1"], "images=1 must be a whole number from 2 to 100000"),
        (["--images", "15"], "images=15 must be a multiple of the 10 classes, at most 2500"),
        (["--patch", "0"], "patch=0 must be a whole number from 1"),
        (["--steps", "0"], "steps=0 must be a whole number from 1"),
        (["--checkpoint", "missing.safetensors"], "no checkpoint file at missing.safetensors"),
        (["--data", "fashion-subst"], "did you mean 'fashion-subset'?"),
        (
            ["--patch", "28"],
            "patch=28 leaves too few patches of images of 28 x 28 pixels to rank (1, at least 4 are needed)",
        ),
        (["--patch", "1024"], "give a smaller one, such as 4"),
        (["--memory", "0"], "memory=0.0 must be a number of GiB above 0"),
        (["--memory", "inf"], "memory=inf must be a number of GiB above 0"),
        (["--memory", "0.001"], "of 1 image of 28 x 28 pixels take"),
        (["--data", "cifar10"], "Add --download"),
        (["--out", "nowhere/study"], "no folder nowhere"),
        (["--out", "."], ". is a folder; give --out a name in it, such as faithfulness"),
        (["--out", "/"], "/ is a folder; give --out a name in it, such as /faithfulness"),
        (["--record", "missing.json"], "no record at missing.json"),
        (["--record", str(KEPT), "--out", "."], ". is a folder"),
        (["--record", str(KEPT), "--seed", "1", "--data-dir", "x"], "so --seed, --data-dir can't be given with it"),
        (["--record", str(KEPT), "--page", "--out", "x"], "leave out either --page or --out"),
        (["--page"], "give it with --record"),
    ],
)
def test_bad_input_is_refused_before_anything_is_done(arguments, words, tmp_path, monkeypatch, capsys):
    from hatnet.cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["hatnet", "faithfulness", *arguments])
    monkeypatch.setattr("hatnet.cli.faithfulness.study", lambda *_: pytest.fail("work began"))
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 2
    assert words in capsys.readouterr().err.replace("\n", " ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("folder", "taken is a folder; give --out a name in it, such as taken/faithfulness"),
        ("folder of a file", "taken.json is a folder; give --out another name"),
        ("matplotlib", "the figures need matplotlib"),
        ("rights", "nothing may be written to the folder"),
    ],
)
def test_what_could_not_be_written_is_refused_before_the_data_is_opened(wrong, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hatnet.cli.faithfulness.open_data", lambda *_: pytest.fail("the data was opened"))
    if wrong.startswith("folder"):
        Path("taken" if wrong == "folder" else "taken.json").mkdir()
    elif wrong == "matplotlib":
        monkeypatch.setattr("hatnet.cli.faithfulness.find_spec", lambda _: None)
    else:
        monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(ValueError, match=words):
        faithfulness(out=Path("taken"))


def test_a_kept_record_is_not_overwritten_by_its_own_tables(tmp_path):
    (tmp_path / "kept.txt").write_bytes(KEPT.read_bytes())
    with pytest.raises(ValueError, match=r"kept.txt would be overwritten"):
        faithfulness(record=tmp_path / "kept.txt", out=tmp_path / "kept")


def test_data_is_fetched_where_that_is_asked_for(tmp_path, monkeypatch):
    def opened(name, folder, download):
        raise DataError(f"{name} in {folder}: {download}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hatnet.cli.faithfulness.open_data", opened)
    with pytest.raises(DataError, match="cifar10 in kept: True"):
        faithfulness(data="cifar10", data_dir=Path("kept"), download=True)


def test_without_the_library_grad_cam_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr("hatnet.studies.faithfulness.grad_cam.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'hatnet\[faithfulness\]'; or leave grad-cam"):
        study(Settings(images=10), find_source(pretrained="fashion-mnist"), open_data("fashion-subset"))


def test_a_network_of_other_images_is_refused(photos):
    data, shipped = open_data("fashion-subset"), find_source(pretrained="fashion-mnist")
    coloured = Source(hatnet.create_model("micro", num_classes=10), "random weights")
    with pytest.raises(ValueError, match="takes images of 3 channels, those of fashion-subset have 1"):
        study(Settings(images=10), coloured, data)
    with pytest.raises(ValueError, match="knows 2 classes, fashion-subset has 10"):
        check(Settings(images=10), photos[0], data)
    with pytest.raises(ValueError, match=r"was trained on the classes ankle boot, bag, .*, fashion-subset has t-shirt"):
        check(Settings(images=10), knowing(shipped, classes=list(data.classes[::-1])), data)
    larger = knowing(shipped, recipe={**shipped.about["recipe"], "image_size": 32})
    with pytest.raises(ValueError, match="have 28 x 28 pixels, image_size=32: the test takes images as they are"):
        check(Settings(images=10), larger, data)


def test_a_class_with_too_few_images_is_named(photos):
    source, data = photos
    few = replace(data, test=data.test.without({data.test.paths[0], data.test.paths[1]}))
    with pytest.raises(DataError, match="has 2 test images of cat, but images=6 takes 3 of each class; give at most 4"):
        check(Settings(images=6), source, few)
