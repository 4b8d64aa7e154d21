"""The explorer's page stands alone, and one call writes it from a model and images."""

import base64
import hashlib
import os
import re

import numpy as np
import pytest

from hatnet import create_model
from hatnet.data.photo import load_photo
from hatnet.maps import attention_maps
from hatnet.maps.explorer import decode, explorer_script, picture_from_maps, write_explorer, write_maps
from hatnet.maps.explorer.page import FOLDER, PARTS
from tests.maps.explorers import CLASSES, seen, torch_of


def test_the_requested_class_comes_first():
    """Each class map has its reason."""
    model, _ = seen("micro")
    maps = attention_maps(model, torch_of(load_photo(size=28)).double())
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
        picture = picture_from_maps(maps, np.zeros((28, 28)), "x", classes=CLASSES, label=label, asked=asked)
        assert [(one.name, one.role) for one in picture.class_maps] == [(CLASSES[n], role) for n, role in roles.items()]


def test_more_than_browsers_open_is_refused_before_the_model_runs(tmp_path, monkeypatch):
    """The error gives the size and what to do; for many small pictures and for a large one."""
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


def test_one_call_writes_maps_from_a_model_and_images(tmp_path):
    """To HTML or to data, whatever the dtype of the network."""
    model, images = create_model("micro", in_channels=1), np.random.default_rng(0).random((2, 1, 28, 28))
    for name in ("maps.bin", "maps.html"):
        write_maps(
            tmp_path / name, model, images, names=["a", "b"], provenance="Fresh weights.", normalise=lambda x: 2 * x
        )
    header, (first, _) = decode((tmp_path / "maps.bin").read_bytes())
    assert [picture["name"] for picture in header["pictures"]] == ["a", "b"]
    maps = attention_maps(model, 2 * torch_of(images[0]))
    want = maps.weights["stages.1.blocks.0.attention.global_weights"]
    np.testing.assert_allclose(first["stages.1.blocks.0.global"], want, rtol=2**-11)
    data = re.search(r'<script type="application/gzip;base64">(.*?)</script>', (tmp_path / "maps.html").read_text())[1]
    assert base64.b64decode(data) == (tmp_path / "maps.bin").read_bytes()


@pytest.mark.parametrize("suffix", [".html", ".HTML"])
def test_labels_may_be_an_array(tmp_path, suffix):
    """As in data sets. A suffix in capitals works too."""
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
def test_names_and_labels_that_do_not_fit_are_refused_before_the_model_runs(tmp_path, monkeypatch, changed, message):
    """The error gives the numbers and the image."""
    model = create_model("micro", in_channels=1, num_classes=3)
    monkeypatch.setattr(type(model), "forward", lambda *_: pytest.fail("the network ran"))
    facts = {"images": np.zeros((2, 1, 28, 28)), "names": ["a", "b"], "classes": CLASSES, **changed}
    with pytest.raises(ValueError, match=message):
        write_maps(tmp_path / "a.html", model, provenance="Fresh.", **facts)
    assert not list(tmp_path.iterdir())


def test_the_page_loads_nothing_and_runs_one_script(tmp_path):
    """The policy allows the script by its hash and nothing else; there is no address; text is escaped."""
    model, pictures = seen("micro")
    path = tmp_path / "explorer.html"
    write_explorer(path, pictures[0], config=model.config, provenance="Random.", title="<b>cats</b>")
    html, script = path.read_text(encoding="utf-8"), explorer_script()
    assert html.count(f'<script type="module">{script}</script>') == 1
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html
    assert "default-src 'none'" in html
    assert not [word for word in ("http://", "https://", "@import", "url(", "<link", "<b>cats") if word in html]
    assert "&lt;b&gt;cats&lt;/b&gt;" in html
    assert "</script" not in script.lower()
    assert len(html) < 300_000


def test_an_old_page_survives_a_failed_write(tmp_path, monkeypatch):
    """A full disk leaves the old page, and no half page beside it."""
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


def test_the_script_consists_of_all_its_files():
    assert sorted(PARTS) == sorted(path.stem for path in (FOLDER / "script").glob("*.js"))
