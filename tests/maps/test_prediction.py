"""Predictions equal evaluation and the reference; images are prepared like test images; memory is bounded."""

from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

import hatnet
from hatnet.data import open_data
from hatnet.data.image_file import CHELSEA
from hatnet.data.image_list import find_images
from hatnet.data.transforms import for_testing
from hatnet.equivalence import randomise, run_reference
from hatnet.maps import attention_maps, prediction
from hatnet.maps.prediction import percent, predict_files
from hatnet.training.batches import batches_for_testing
from hatnet.training.classification import evaluate
from hatnet.training.recipes import RECIPES, from_json
from hatnet.weights.source import find_source
from tests.images import write_image
from tests.training.runs import ALONE

SHIPPED = "fashion-mnist"


@pytest.fixture(scope="module")
def clothes(tmp_path_factory):
    """Some test images, and the same as PNG files."""
    data, folder = open_data("fashion-subset"), tmp_path_factory.mktemp("clothes")
    images = data.test.part(torch.arange(0, 2500, 90))
    for index, pixels in enumerate(images.pixels):
        Image.fromarray(pixels[0].numpy()).save(folder / f"{index:03}.png")
    return replace(data, test=images), folder


def saved(path, in_channels, num_classes=3, **about):
    model = hatnet.create_model("micro", in_channels=in_channels, num_classes=num_classes)
    randomise(model)
    hatnet.save(model, path, about)
    return path


def recipe(**changes):
    from dataclasses import asdict

    return asdict(replace(RECIPES["fashion"], **changes))


def test_predictions_equal_evaluation(clothes):
    data, folder = clothes
    source = find_source(SHIPPED)
    transform = for_testing(from_json(source.about["recipe"]), data)
    confusion = evaluate(source.model, batches_for_testing(data.test, transform, 0, 1, 16, 0), ALONE).confusion
    found = list(hatnet.predict(folder, SHIPPED, maps=0))
    again = torch.zeros_like(confusion)
    for label, each in zip(data.test.labels, found, strict=True):
        again[label, each.labels[0]] += 1
        assert each.classes == tuple(data.classes[number] for number in each.labels)
    assert torch.equal(again, confusion)
    assert len(data.test) * 0.8 < confusion.trace() < len(data.test)  # there are mistakes, too


def test_equal_logits_are_ordered_as_in_the_evaluation(clothes, tmp_path):
    """By the number of the class, although `torch.topk` promises no order."""
    source = find_source(SHIPPED)
    with torch.no_grad():
        source.model.classifier.weight.zero_()
        source.model.classifier.bias.copy_(torch.tensor([0.0, 3, 0, 3, 3, 0, 3, 3, 3, -2000]))
    [found] = predict_files(find_images([clothes[1]])[:1], source, prediction.Settings(top=10, maps=0))
    assert found.labels == (1, 3, 4, 6, 7, 8, 0, 2, 5, 9)


def test_many_equal_logits_are_ordered_too(tmp_path):
    """PyTorch sorts up to 16 numbers stably in any case."""
    weights = saved(tmp_path / "a.safetensors", 1, 40, recipe=recipe(image_size=28), mean=[0.5], std=[0.5])
    source = find_source(weights)
    with torch.no_grad():
        source.model.classifier.weight.zero_()
        source.model.classifier.bias.copy_(torch.arange(40) % 3)
    [found] = predict_files([write_image(tmp_path / "a.png")], source, prediction.Settings(top=40, maps=0))
    assert found.labels == tuple(sorted(range(40), key=lambda label: (-(label % 3), label)))


def test_probabilities_are_the_softmax_of_the_reference(clothes):
    """exp(y_k) / sum of exp(y_j) over all ten classes, with logits y by NumPy from the pixels of the file."""
    _, folder = clothes
    source = find_source(SHIPPED)
    with Image.open(folder / "003.png") as file:
        pixels = (np.asarray(file, dtype=np.float64)[None] / 255 - 0.2860) / 0.3530
    logits = run_reference(source.model.double(), pixels)["logits"]
    want = np.exp(logits) / np.exp(logits).sum()
    (found,) = hatnet.predict(folder / "003.png", SHIPPED, top=10)
    assert list(found.labels) == list(np.argsort(-want))
    np.testing.assert_allclose(found.probabilities, np.sort(want)[::-1], rtol=1e-4)
    assert sum(found.probabilities) == pytest.approx(1, abs=1e-12)
    (three,) = hatnet.predict(folder / "003.png", SHIPPED)
    assert three.probabilities == found.probabilities[:3]  # of all classes, not of the three


