"""Training scenes have varied textures and clutter, which belongs to no object; validation scenes have neither."""

from hashlib import blake2b

import numpy as np
import pytest

from hatnet.data.scenes import compose as compose_module
from hatnet.data.scenes import textures
from hatnet.data.scenes.clutter import _filled, _outline, pieces
from hatnet.data.scenes.compose import compose
from hatnet.data.scenes.cutouts import Garments
from hatnet.data.scenes.textures import photos
from hatnet.data.scenes.varied import _gradient, _turned_photo, noise, varied_texture

PHOTOS = photos("train")


@pytest.fixture(scope="module")
def garments():
    return Garments()


def rng(seed):
    return np.random.default_rng(seed)


def test_clutter_is_behind_all_objects_and_has_no_mask(garments, monkeypatch):
    green = np.full((64, 64, 4), (0, 255, 0, 255), np.float32)
    monkeypatch.setattr(compose_module, "pieces", lambda *_: [green])
    for index in range(5):
        scene = compose(garments, "train", index, 64, 0)
        red, value, blue = scene.pixels.astype(int).transpose(2, 0, 1)
        bright = (value > 3 * np.maximum(red, blue)) & (value > 60)  # some of it is in the shadow of an object
        assert bright[scene.owner == 0].mean() > 0.9
        assert bright[scene.owner > 0].mean() < 0.4, "objects hide it"


def test_validation_scenes_have_no_clutter(garments, monkeypatch):
    def none(*_):
        raise AssertionError("clutter in a validation scene")

    monkeypatch.setattr(compose_module, "pieces", none)
    compose(garments, "val", 0, 64, 0)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("train", "dbc1edd3f51e0987"),  # composed before there were plain photos, for which nothing is drawn
        ("val", "cfa0700536362e31"),  # composed by version 1, so that figures of both versions can be compared
    ],
)
def test_masks_are_those_of_earlier_versions(part, expected, garments):
    digest = blake2b(digest_size=8)
    for index in range(20):
        scene = compose(garments, part, index, 128, 0)
        digest.update(scene.owner.tobytes() + bytes(scene.labels))
    assert digest.hexdigest() == expected


@pytest.mark.parametrize(("plain", "least", "most"), [(0.0, 0, 0), (0.3, 0.2, 0.4), (1.0, 1, 1)])
def test_a_fraction_of_the_training_textures_are_plain_photos(plain, least, most, monkeypatch):
    """In wall and floor alike; validation scenes have no others, whatever the fraction is."""
    made = {"plain": 0, "varied": 0}

    def texture(kind):
        def make(*_):
            made[kind] += 1
            return np.zeros((32, 32, 3), np.float32)

        return make

    monkeypatch.setattr(textures, "varied_texture", texture("varied"))
    monkeypatch.setattr(textures, "_plain_photo", texture("plain"))
    for seed in range(200):
        textures.background("train", 32, rng(seed), plain)
    assert sum(made.values()) > 250, "half of the scenes have a wall and a floor"
    assert least <= made["plain"] / sum(made.values()) <= most
    made["varied"] = 0
    textures.background("val", 32, rng(0), plain)
    assert not made["varied"]


def test_plain_photos_reach_the_scenes(garments):
    """The objects' places differ as well, since more random numbers are drawn before them."""
    first, second = (compose(garments, "train", 0, 64, 0, plain) for plain in (0.0, 1.0))
    assert not np.array_equal(first.pixels, second.pixels)
    same = [compose(garments, "val", 0, 64, 0, plain).pixels for plain in (0.0, 1.0)]
    assert np.array_equal(*same)


def test_no_two_textures_are_alike():
    """Correlation of pairs, as grey; five photos in turn would give the same one within six draws."""
    seen = [varied_texture(PHOTOS, 32, rng(seed)) for seed in range(24)]
    assert all(texture.shape == (32, 32, 3) and 0 <= texture.min() <= texture.max() <= 255 for texture in seen)
    grey = np.stack([texture.mean(axis=2).ravel() for texture in seen])
    pairs = np.corrcoef(grey)[np.triu_indices(len(seen), 1)]
    assert np.abs(pairs).max() < 0.95
    assert len({tuple(texture.mean(axis=(0, 1)).round()) for texture in seen}) == len(seen)


def test_a_photo_goes_on_as_in_a_mirror():
    """Far beyond its borders there are still its values, and neighbours stay alike."""
    from PIL import Image

    path = next(path for path in PHOTOS if path.name == "clock.jpg")  # a smooth one
    whole = np.asarray(Image.open(path), np.float32)
    for seed in range(6):
        found = _turned_photo(path, 64, rng(seed))
        assert found.shape == (64, 64, 3)
        assert whole.min() - 1 <= found.min() <= found.max() <= whole.max() + 1
        assert found.mean() > 0.3 * whole.mean(), "black outside"


@pytest.mark.parametrize("made", [noise, _gradient])
def test_noise_and_gradients_fill_the_range_from_0_to_1(made):
    for seed in range(5):
        values = made(48, rng(seed))
        assert values.shape == (48, 48)
        assert 0 <= values.min() < 0.2
        assert 0.8 < values.max() <= 1


def test_the_opacity_of_a_polygon_is_the_fraction_of_each_pixel_inside():
    opacity = _filled(np.array([[4.0, 2.5], [10.0, 2.5], [10.0, 8.0], [4.0, 8.0]]), 16) / 255
    assert opacity[3:8, 4:10].min() == 1
    assert np.allclose(opacity[2, 4:10], 0.5, atol=0.01)
    opacity[2:9, 4:11] = 0  # drawn outlines are a quarter of a pixel wider
    assert opacity.max() == 0


def test_pieces_are_of_many_sizes_and_some_scenes_have_none():
    counts, areas = set(), []
    for seed in range(40):
        layers = list(pieces(PHOTOS, 64, rng(seed)))
        counts.add(len(layers))
        for layer in layers:
            assert layer.shape == (64, 64, 4)
            assert 0 <= layer.min() <= layer.max() <= 255
            areas.append((layer[..., 3] > 127).mean())
    assert counts == set(range(6))
    assert np.quantile(areas, 0.2) < 0.01
    assert np.quantile(areas, 0.8) > 0.03


def test_outlines_are_around_a_place_in_the_scene():
    for seed in range(20):
        corners = _outline(100, rng(seed))
        assert len(corners) in {3, 4, 5, 6, 7, 8, 64}
        assert np.abs(corners.mean(axis=0) - 50).max() < 100
