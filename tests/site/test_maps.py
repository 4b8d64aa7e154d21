"""The data of the site's explorers belong to the right networks and images."""

from dataclasses import replace

import numpy as np
import pytest

from builder.maps import SHOWN, first_mistake, write_site_maps
from hatnet.data import open_data
from hatnet.maps import attention_maps
from hatnet.maps.explorer import decode
from hatnet.training import Training, join
from hatnet.training.initial_weights import before_training, first_recipe
from hatnet.weights.source import find_source


@pytest.fixture(scope="module")
def source():
    return find_source(pretrained="fashion-mnist")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps") / "generated"
    write_site_maps(folder)
    return folder


def read(folder, name):
    return decode((folder / f"attention-{name}.bin").read_bytes())


def test_both_explorers_show_the_same_images_and_name_their_network(folder):
    """The reader of an untrained network's maps is told that it is untrained."""
    (trained, rows), (untrained, other_rows) = read(folder, "trained"), read(folder, "untrained")
    assert "trained on fashion-mnist" in trained["provenance"]
    assert "before training" in untrained["provenance"]
    assert [picture["name"] for picture in trained["pictures"]] == [*SHOWN, "a mistake"]
    for ours, theirs in zip(trained["pictures"], untrained["pictures"], strict=True):
        assert (ours["name"], ours["label"], ours["image"]) == (theirs["name"], theirs["label"], theirs["image"])
    assert not np.array_equal(rows[0]["stages.0.blocks.1.global"], other_rows[0]["stages.0.blocks.1.global"])


def test_the_trained_network_is_right_on_all_images_but_the_mistake(folder):
    header, _ = read(folder, "trained")
    *right, wrong = [max(picture["predictions"], key=picture["predictions"].get) for picture in header["pictures"]]
    assert sum(guess == picture["label"] for guess, picture in zip(right, header["pictures"], strict=False)) >= 3
    mistake = header["pictures"][-1]
    assert wrong != mistake["label"]
    assert [each.get("name") for each in mistake["maps"]] == [None, wrong, mistake["label"]]  # rollout, and two classes


def test_the_rows_equal_those_of_the_network(folder, source):
    """Rounded to float16, for the first image."""
    _, rows = read(folder, "trained")
    data = open_data("fashion-subset")
    first = int(np.flatnonzero(data.test.labels.numpy() == data.classes.index(SHOWN[0]))[0])
    image = (data.test.pixels[first].float() / 255 - source.mean[0]) / source.std[0]
    weights = attention_maps(source.model, image).weights["stages.0.blocks.1.attention.global_weights"]
    np.testing.assert_allclose(rows[0]["stages.0.blocks.1.global"], weights, rtol=2**-10, atol=2**-20)


def test_the_untrained_network_is_the_start_of_the_training(source, tmp_path):
    """To the bit, by the recipe in the weights' file. Only the images differ, and no weight depends on them."""
    recipe = replace(first_recipe(source.about), data="fashion-subset")
    with join("cpu") as world:
        training = Training(recipe, open_data("fashion-subset"), tmp_path, world)
    start, ours = training.model.state_dict(), before_training(source.about, source.model.config).state_dict()
    assert start.keys() == ours.keys()
    assert all(np.array_equal(start[name], ours[name]) for name in start)


def test_first_mistake_finds_the_first_wrong_answer(source):
    """If there is none, it raises an error."""
    test = open_data("fashion-subset").test
    images = test.pixels[:60].double() / 255
    taken = ((images - source.mean[0]) / source.std[0]).float()
    answers = source.model(taken).argmax(dim=1)
    with pytest.raises(ValueError, match="right on all 60 images"):
        first_mistake(source, images, answers)
    answers[55] = (answers[55] + 1) % 10
    assert first_mistake(source, images, answers) == 55
