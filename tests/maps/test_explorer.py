"""The attention explorer's data hold every softmax row, and its page stands alone."""

import base64
import dataclasses
import hashlib
import os
import re
from functools import cache

import numpy as np
import pytest

from hatnet import create_model
from hatnet.complexity import attention_weights, network_costs
from hatnet.config import get_config
from hatnet.data.photo import load_photo
from hatnet.equivalence import randomise
from hatnet.maps import HIERARCHICAL, PLAIN, attention_maps, subject
from hatnet.maps.explorer import (
    SCRIPT,
    ClassMap,
    Picture,
    Start,
    binary,
    decode,
    encode,
    look,
    stored_numbers,
    write_explorer,
    write_maps,
)
from hatnet.maps.explorer.binary import PLAIN_WAYS, WAYS

PLAIN_NETWORK = {
    "channels": (64,),
    "depths": (2,),
    "kernel_sizes": (3,),
    "expansions": (2,),
    "grid_sizes": (),
    "pool_sizes": (),
}
CASES = {
    "micro": ((28, 28), {}),
    "nothing divides": ((31, 45), {}),
    "smaller than a window": ((9, 13), {}),
    "one plain stage": ((12, 15), PLAIN_NETWORK),
}
CLASSES = ["ankle boot", "bag", "<coat>"]


@cache
def seen(case):
    """A network, and two pictures with their maps."""
    (height, width), overrides = CASES[case]
    model = create_model("micro", num_classes=3, **overrides).double()
    randomise(model)
    photo = load_photo(size=max(height, width))[:, :height, :width]
    return model, [
        look(model, photo, "cat", classes=CLASSES, label=2),
        look(model, photo[:, ::-1, ::-1].copy(), "cat, upside down"),
    ]


def encoded(case="micro", **changed):
    model, pictures = seen(case)
    return encode(**{"pictures": pictures, "config": model.config, "provenance": "Random.", **changed})


@pytest.mark.parametrize("case", CASES)
def test_every_row_comes_back(case):
    """Local rows of every query in its window, global rows over cells or tokens, in float16: 11 bits of each weight."""
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
def test_maps_of_the_whole_network_come_back(case):
    """Rollout, and what speaks for the answer and for another true class, in float16 of the largest; with names."""
    model, _ = seen(case)
    header, decoded = decode(encoded(case))
    photo = load_photo(size=max(CASES[case][0]))[:, : CASES[case][0][0], : CASES[case][0][1]]
    images, labels = (photo, photo[:, ::-1, ::-1].copy()), (2, None)
    for about, got, image, label in zip(header["pictures"], decoded, images, labels, strict=True):
        maps = attention_maps(model, np_to_torch(image).double())
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


def test_the_class_that_is_asked_for_comes_first():
    """And says why it is there, as the others do."""
    from hatnet.maps.explorer import picture_of

    model, _ = seen("micro")
    maps = attention_maps(model, np_to_torch(load_photo(size=28)).double())
    answer = int(maps.logits.argmax())
    other, third = ((answer + step) % 3 for step in (1, 2))
    for label, asked, roles in [
        (None, None, {answer: "the network's answer"}),
        (answer, None, {answer: "the network's answer, and true"}),
        (other, None, {answer: "the network's answer", other: "the true class"}),
        (None, other, {other: "the class asked for", answer: "the network's answer"}),
        (other, third, {third: "the class asked for", answer: "the network's answer", other: "the true class"}),
        (None, answer, {answer: "the network's answer"}),
    ]:
        picture = picture_of(maps, np.zeros((28, 28)), "x", classes=CLASSES, label=label, asked=asked)
        assert [(one.name, one.role) for one in picture.class_maps] == [(CLASSES[n], role) for n, role in roles.items()]