def test_class_maps_are_those_of_the_predicted_class_and_only_the_first_have_one(clothes):
    _, folder = clothes
    source = find_source(SHIPPED)
    found = list(hatnet.predict(folder, SHIPPED, maps=3))
    assert [each.class_map is not None for each in found] == [True] * 3 + [False] * (len(found) - 3)
    assert [each.picture is not None for each in found] == [True] * 3 + [False] * (len(found) - 3)
    for each in found[:3]:
        with Image.open(each.image) as file:
            pixels = torch.from_numpy((np.asarray(file)[None] / 255 - 0.2860) / 0.3530).float()
        want = attention_maps(source.model, pixels).class_map(each.labels[0])
        np.testing.assert_allclose(each.class_map, want / want.sum(), rtol=1e-3, atol=1e-7)
        assert each.class_map.sum() == pytest.approx(1)
        np.testing.assert_allclose(each.picture * 255, np.asarray(Image.open(each.image)), atol=1e-3)


def test_little_memory_makes_batches_smaller_and_changes_no_result(clothes, monkeypatch):
    _, folder = clothes
    before, sizes = list(hatnet.predict(folder, SHIPPED, maps=5)), []
    whole = prediction._predict_batch
    monkeypatch.setattr(
        prediction, "_predict_batch", lambda source, batch, *more, **named: (
            sizes.append(len(batch)) or whole(source, batch, *more, **named)
        ),
    )  # fmt: skip
    after = list(hatnet.predict(folder, SHIPPED, maps=5, memory=0.03))
    assert sizes[:3] != [5]
    assert max(sizes[:3]) < 5
    assert max(sizes) <= 32
    assert [each.labels for each in after] == [each.labels for each in before]
    np.testing.assert_allclose(after[0].class_map, before[0].class_map, rtol=1e-3, atol=1e-7)
    with pytest.raises(ValueError, match="GiB, the largest part in stage 0, but the limit is"):
        hatnet.predict(folder, SHIPPED, memory=0.001)


@pytest.mark.parametrize(("size", "resized"), [((56, 40), (39, 28)), ((20, 20), (28, 28)), ((28, 90), (28, 90))])
def test_images_of_other_sizes_are_resized_and_cropped_where_small_ones_are_taken_as_they_are(size, resized, tmp_path):
    """Bicubic with antialiasing, as Pillow does it, then the square in the middle."""
    path = write_image(tmp_path / "other.png", size, "L")
    with Image.open(path) as file:
        want = file.resize(resized, Image.Resampling.BICUBIC)
    left, top = round((resized[0] - 28) / 2), round((resized[1] - 28) / 2)
    (found,) = hatnet.predict(path, SHIPPED)
    distance = np.abs(found.picture * 255 - np.asarray(want.crop((left, top, left + 28, top + 28))))
    assert distance.max() <= 2


def test_photos_are_resized_as_for_evaluation(tmp_path):
    photos = recipe(image_size=28, crop_padding=None)
    weights = saved(tmp_path / "a.safetensors", 3, recipe=photos, mean=[0.5] * 3, std=[0.5] * 3)
    (found,) = hatnet.predict(CHELSEA, weights)
    data = Mock(mean=(0.5,) * 3, std=(0.5,) * 3)
    with Image.open(CHELSEA) as file:
        pixels = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)
    want = for_testing(from_json(photos), data)(pixels) / 2 + 0.5
    np.testing.assert_allclose(found.picture, want.permute(1, 2, 0).numpy().clip(0, 1), atol=1e-6)


def test_grey_networks_read_grey_colour_networks_colour_and_hidden_pixels_stay_hidden(tmp_path):
    image = Image.new("RGBA", (28, 28), (255, 0, 0, 255))
    image.paste((0, 0, 255, 0), (0, 0, 28, 14))
    image.save(tmp_path / "half.png")
    for channels, red, white in ((1, 76 / 255, 1), (3, [1, 0, 0], [1, 1, 1])):
        about = {"recipe": recipe(image_size=28), "mean": [0.5] * channels, "std": [0.25] * channels}
        weights = saved(tmp_path / "own.safetensors", channels, **about)
        (found,) = hatnet.predict(tmp_path / "half.png", weights, top=99)
        assert found.classes == tuple(map(str, found.labels))  # the weights name no classes
        assert sorted(found.labels) == [0, 1, 2]
        np.testing.assert_allclose(found.picture[27, 0], red, atol=1e-6)
        np.testing.assert_allclose(found.picture[0, 0], white, atol=1e-6)
        (black,) = hatnet.predict(tmp_path / "half.png", weights, background="black")
        assert np.abs(black.picture[0, 0]).max() < 1e-6


