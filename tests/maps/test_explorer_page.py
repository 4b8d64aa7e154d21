"""The explorer's page stands alone, and one call writes it from a model and images."""

import numpy as np
import pytest
import torch

from hatnet import create_model
from hatnet.maps import attention_maps
from hatnet.maps.explorer import decode, explorer_script, picture_from_maps, write_explorer, write_maps
from hatnet.maps.explorer.page import FOLDER, PARTS
from tests.maps.small import CLASSES, embedded, photo_of, seen

IMAGES = np.random.default_rng(0).random((2, 1, 28, 28))


@pytest.fixture
def small():
    return create_model("micro", in_channels=1, num_classes=3)


def test_the_requested_class_comes_first():
    model, _ = seen("micro")
    maps = attention_maps(model, torch.from_numpy(photo_of(28, 28)))
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


def test_one_call_writes_maps_from_a_model_and_images(tmp_path, small):
    """To HTML, also with a suffix in capitals, or to data. Labels may be an array, as in data sets."""
    facts = {"names": ["a", "b"], "provenance": "Fresh.", "classes": CLASSES, "labels": np.array([2, 0])}
    for name in ("maps.bin", "maps.html", "capitals.HTML"):
        write_maps(tmp_path / name, small, IMAGES, **facts, normalise=lambda x: 2 * x)
    data = (tmp_path / "maps.bin").read_bytes()
    header, (first, _) = decode(data)
    about = [(picture["name"], picture["label"]) for picture in header["pictures"]]
    assert about == [("a", "<coat>"), ("b", "ankle boot")]
    maps = attention_maps(small, 2 * torch.from_numpy(IMAGES[0]).float())
    want = maps.weights["stages.1.blocks.0.attention.global_weights"]
    np.testing.assert_allclose(first["stages.1.blocks.0.global"], want, rtol=2**-11)
    for name in ("maps.html", "capitals.HTML"):
        assert embedded((tmp_path / name).read_text())[0] == data


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
        ({"images": np.zeros((2, 1, 224, 224))}, "of 224 x 224 pixels would hold 1.. MB of weights, more than brow"),
        ({"images": np.zeros((2, 1, 4000, 28))}, "of 28 x 4000 pixels would hold .* MB of weights"),
        ({"images": np.zeros((700, 1, 28, 28))}, r"700 pictures of 28 x 28 .* 56 MB .* \(50 MB\); make the images"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_model_runs(tmp_path, monkeypatch, small, changed, message):
    monkeypatch.setattr(type(small), "forward", lambda *_: pytest.fail("the network ran"))
    facts = {"images": IMAGES, "names": ["a", "b"], "classes": CLASSES, **changed}
    with pytest.raises(ValueError, match=message):
        write_maps(tmp_path / "a.html", small, provenance="Fresh.", **facts)
    assert not list(tmp_path.iterdir())


def test_the_page_loads_nothing_and_runs_one_script(tmp_path):
    """The test of the report checks the policy of such pages."""
    model, pictures = seen("micro")
    path = tmp_path / "explorer.html"
    write_explorer(path, pictures[0], config=model.config, provenance="Random.", title="<b>cats</b>")
    html, script = path.read_text(encoding="utf-8"), explorer_script()
    assert html.count(f'<script type="module">{script}</script>') == 1
    assert not [word for word in ("http://", "https://", "@import", "url(", "<link", "<b>cats") if word in html]
    assert html.count("&lt;b&gt;cats&lt;/b&gt;") == 2  # in the title and in the heading
    write_explorer(path, pictures, config=model.config, provenance="Random.")
    named = path.read_text(encoding="utf-8")
    assert "<title>What HAT-Net Micro looks at</title>" in named
    assert "<h1>What HAT-Net Micro looks at</h1>" in named
    assert "</script" not in script.lower()
    assert len(html) < 300_000


def test_the_script_consists_of_all_its_files():
    assert sorted(PARTS) == sorted(path.stem for path in (FOLDER / "script").glob("*.js"))