def test_more_than_a_browser_opens_is_refused_before_the_model_runs(tmp_path, monkeypatch):
    """With the size that it would have, and what to do; many small pictures as well as a large one."""
    model = create_model("micro")
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("the network ran"))
    for images, message in [
        (np.zeros((1, 3, 224, 224)), "of 224 x 224 pixels would hold 72 MB of weights, more than browsers open"),
        (
            np.zeros((700, 3, 28, 28)),
            r"700 pictures of 28 x 28 pixels would hold 56 MB .* \(50 MB\); make the images",
        ),
    ]:
        with pytest.raises(ValueError, match=message):
            write_maps(tmp_path / "a.html", model, images, names=["a"] * len(images), provenance="Fresh.")
    assert not list(tmp_path.iterdir())


def test_what_is_said_of_pictures_comes_back():
    """Names, classes, the sentence about the weights; the same bytes every time."""
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
def test_how_small_it_is(name, size):
    """At least the weights that attention computes, padding of windows on top; N² where every token saw every other."""
    config = get_config(name)
    stored, dense = stored_numbers(config, *size)
    parts = [part for part in network_costs(config, *size) if part.name.endswith(".attention")]
    stages = [config.stages[int(part.name.split(".")[1])] for part in parts]
    computed = sum(attention_weights(p.cost, s.channels, s.heads) for p, s in zip(parts, stages, strict=True))
    assert stored >= computed
    if size == (224, 224) and name != "micro":  # windows divide
        assert stored == computed
    layouts = config.layout(*size)
    assert dense == sum(
        s.depth * s.heads * (layout.map[0] * layout.map[1]) ** 2
        for s, layout in zip(config.stages, layouts, strict=True)
    )


def test_ways_count_as_in_the_composed_map():
    """The whole numbers of the explorer's formula are the shares of `AttentionMaps.composed`."""
    for counts, shares in ((WAYS, HIERARCHICAL), (PLAIN_WAYS, PLAIN)):
        want = [share for share in shares if share]
        assert [count / sum(counts.values()) for count in counts.values()] == want


def test_a_model_and_images_are_enough(tmp_path):
    """One call to HTML or to data; the network's dtype is its own business."""
    model, images = create_model("micro", in_channels=1), np.random.default_rng(0).random((2, 1, 28, 28))
    for name in ("maps.bin", "maps.html"):
        write_maps(
            tmp_path / name, model, images, names=["a", "b"], provenance="Fresh weights.", normalise=lambda x: 2 * x
        )
    header, (first, _) = decode((tmp_path / "maps.bin").read_bytes())
    assert [picture["name"] for picture in header["pictures"]] == ["a", "b"]
    maps = attention_maps(model, 2 * np_to_torch(images[0]))
    want = maps.weights["stages.1.blocks.0.attention.global_weights"]
    np.testing.assert_allclose(first["stages.1.blocks.0.global"], want, rtol=2**-11)
    data = re.search(r'<script type="application/gzip;base64">(.*?)</script>', (tmp_path / "maps.html").read_text())[1]
    assert base64.b64decode(data) == (tmp_path / "maps.bin").read_bytes()


@pytest.mark.parametrize("suffix", [".html", ".HTML"])
def test_labels_may_be_an_array(tmp_path, suffix):
    """As data sets have them; a page is a page in capitals too."""
    model = create_model("micro", in_channels=1, num_classes=3)
    images = np.random.default_rng(0).random((2, 1, 28, 28))
    path = tmp_path / f"maps{suffix}"
    write_maps(path, model, images, names=["a", "b"], provenance="Fresh.", classes=CLASSES, labels=np.array([2, 0]))
    data = re.search(r'<script type="application/gzip;base64">(.*?)</script>', path.read_text())[1]
    header, _ = decode(base64.b64decode(data))
    assert [picture["label"] for picture in header["pictures"]] == ["<coat>", "ankle boot"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"names": ["a"]}, "1 names are given for 2 images"),
        ({"names": ["a", "b", "c"]}, "3 names are given for 2 images"),
        ({"labels": [1]}, "1 labels are given for 2 images"),
        ({"labels": [0, 3]}, "label 3 of 'b' is not the number of a class: the network has 3, counted from 0"),
        ({"labels": np.array([-1, 0])}, "label -1 of 'a' is not the number of a class"),
        ({"labels": [0, 2], "classes": CLASSES[:2]}, "label 2 of 'b' .* the network has 3, .* and 2 of them are named"),
        ({"labels": [0, 3], "classes": ()}, "label 3 of 'b' .* and none of them are named"),
        ({"images": np.zeros((1, 28, 28))}, r"images must be \(B, C, H, W\), got \(1, 28, 28\)"),
    ],
)
def test_facts_that_do_not_fit_the_images_are_refused_before_the_model_runs(tmp_path, monkeypatch, changed, message):
    """With how many there are, and of which image."""
    model = create_model("micro", in_channels=1, num_classes=3)
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("the network ran"))
    facts = {"images": np.zeros((2, 1, 28, 28)), "names": ["a", "b"], "classes": CLASSES, **changed}
    with pytest.raises(ValueError, match=message):
        write_maps(tmp_path / "a.html", model, provenance="Fresh.", **facts)
    assert not list(tmp_path.iterdir())