def test_each_image_is_taken_once_in_order_and_folders_are_searched(tmp_path, monkeypatch):
    (tmp_path / "b" / "deep").mkdir(parents=True)
    files = [write_image(tmp_path / name) for name in ("z.png", "b/deep/2.JPG", "b/1.png", "b/notes.gif")]
    (tmp_path / "b" / "notes.txt").write_text("no image")
    assert find_images([files[0], tmp_path / "b", files[0], str(files[2])]) == [files[0], files[2], files[1]]
    assert find_images([files[3]]) == [files[3]]  # any format, where the file itself is named
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_images("~/z.png") == [files[0]]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no images in .*empty; supported file extensions: .bmp"):
        find_images(tmp_path / "empty")
    with pytest.raises(FileNotFoundError, match="no image file or folder at none.png"):
        find_images(["none.png"])
    with pytest.raises(ValueError, match="no images are given"):
        find_images([])


def test_unreadable_and_elongated_files_are_reported_or_raised(tmp_path):
    good, bad = write_image(tmp_path / "a.png"), tmp_path / "b.png"
    bad.write_text("no image")
    Image.new("L", (30_000, 1)).save(tmp_path / "c.png")
    seen = {}
    found = list(hatnet.predict(tmp_path, SHIPPED, unreadable=lambda path, reason: seen.update({path: reason})))
    assert [each.image for each in found] == [good]
    assert "cannot be read as an image" in seen[bad]
    assert "would become 840000 x 28, more than the limit" in seen[tmp_path / "c.png"]
    with pytest.raises(ValueError, match=r"b.png cannot be read as an image"):
        list(hatnet.predict(bad, SHIPPED))


def test_a_file_that_has_gone_is_reported_and_the_others_are_predicted(tmp_path):
    good, gone, seen = write_image(tmp_path / "a.png"), tmp_path / "gone.png", []
    settings = prediction.Settings(maps=0)
    found = predict_files([gone, good], find_source(SHIPPED), settings, lambda *each: seen.append(each))
    assert [each.image for each in found] == [good]
    assert [path for path, reason in seen if reason] == [gone]
    with pytest.raises(FileNotFoundError):
        list(predict_files([gone], find_source(SHIPPED), settings))


def test_an_image_without_finite_gradients_has_no_class_map_and_spoils_no_other(clothes, monkeypatch):
    _, folder = clothes
    before = list(hatnet.predict([folder / "000.png", folder / "001.png"], SHIPPED))

    def failing(model, images, limit):
        if any(torch.equal(image, first) for image in images):
            raise ValueError("a class map needs finite gradients, and some are not")
        return attention_maps(model, images, limit)

    first = for_testing(from_json(find_source(SHIPPED).about["recipe"]), clothes[0])(clothes[0].test.image(0))
    monkeypatch.setattr(prediction, "attention_maps", failing)
    after = list(hatnet.predict([folder / "000.png", folder / "001.png"], SHIPPED))
    assert after[0].class_map is None
    np.testing.assert_allclose(after[1].class_map, before[1].class_map, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top": 0}, "top=0 must be a whole number of at least 1"),
        ({"maps": -1}, "maps=-1 must be a whole number of at least 0"),
        ({"memory": float("inf")}, "memory=inf must be a finite number"),
        ({"memory": float("nan")}, "memory=nan must be a finite number"),
        ({"background": "no"}, "background='no' must be an opaque colour"),
        ({"device": "meta"}, "device 'meta' can't be used here"),
    ],
)
def test_settings_are_refused_before_an_image_is_read(settings, message, monkeypatch):
    monkeypatch.setattr(prediction, "open_image", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(ValueError, match=message):
        hatnet.predict(CHELSEA, SHIPPED, **settings)


def test_weights_that_cannot_say_how_images_are_prepared_are_refused(tmp_path):
    with pytest.raises(ValueError, match="doesn't say how it was trained"):
        hatnet.predict(CHELSEA, saved(tmp_path / "a.safetensors", 1))
    with pytest.raises(ValueError, match=r"the network takes 4 channels; image files give 1 \(grey\) or 3"):
        hatnet.predict(CHELSEA, saved(tmp_path / "a.safetensors", 4))
    with pytest.raises(FileNotFoundError, match="did you mean 'fashion-mnist'"):
        hatnet.predict(CHELSEA, "fashion-mnst")


def test_weights_with_broken_numbers_give_no_prediction(tmp_path):
    source = find_source(SHIPPED)
    with torch.no_grad():
        source.model.classifier.bias[2] = 3e38
        source.model.classifier.weight[2] = 3e38  # finite, as files must be, but the logits are not
    with pytest.raises(ValueError, match=r"the logits for .*chelsea.png are not finite"):
        list(predict_files([CHELSEA], source))


def test_percentages_are_never_rounded_to_certainty():
    assert [percent(value) for value in (1, 0.99951, 0.9994, 0.0005, 0.0004, 0)] == [
        "100.0 %", "> 99.9 %", "99.9 %", "0.1 %", "< 0.1 %", "0.0 %",
    ]  # fmt: skip
