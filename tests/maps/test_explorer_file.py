"""The explorer's file holds every softmax row and every map, and damaged or invalid input is refused."""

import base64
import dataclasses
import gzip
import io
import re
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image

from hatnet.complexity import attention_weights, network_costs
from hatnet.config import get_config
from hatnet.maps import HIERARCHICAL, PLAIN, AttentionMaps, attention_maps, map_selection
from hatnet.maps.explorer import (
    ClassMap,
    Start,
    decode,
    explorer_script,
    file_format,
    picture_from_model,
    stored_numbers,
)
from hatnet.maps.explorer.file_format import PATHS, PLAIN_PATHS
from hatnet.trace import Place
from tests.maps.small import CASES, CLASSES, PLAIN_NETWORK, encoded, photo_of, random_model, seen


@pytest.mark.parametrize("case", CASES)
def test_decoding_returns_every_row(case):
    """Local rows over windows and global rows over cells or tokens, in float16: 11 bits of each weight."""
    model, pictures = seen(case)
    height, width = CASES[case][0]
    header, decoded = decode(encoded(case))
    assert header["image"] == [height, width]
    for picture, got in zip(pictures, decoded, strict=True):
        assert sum(array.size for name, array in got.items() if name.startswith("stages")) == header["numbers"]
        layouts = model.config.layout(height, width)
        for index, (stage, layout) in enumerate(zip(model.config.stages, layouts, strict=True)):
            for block in range(stage.depth):
                name = f"stages.{index}.blocks.{block}"
                traced = f"{name}.attention.{'global_weights' if stage.grid_size else 'weights'}"
                np.testing.assert_allclose(got[f"{name}.global"], picture.weights[traced], rtol=2**-11, atol=2**-25)
                if layout.window is None:
                    assert f"{name}.local" not in got
                    continue
                near = picture.weights[f"{name}.attention.local_weights"]
                (g, h), (H, W) = layout.window, layout.map
                for row, column in np.ndindex(H, W):
                    want = near[row // g, column // h, :, row % g * h + column % h]
                    np.testing.assert_allclose(
                        got[f"{name}.local"][:, row * W + column], want, rtol=2**-11, atol=2**-25
                    )


@pytest.mark.parametrize("case", CASES)
def test_decoding_returns_the_maps_of_the_whole_network(case):
    """Rollout, and class maps for the answer and for another true class, in float16 shares of the largest number."""
    model, _ = seen(case)
    header, decoded = decode(encoded(case))
    photo = torch.from_numpy(photo_of(*CASES[case][0]))
    images, labels = (photo, photo.flip(1, 2)), (2, None)
    for about, got, image, label in zip(header["pictures"], decoded, images, labels, strict=True):
        maps = attention_maps(model, image)
        answer = int(maps.logits.argmax())
        shown = dict.fromkeys([answer] if label is None else [answer, label])
        names = [CLASSES[number] if label is not None else f"class {number}" for number in shown]
        want = {"rollout": maps.rollout(), **{f"class.{n}": maps.class_map(number) for n, number in enumerate(shown)}}
        found = [(one["kind"], one.get("name")) for one in about["maps"]]
        assert found == [("rollout", None), *(("class", name) for name in names)]
        assert set(want) == {name for name in got if not name.startswith("stages")}
        for name, values in want.items():
            np.testing.assert_allclose(got[name], values, rtol=2**-10, atol=2**-24 * values.max())


def test_decoding_returns_names_classes_and_provenance():
    provenance, start = "Trained: ≈ 91 % </script>", Start(query=(3, 4), stage=1, kind="composed")
    header, _ = decode(encoded(provenance=provenance, start=start))
    assert header["provenance"] == provenance
    assert header["start"] == {"query": [3, 4], "stage": 1, "block": 0, "head": None, "kind": "composed"}
    first, second = header["pictures"]
    assert (first["name"], first["label"], second["label"]) == ("cat", "<coat>", "")
    assert sorted(first["predictions"]) == sorted(CLASSES)
    assert list(first["predictions"].values()) == sorted(first["predictions"].values(), reverse=True)
    assert sum(first["predictions"].values()) == pytest.approx(1)
    assert second["predictions"] == {}
    assert first["image"].startswith("data:image/png;base64,")
    assert encoded() == encoded()


@pytest.mark.parametrize("name", ["tiny", "large", "micro"])
@pytest.mark.parametrize("size", [(224, 224), (75, 101)])
def test_the_number_of_stored_weights_is_that_of_hierarchical_attention(name, size):
    """All weights of attention, plus the padding of windows; and N² if every token attended to every other."""
    config = get_config(name)
    stored, dense = stored_numbers(config, *size)
    parts = [part for part in network_costs(config, *size) if part.name.endswith(".attention")]
    stages = [config.stages[Place.parse(part.name).stage] for part in parts]
    computed = sum(attention_weights(p.cost, s.channels, s.heads) for p, s in zip(parts, stages, strict=True))
    assert stored >= computed
    if size == (224, 224) and name != "micro":  # windows divide
        assert stored == computed
    tokens = [layout.map[0] * layout.map[1] for layout in config.layout(*size)]
    assert dense == sum(s.depth * s.heads * N**2 for s, N in zip(config.stages, tokens, strict=True))


def test_paths_count_as_in_the_composed_map():
    for counts, shares in ((PATHS, HIERARCHICAL), (PLAIN_PATHS, PLAIN)):
        want = [share for share in shares if share]
        assert [count / sum(counts.values()) for count in counts.values()] == want


def test_maps_of_the_whole_network_are_prepared_once(monkeypatch):
    prepare = mock.Mock(wraps=file_format._whole_maps)
    monkeypatch.setattr(file_format, "_whole_maps", prepare)
    encoded()
    assert [call.args[0].name for call in prepare.call_args_list] == ["cat", "cat, upside down"]


def test_the_script_lists_the_same_kinds_as_python():
    kinds = re.search(r"^const KINDS = \{(.*?)\};", explorer_script(), re.MULTILINE)[1]
    assert tuple(re.findall(r"(\w+):", kinds)) == map_selection.KINDS


def test_invalid_pictures_and_starts_are_refused():
    _, (picture, _) = seen("micro")
    name = "stages.1.blocks.0.attention.global_weights"
    weights = picture.weights[name]
    lacking = {other: values for other, values in picture.weights.items() if other != name}
    for message, changes in {
        r"must be \(H, W, 3\) or \(H, W\), got \(3, 28, 28\)": {"image": np.zeros((3, 28, 28))},
        r"must be in \[0, 1\]": {"image": picture.image * 1.01 / picture.image.max()},
        r"one size: 'cat' is 28 x 28 pixels, 'cat' 27 x 28": {"image": picture.image[1:]},
        f"lacks {name}": {"weights": lacking},
        rf"{name} is \(2, 1, 16\) by token, expected \(2, 49, 16\)": {"weights": {**lacking, name: weights[:, :1]}},
        f"{name} is not finite": {"weights": {**lacking, name: np.nan * weights}},
        r"the rollout map is \(13, 14\), expected \(14, 14\)": {"rollout": picture.rollout[1:]},
        "the class map has numbers that are negative": {"class_maps": [ClassMap("a", -np.ones((14, 14)))]},
    }.items():
        with pytest.raises(ValueError, match=message):
            encoded(pictures=[picture, dataclasses.replace(picture, **changes)])
    with pytest.raises(ValueError, match=r"700 pictures of 28 x 28 .* \(50 MB\)"):
        encoded(pictures=[picture] * 700)
    with pytest.raises(ValueError, match="at least one picture"):
        encoded(pictures=[])
    for start, message in (
        (Start(stage=3), "there is no stage 3: the network has 3, counted from 0"),
        (Start(stage=1, block=2), "there is no block 2: stage 1 has 2, counted from 0"),
        (Start(stage=1, head=2), "there is no head 2: stage 1 has 2, counted from 0"),
        (Start(kind="near"), "kind 'near' is unknown: local, global, composed, rollout or class"),
        (Start(query=(28, 0)), "the query 28,0 lies outside the image of 28 x 28 pixels: X goes from 0 to 27"),
    ):
        with pytest.raises(ValueError, match=message):
            encoded(start=start)


@pytest.mark.parametrize("kind", ["rollout", "class"])
def test_a_start_with_a_missing_map_is_refused(kind):
    picture = dataclasses.replace(seen("micro")[1][0], rollout=None, class_maps=())
    with pytest.raises(ValueError, match=f"the {kind} map cannot be shown first, because 'cat' has none"):
        encoded(start=Start(kind=kind), pictures=[picture])
    assert decode(encoded(start=Start(kind=kind)))[0]["start"]["kind"] == kind


@pytest.mark.parametrize(
    ("channels", "shown"), [(1, lambda image: image[0]), (3, lambda image: image.transpose(1, 2, 0))]
)
def test_a_picture_shows_the_image_that_the_network_has_seen(channels, shown):
    image = np.random.default_rng(0).random((channels, 12, 15))
    model = random_model(in_channels=channels, num_classes=3, **PLAIN_NETWORK)
    assert np.array_equal(picture_from_model(model, image, "noise").image, shown(image))


def test_grey_pictures_are_shown_as_they_are():
    _, (picture, _) = seen("micro")
    grey = np.linspace(0, 1, 28 * 28).reshape(28, 28)
    header, _ = decode(encoded(pictures=[dataclasses.replace(picture, image=grey)]))
    png = base64.b64decode(header["pictures"][0]["image"].partition("base64,")[2])
    with Image.open(io.BytesIO(png)) as file:
        assert np.asarray(file.convert("RGB")) == pytest.approx(np.stack([255 * grey] * 3, axis=2), abs=0.5 + 1e-9)


@pytest.mark.parametrize(("side", "kind"), [(128, "png"), (129, "jpeg")])
def test_images_of_up_to_128_pixels_are_shown_exactly(side, kind):
    image = np.random.default_rng(0).random((1, side, 8))
    model = random_model(in_channels=1, num_classes=3, **PLAIN_NETWORK)
    header, _ = decode(encoded(pictures=[picture_from_model(model, image, "noise")], config=model.config))
    assert header["pictures"][0]["image"].startswith(f"data:image/{kind};base64,")


@pytest.mark.parametrize(("label", "classes"), [(3, CLASSES), (-1, CLASSES), (2, CLASSES[:2]), (3, ())])
def test_a_true_class_without_a_number_or_a_name_is_refused_before_maps_are_computed(label, classes, monkeypatch):
    model, _ = seen("micro")
    monkeypatch.setattr(AttentionMaps, "class_map", lambda *_: pytest.fail("a map was computed"))
    with pytest.raises(ValueError, match=f"label {label} of 'cat' is not the number of a class: the network has 3"):
        picture_from_model(model, photo_of(28, 28), "cat", classes=classes, label=label)


def test_damaged_data_are_refused():
    data = encoded()
    corrupted = data[:1000] + bytes(100) + data[1100:]
    for damaged in (b"whatever", b"", data[:2000], corrupted, gzip.compress(b"whatever this is")):
        with pytest.raises(ValueError, match="not the complete data of an attention explorer"):
            decode(damaged)