def test_maps_of_the_whole_network_are_made_ready_once(monkeypatch):
    """For the header and for the numbers behind it alike."""
    made, whole_maps = [], binary._whole_maps

    def noted(picture, *rest):
        made.append(picture.name)
        return whole_maps(picture, *rest)

    monkeypatch.setattr(binary, "_whole_maps", noted)
    encoded()
    assert made == ["cat", "cat, upside down"]


def test_kinds_are_those_of_figures():
    """One list, in one order, and the script's is the same."""
    kinds = re.search(r"^const KINDS = \{(.*?)\};", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)[1]
    assert tuple(re.findall(r"(\w+):", kinds)) == binary.KINDS
    assert binary.KINDS is subject.KINDS


def np_to_torch(image):
    import torch

    return torch.from_numpy(image).float()


def test_the_page_stands_alone(tmp_path):
    """One script and its hash, which the policy lets run and nothing else; no address; text is escaped."""
    model, pictures = seen("micro")
    path = tmp_path / "explorer.html"
    write_explorer(path, pictures[0], config=model.config, provenance="Random.", title="<b>cats</b>")
    html, script = path.read_text(encoding="utf-8"), SCRIPT.read_text(encoding="utf-8")
    assert html.count(f'<script type="module">{script}</script>') == 1
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html
    assert not [word for word in ("http://", "https://", "@import", "url(", "<link", "<b>cats") if word in html]
    assert "&lt;b&gt;cats&lt;/b&gt;" in html
    assert "</script" not in script.lower()
    assert len(html) < 300_000


def test_an_old_page_outlives_a_failure(tmp_path, monkeypatch):
    """A full disk leaves what was there, and no half page beside it."""
    model, pictures = seen("micro")
    path = tmp_path / "explorer.html"
    path.write_text("old")

    def full_disk(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="no space left"):
        write_explorer(path, pictures, config=model.config, provenance="Random.")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_no_picture_is_refused():
    """With what was given and what is expected."""
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
def test_a_start_that_is_nowhere_is_refused(start, message):
    """As everything that is chosen."""
    with pytest.raises(ValueError, match=message):
        encoded(start=start)


@pytest.mark.parametrize("kind", ["rollout", "class"])
def test_a_start_with_a_map_that_is_not_given_is_refused(kind):
    """Rather than a page that opens with another kind."""
    with pytest.raises(ValueError, match=f"the {kind} map can't be shown first, as 'cat' has none"):
        encoded(start=Start(kind=kind), pictures=[replaced(rollout=None, class_maps=())])
    assert decode(encoded(start=Start(kind=kind)))[0]["start"]["kind"] == kind


def corrupted(data):
    return data[:1000] + bytes(100) + data[1100:]


def test_other_bytes_are_refused():
    """A gzip file of something else."""
    import gzip

    with pytest.raises(ValueError, match="not the data of an attention explorer: it starts with b'whatever'"):
        decode(gzip.compress(b"whatever this is"))


@pytest.mark.parametrize("damage", [lambda data: b"whatever", lambda data: b"", lambda data: data[:2000], corrupted])
def test_no_gzip_or_a_part_of_it_is_refused(damage):
    """As what it is, a wrong value: half a download, or a page with an error instead of the file."""
    with pytest.raises(ValueError, match="not the data of an attention explorer"):
        decode(damage(encoded()))
