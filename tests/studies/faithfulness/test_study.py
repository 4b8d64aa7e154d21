"""The study: its scores, the untrained networks, the preparation of images, and the limit on memory."""

from dataclasses import replace

import pytest
import torch

import hatnet
from hatnet.data import DataError
from hatnet.data.transforms import for_testing
from hatnet.maps.memory import numbers_by_part
from hatnet.studies.faithfulness import Settings, preparation, study, tables
from hatnet.training.initial_weights import before_training
from hatnet.training.recipes import RECIPES
from hatnet.training.trained_weights import normalised_as
from hatnet.weights.source import Source
from tests.studies.faithfulness.conftest import with_facts


def test_scores_lie_in_their_ranges_and_each_image_has_one(record):
    assert len(record.scores) == 1 + 4 + 2 * 2
    assert [score.weights for score in record.untrained("mean", "rollout")] == ["untrained 1", "untrained 2"]
    for score in record.scores:
        for values, low in ((score.insertion, 0), (score.deletion, 0), (score.occlusion, -1), (score.size, -1)):
            assert len(values) == 10
            assert all(low <= value <= 1 for value in values)
        assert score.insertion_curve[0] == score.deletion_curve[-1]
        assert score.insertion_curve[-1] == score.deletion_curve[0]
        assert score.insertion_curve[-1][0] == pytest.approx(record.probability, abs=1e-4)
    assert record.score("mean", "occlusion").occlusion == [1] * 10
    assert {entry.method for entry in record.likenesses} == {"rollout", "gradient"}
    assert record.similarity("brightness") is None


def test_the_same_seed_gives_the_same_scores(record, shipped, fashion):
    assert study(record.settings, shipped, fashion).scores == record.scores


def test_study_leaves_the_mode_of_the_network_as_it_was(record, shipped, fashion):
    """It also computes gradients when its caller has switched them off."""
    settings = replace(record.settings, methods=("gradient",), untrained=1)
    shipped.model.train()
    with torch.inference_mode():
        again = study(settings, shipped, fashion)
    assert shipped.model.training
    assert again.score("mean", "gradient") == record.score("mean", "gradient")


def test_first_untrained_network_has_the_initial_weights_of_the_training(shipped):
    first, second = preparation.untrained_networks(shipped, Settings(untrained=2))
    initial = before_training(shipped.about, shipped.model.config)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), initial.parameters(), strict=True))
    assert not torch.equal(first.classifier.weight, second.classifier.weight)


@pytest.mark.parametrize("initial", ["authors", "fan-in"])
def test_untrained_networks_all_follow_the_original_recipe(initial, shipped):
    """Otherwise the table would mix two distributions of weights."""
    original = {**shipped.about["recipe"], "weights": None, "initial_weights": initial}
    source = with_facts(shipped, started_from={"recipe": original})  # fine-tuned with another recipe
    first, second, third = (
        float(network.stages[0].blocks[0].attention.projection.weight.detach().std())
        for network in preparation.untrained_networks(source, Settings())
    )
    assert second == pytest.approx(first, rel=0.1)
    assert third == pytest.approx(first, rel=0.1)
    assert (first < 0.03) == (initial == "authors")  # a standard deviation of 0.02, or far more for so few channels


def test_record_shows_that_the_initial_weights_are_unknown(record, shipped, fashion):
    words = "The initial weights of this training are not known"
    assert record.initial_weights == "fan-in"
    assert words not in tables.page(record)
    settings = replace(record.settings, methods=("random",), untrained=1)
    unknown = study(settings, with_facts(shipped, started_from={"file": "elsewhere.pth"}), fashion)
    assert unknown.initial_weights == "unknown"
    assert words in tables.page(unknown)


def test_pixels_are_normalised_as_in_training(shipped, fashion):
    """The checkpoint's mean and standard deviation count, whatever data set the images are from."""
    other = with_facts(shipped, mean=[0.5], std=[0.25])
    images, others = (
        preparation.prepare_images(Settings(), source, normalised_as(fashion, source.about))[0]
        for source in (shipped, other)
    )
    assert torch.allclose(images * 0.353 + 0.286, others * 0.25 + 0.5, atol=1e-6)
    settings = Settings(images=10, methods=("brightness",), baselines=("mean",), patch=14, steps=1)
    assert study(settings, other, fashion).probability != study(settings, shipped, fashion).probability


