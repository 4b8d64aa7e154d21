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


@pytest.fixture(scope="module")
def explorers(tmp_path_factory):
    """Header and rows of the trained and of the untrained network's explorer."""
    folder = tmp_path_factory.mktemp("maps") / "generated"
    write_site_maps(folder)
    return [decode((folder / f"attention-{name}.bin").read_bytes()) for name in ("trained", "untrained")]


def test_both_explorers_show_the_same_images_and_name_their_network(explorers):
    (trained, rows), (untrained, other_rows) = explorers
    assert "trained on fashion-mnist" in trained["provenance"]
    assert "before training" in untrained["provenance"]
    assert [picture["name"] for picture in trained["pictures"]] == [*SHOWN, "a mistake"]
    for ours, theirs in zip(trained["pictures"], untrained["pictures"], strict=True):
        assert (ours["name"], ours["label"], ours["image"]) == (theirs["name"], theirs["label"], theirs["image"])
    assert not np.array_equal(rows[0]["stages.0.blocks.1.global"], other_rows[0]["stages.0.blocks.1.global"])


def test_the_trained_network_is_right_on_all_images_but_the_mistake(explorers):
    header = explorers[0][0]
    *right, wrong = [max(picture["predictions"], key=picture["predictions"].get) for picture in header["pictures"]]
    assert sum(guess == picture["label"] for guess, picture in zip(right, header["pictures"], strict=False)) >= 3
    mistake = header["pictures"][-1]
    assert wrong != mistake["label"]
    assert [each.get("name") for each in mistake["maps"]] == [None, wrong, mistake["label"]]  # rollout, and two classes


def test_the_rows_equal_those_of_the_network(explorers, trained):
    data = open_data("fashion-subset")
    first = int(np.flatnonzero(data.test.labels.numpy() == data.classes.index(SHOWN[0]))[0])
    image = (data.test.pixels[first].float() / 255 - trained.mean[0]) / trained.std[0]
    weights = attention_maps(trained.model, image).weights["stages.0.blocks.1.attention.global_weights"]
    np.testing.assert_allclose(explorers[0][1][0]["stages.0.blocks.1.global"], weights, rtol=2**-10, atol=2**-20)


def test_the_untrained_network_is_the_start_of_the_training(trained, tmp_path):
    """To the bit, by the recipe in the weights' file. Only the images differ, and no weight depends on them."""
    recipe = replace(first_recipe(trained.about), data="fashion-subset")
    with join("cpu") as world:
        training = Training(recipe, open_data("fashion-subset"), tmp_path, world)
    start, ours = training.model.state_dict(), before_training(trained.about, trained.model.config).state_dict()
    assert start.keys() == ours.keys()
    assert all(np.array_equal(start[name], ours[name]) for name in start)


def test_first_mistake_finds_the_first_wrong_answer(trained):
    test = open_data("fashion-subset").test
    images = test.pixels[:60].double() / 255
    taken = ((images - trained.mean[0]) / trained.std[0]).float()
    answers = trained.model(taken).argmax(dim=1)
    with pytest.raises(ValueError, match="right on all 60 images"):
        first_mistake(trained, images, answers)
    answers[55] = (answers[55] + 1) % 10
    assert first_mistake(trained, images, answers) == 55
