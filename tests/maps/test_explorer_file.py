"""The explorer's file holds every softmax row and every map, and damaged or invalid input is refused."""

import dataclasses
import gzip
import re

import numpy as np
import pytest

from hatnet.complexity import attention_weights, network_costs
from hatnet.config import get_config
from hatnet.data.photo import load_photo
from hatnet.maps import HIERARCHICAL, PLAIN, attention_maps, map_selection
from hatnet.maps.explorer import (
    ClassMap,
    Picture,
    Start,
    decode,
    explorer_script,
    file_format,
    stored_numbers,
)
from hatnet.maps.explorer.file_format import PATHS, PLAIN_PATHS
from hatnet.trace import Place
from tests.maps.explorers import CASES, CLASSES, encoded, seen, torch_of


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
    photo = load_photo(size=max(CASES[case][0]))[:, : CASES[case][0][0], : CASES[case][0][1]]
    images, labels = (photo, photo[:, ::-1, ::-1].copy()), (2, None)
    for about, got, image, label in zip(header["pictures"], decoded, images, labels, strict=True):
        maps = attention_maps(model, torch_of(image).double())
        answer = int(maps.logits.argmax())
        want = {"rollout": maps.rollout(), "class.0": maps.class_map(answer)}
        kinds, names = ["rollout", "class"], [CLASSES[answer] if label is not None else f"class {answer}"]
        if label not in (None, answer):
            want["class.1"] = maps.class_map(label)
            kinds, names = [*kinds, "class"], [*names, CLASSES[label]]
        assert [one["kind"] for one in about["maps"]] == kinds
        assert [one["name"] for one in about["maps"][1:]] == names
        assert set(want) == {name for name in got if not name.startswith("stages")}
        for name, values in want.items():
            np.testing.assert_allclose(got[name], values, rtol=2**-10, atol=2**-24 * values.max())


def test_decoding_returns_names_classes_and_provenance():
    """Also the sentence about the weights and the start; and the bytes are the same every time."""
    header, _ = decode(
        encoded(provenance="Trained: ≈ 91 % </script>", start=Start(query=(3, 4), stage=1, kind="composed"))
    )
    assert header["provenance"] == "Trained: ≈ 91 % </script>"
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
    layouts = config.layout(*size)
    assert dense == sum(
        s.depth * s.heads * (layout.map[0] * layout.map[1]) ** 2
        for s, layout in zip(config.stages, layouts, strict=True)
    )


def test_paths_count_as_in_the_composed_map():
    """The whole numbers of the explorer's formula are the shares of `AttentionMaps.composed`."""
    for counts, shares in ((PATHS, HIERARCHICAL), (PLAIN_PATHS, PLAIN)):
        want = [share for share in shares if share]
        assert [count / sum(counts.values()) for count in counts.values()] == want


def test_maps_of_the_whole_network_are_prepared_once(monkeypatch):
    """Once, for the header and for the arrays."""
    made, whole_maps = [], file_format._whole_maps

    def noted(picture, *rest):
        made.append(picture.name)
        return whole_maps(picture, *rest)

    monkeypatch.setattr(file_format, "_whole_maps", noted)
    encoded()
    assert made == ["cat", "cat, upside down"]


def test_the_script_lists_the_same_kinds_as_python():
    """In the same order."""
    kinds = re.search(r"^const KINDS = \{(.*?)\};", explorer_script(), re.MULTILINE)[1]
    assert tuple(re.findall(r"(\w+):", kinds)) == map_selection.KINDS


def test_invalid_pictures_are_refused():
    """The error gives the value and what is expected."""
    _, (picture, _) = seen("micro")
    name = "stages.1.blocks.0.attention.global_weights"
    changed = {
        "at least one picture": [],
        r"must be \(H, W, 3\) or \(H, W\), got \(3, 28, 28\)": [replaced(image=np.zeros((3, 28, 28)))],
        r"must be in \[0, 1\]": [replaced(image=picture.image * 255)],
        r"one size: 'cat' is 28 x 28 pixels, 'cat' 27 x 28": [picture, replaced(image=picture.image[1:])],
        f"lacks {name}": [replaced(weights={k: v for k, v in picture.weights.items() if k != name})],
        rf"{name} is \(2, 1, 16\) by token, expected \(2, 49, 16\)": [
            replaced(weights=with_weights(name, np.s_[:, :1]))
        ],
        r"the rollout map is \(13, 14\), expected \(14, 14\)": [replaced(rollout=picture.rollout[1:])],
        "the class map has numbers that are negative": [replaced(class_maps=[ClassMap("a", -np.ones((14, 14)))])],
        f"{name} is not finite": [replaced(weights={**picture.weights, name: np.nan * picture.weights[name]})],
    }
    for message, pictures in changed.items():
        with pytest.raises(ValueError, match=message):
            encoded(pictures=pictures)


def replaced(**changes) -> Picture:
    return dataclasses.replace(seen("micro")[1][0], **changes)


def with_weights(name, part):
    weights = seen("micro")[1][0].weights
    return {**weights, name: weights[name][part]}


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (Start(stage=3), "there is no stage 3: the network has 3, counted from 0"),
        (Start(stage=1, block=2), "there is no block 2: stage 1 has 2, counted from 0"),
        (Start(stage=1, head=2), "there is no head 2: stage 1 has 2, counted from 0"),
        (Start(kind="near"), "kind 'near' is unknown: local, global, composed, rollout or class"),
        (Start(query=(28, 0)), "the query 28,0 lies outside the image of 28 x 28 pixels: X goes from 0 to 27"),
    ],
)
def test_a_start_that_does_not_exist_is_refused(start, message):
    """The error lists what exists."""
    with pytest.raises(ValueError, match=message):
        encoded(start=start)


@pytest.mark.parametrize("kind", ["rollout", "class"])
def test_a_start_with_a_missing_map_is_refused(kind):
    """Instead of a page that opens with another kind."""
    with pytest.raises(ValueError, match=f"the {kind} map cannot be shown first, because 'cat' has none"):
        encoded(start=Start(kind=kind), pictures=[replaced(rollout=None, class_maps=())])
    assert decode(encoded(start=Start(kind=kind)))[0]["start"]["kind"] == kind


def corrupted(data):
    return data[:1000] + bytes(100) + data[1100:]


def test_gzip_of_something_else_is_refused():
    """The file is gzip, but not safetensors."""
    with pytest.raises(ValueError, match="not the complete data of an attention explorer"):
        decode(gzip.compress(b"whatever this is"))


@pytest.mark.parametrize("damage", [lambda data: b"whatever", lambda data: b"", lambda data: data[:2000], corrupted])
def test_damaged_data_are_refused(damage):
    """With a ValueError: half a download, or an error page instead of the file."""
    with pytest.raises(ValueError, match="not the complete data of an attention explorer"):
        decode(damage(encoded()))
