"""The data of the site's explorers belong to the right networks and images."""

import json
from base64 import b64decode
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import spearmanr

import hatnet
from builder.maps import COUNTED, SHOWN, first_mistake, write_site_maps
from hatnet.attention import attention_kernel
from hatnet.data import open_data
from hatnet.data.scenes.compose import compose
from hatnet.data.scenes.cutouts import Garments
from hatnet.maps import attention_maps
from hatnet.maps.colour_scene import SCENE, colour_scene
from hatnet.maps.explorer import decode
from hatnet.training import Training, join
from hatnet.training.initial_weights import before_training, first_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("maps") / "generated"
    write_site_maps(folder)
    return folder


@pytest.fixture(scope="module")
def explorers(folder):
    """For each network of the index the header and the rows of every picture."""
    networks = json.loads((folder / "attention.json").read_text())["networks"]
    found = {each["name"]: [decode((folder / file).read_bytes()) for file in each["files"]] for each in networks}
    return {name: ([header for header, _ in files], [rows for _, (rows,) in files]) for name, files in found.items()}


def test_all_networks_show_the_same_images_and_say_where_their_weights_come_from(folder, explorers):
    index = json.loads((folder / "attention.json").read_text())
    assert [picture["name"] for picture in index["pictures"]] == [*SHOWN, "a mistake"]
    words = {each["name"]: each["provenance"] for each in index["networks"]}
    assert list(words) == list(explorers) == ["Trained", "Untrained", "Uniform attention"]
    assert "trained on fashion-mnist" in words["Trained"]
    assert "that training started from" in words["Untrained"]
    for headers, _ in explorers.values():
        for header, first, listed in zip(headers, explorers["Trained"][0], index["pictures"], strict=True):
            (ours,), (theirs,) = header["pictures"], first["pictures"]
            assert (ours["name"], ours["label"], ours["image"]) == (theirs["name"], theirs["label"], listed["image"])
    rows = [explorers[name][1][0]["stages.0.blocks.1.global"] for name in ("Trained", "Untrained")]
    assert not np.array_equal(*rows)


def test_the_trained_network_is_right_on_all_images_but_the_mistake(explorers):
    pictures = [header["pictures"][0] for header in explorers["Trained"][0]]
    *right, wrong = [max(picture["predictions"], key=picture["predictions"].get) for picture in pictures]
    assert right == [picture["label"] for picture in pictures[:-1]]
    mistake = pictures[-1]
    assert wrong != mistake["label"]
    assert [each.get("name") for each in mistake["maps"]] == [None, wrong, mistake["label"]]  # rollout, and two classes


def test_the_rows_equal_those_of_the_network(explorers, trained):
    data = open_data("fashion-subset")
    first = int(np.flatnonzero(data.test.labels.numpy() == data.classes.index(SHOWN[0]))[0])
    image = (data.test.pixels[first].float() / 255 - trained.mean[0]) / trained.std[0]
    weights = attention_maps(trained.model, image).weights["stages.0.blocks.1.attention.global_weights"]
    rows = explorers["Trained"][1][0]["stages.0.blocks.1.global"]
    np.testing.assert_allclose(rows, weights, rtol=2**-10, atol=2**-20)


def test_uniform_attention_is_uniform(explorers):
    for rows in explorers["Uniform attention"][1]:
        for name, weights in rows.items():
            if name.startswith("stages."):
                np.testing.assert_allclose(weights, 1 / weights.shape[-1], rtol=2**-10, err_msg=name)


def test_the_counts_with_uniform_attention_are_those_of_plain_means(folder, trained):
    """An attention that takes the mean of all values, instead of zero queries; it has no border here to leave out."""

    def mean(Q, K, V, heads, mask, name):
        assert mask is None
        return V.mean(dim=-2, keepdim=True).expand(*Q.shape[:-1], -1)

    data = open_data("fashion-subset")
    pixels, labels = data.test.pixels[:COUNTED].float() / 255, data.test.labels[:COUNTED]
    images = (pixels - trained.mean[0]) / trained.std[0]
    with torch.inference_mode():
        before = trained.model(images).argmax(dim=1)
        with attention_kernel(mean):
            after = trained.model(images).argmax(dim=1)
    assert json.loads((folder / "uniform-attention.json").read_text()) == {
        "images": COUNTED,
        "right": int((before == labels).sum()),
        "right with uniform attention": int((after == labels).sum()),
        "same answer": int((before == after).sum()),
    }