def test_photos_of_many_sizes_are_prepared_as_for_evaluation(photos):
    source, data = photos
    images, labels = preparation.prepare_images(Settings(images=8), source, data)
    prepare = for_testing(replace(RECIPES["imagenette"], image_size=64), data)
    assert images.shape == (8, 3, 64, 64)
    assert torch.equal(images, torch.stack([prepare(data.test.image(index)) for index in range(8)]))
    assert labels.tolist() == [0] * 4 + [1] * 4


def test_short_memory_gives_smaller_batches_and_the_same_scores(photos):
    source, data = photos
    settings = Settings(
        images=4, methods=("class-map", "gradient"), baselines=("mean",), patch=16, steps=2, untrained=1
    )
    one = 4 * numbers_by_part(source.model.config, 64, 64, 1, gradients=True).total()  # bytes of one image
    assert preparation.batch_size(settings, source, one) == 1
    assert preparation.batch_size(settings, source, 8 * one) == 6  # LARGEST_BATCH is halved to 25, 12, 6
    assert preparation.batch_size(settings, source, 2**31) == preparation.LARGEST_BATCH
    alone, together = (study(settings, source, data, memory_limit=limit) for limit in (one, 2**31))
    for a, b in zip(alone.scores, together.scores, strict=True):
        assert a.insertion == pytest.approx(b.insertion, abs=1e-3)
    assert alone.patches == preparation.patches_per_image(settings, source) == 16
    assert alone.initial_weights == "authors"


def test_tiny_on_photos_fits_the_default_memory_limit():
    """The largest batch does not fit, and class maps need smaller batches than rollout."""
    source = Source(hatnet.create_model("tiny"), "random weights")
    assert 1 <= preparation.batch_size(Settings(), source, 2**31) < preparation.LARGEST_BATCH
    assert preparation.batch_size(Settings(methods=("rollout",)), source, 2**31) > preparation.batch_size(
        Settings(), source, 2**31
    )


def test_too_little_memory_is_an_error_before_any_image_is_read(photos, monkeypatch):
    source, data = photos
    monkeypatch.setattr(type(data.test), "image", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(ValueError, match=r"of 1 image of 64 x 64 pixels take .* GiB"):
        study(Settings(images=8), source, data, memory_limit=1000)


def test_two_gib_are_allowed_unless_stated_otherwise(photos, monkeypatch):
    asked = []
    monkeypatch.setattr(preparation, "images_at_once", lambda *args: asked.append(args[5]) or 1)
    preparation.check_study(Settings(images=8), *photos)
    assert asked == [2 * 2**30]


def test_grad_cam_without_captum_is_an_error_with_a_remedy(monkeypatch, shipped, fashion):
    monkeypatch.setattr("hatnet.studies.faithfulness.methods.find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'hatnet\[studies\]'; or leave grad-cam"):
        study(Settings(images=10), shipped, fashion)


def test_network_for_other_images_is_an_error(photos, shipped, fashion):
    coloured = Source(hatnet.create_model("micro", num_classes=10), "random weights")
    with pytest.raises(ValueError, match="takes images .* 3 channels, those of fashion-subset have 1"):
        study(Settings(images=10), coloured, fashion)
    with pytest.raises(ValueError, match="2 classes, fashion-subset has 10"):
        preparation.check_study(Settings(images=10), photos[0], fashion)
    other = with_facts(shipped, classes=list(fashion.classes[::-1]))
    with pytest.raises(ValueError, match=r"was trained on .* ankle boot, bag, .*, fashion-subset has t-shirt"):
        preparation.check_study(Settings(images=10), other, fashion)
    larger = with_facts(shipped, recipe={**shipped.about["recipe"], "image_size": 32})
    with pytest.raises(ValueError, match="28 x 28 pixels, .*image_size=32"):
        preparation.check_study(Settings(images=10), larger, fashion)


def test_class_with_too_few_images_is_named(photos):
    source, data = photos
    few = replace(data, test=data.test.without({data.test.paths[0], data.test.paths[1]}))
    with pytest.raises(DataError, match="has 2 test images of cat, but images=6 needs 3 of each class; give at most 4"):
        preparation.check_study(Settings(images=6), source, few)