def most(rows, name):
    """The largest weight of each row, as a multiple of an equal share; rows of a mean of the heads."""
    weights = rows[name].mean(axis=0)
    return weights.max(axis=-1) * weights.shape[-1]


def test_the_guide_says_what_the_maps_show(explorers):
    """Near rows of the last block with windows are selective if trained. Rows of the first stage follow the object in
    both networks. The class maps of a mistake and of the truth are brightest at one place, the toe at the left, and the
    numbers are larger for the truth. And every picture has a token that ignores
    its window, in the trained network. (That two fifths of a composed map are the query itself is a formula.)
    """
    _, trained = explorers["Trained"]
    _, untrained = explorers["Untrained"]
    for ours, theirs in zip(trained, untrained, strict=True):
        assert np.median(most(ours, "stages.1.blocks.1.local")) > 4 * np.median(most(theirs, "stages.1.blocks.1.local"))
        assert min(most(ours, f"stages.0.blocks.{block}.local").min() for block in (0, 1)) < 1.5
    bag, query = 2, 15 * 28 + 10
    image = open_data("fashion-subset")
    first = int(np.flatnonzero(image.test.labels.numpy() == image.classes.index(SHOWN[bag]))[0])
    cells = image.test.pixels[first, 0].numpy().reshape(7, 4, 7, 4).mean(axis=(1, 3)).ravel()
    for network in (trained, untrained):
        assert abs(spearmanr(network[bag]["stages.0.blocks.1.global"][0, query], cells).statistic) > 0.5
    answer, truth = trained[4]["class.0"], trained[4]["class.1"]
    assert spearmanr(answer.ravel(), truth.ravel()).statistic > 0.9
    for values in (answer, truth):
        row, column = np.unravel_index(values.argmax(), values.shape)
        assert 14 <= row < 20
        assert column < 8
    assert truth.max() > 4 * answer.max()


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


def test_the_colour_scene_shows_the_rows_of_the_segmenter():
    """Those of the whole model: its own normalisation, its own HAT-Net, and the pixels that are shown."""
    header, (rows,) = decode(colour_scene().encode())
    (picture,) = header["pictures"]
    pixels = np.asarray(Image.open(BytesIO(b64decode(picture["image"].partition(",")[2]))).convert("RGB"))
    assert pixels.shape == (128, 128, 3), "small images are embedded exactly"
    model, trace = hatnet.create_model("micro", "scenes-segmentation", task="segmentation").double(), {}
    with torch.inference_mode():
        image = model.transform(torch.tensor(pixels).permute(2, 0, 1)[None].double() / 255)
        model.backbone.body.forward_features(image, trace)
    for name in ("stages.0.blocks.1", "stages.1.blocks.0"):
        weights = trace[f"{name}.attention.global_weights"][0]  # (heads, HW, H'W')
        np.testing.assert_allclose(rows[f"{name}.global"], weights, rtol=2**-10, atol=2**-20)
    names = [("red coat", "top"), ("yellow pullover", "top"), ("bag", "bag")]
    found = [(one["kind"], one["of"], one["name"], one["role"]) for one in picture["maps"]]
    assert found == [("class", "object", name, f"of the class {label}") for name, label in names]
    owner = compose(Garments(), "val", SCENE, 128, seed=0).owner.reshape(32, 4, 32, 4)
    for number in (1, 2, 3):  # of each object: its own map has a larger share there than the two others
        there = (owner == number).mean(axis=(1, 3)) > 0.5  # (32, 32) tokens
        shares = [rows[f"class.{each}"][there].sum() / rows[f"class.{each}"].sum() for each in range(3)]
        assert np.argmax(shares) == number - 1, shares
