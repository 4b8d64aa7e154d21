"""`hatnet attention` writes figures and an explorer from an image, and refuses bad input before any work."""

from functools import partial
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

import hatnet
from hatnet.data.photo import read_picture, to_image
from hatnet.equivalence import randomise
from hatnet.maps import attention_maps
from hatnet.maps.figure import draw
from hatnet.maps.map_selection import KINDS, MapSelection
from hatnet.weights.checkpoints import write
from hatnet.weights.source import find_source
from tests.core.authors import state_dict
from tests.images import write_image
from tests.maps.small import embedded

SMALL = ("--variant", "micro", "--size", 28)
BIG = ("--size", 600, "--memory", 0.5, "--out", "a.png", "--kind")


@pytest.fixture
def run(hatnet_command, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return partial(hatnet_command, "attention")


@pytest.fixture
def written(run, tmp_path):

    def write(*arguments):
        status, out, err = run(*arguments)
        assert status == 0, err
        return " ".join(out.split()), sorted(path.name for path in tmp_path.iterdir())

    return write


def test_one_command_writes_two_figures_and_an_explorer_and_prints_their_paths(written, tmp_path):
    image = write_image(tmp_path / "mine.png")
    out, files = written(image, "--variant", "micro", "--size", 30, "--query", "29,0")
    figure, drawing, page = paths = [tmp_path / f"mine-attention{suffix}" for suffix in (".png", ".svg", ".html")]
    assert out.endswith(" ".join(map(str, paths)))
    assert files == sorted(path.name for path in (image, *paths))
    assert "stage 1, block 1, token (0, 7) at pixel 29,0" in out
    assert "Random weights (seed 0)" in out
    with Image.open(figure) as drawn:
        assert min(drawn.size) > 800
    assert ElementTree.fromstring(drawing.read_text()).tag.endswith("svg")
    assert "<attention-explorer>" in page.read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_can_be_drawn_alone_and_opens_the_explorer(written, tmp_path, kind):
    written("--variant", "micro", "--size", 29, "--kind", kind, "--label", 3, "--out", "why")
    with Image.open(tmp_path / "why.png") as figure:
        assert figure.width > figure.height
    _, header, (arrays,) = embedded((tmp_path / "why.html").read_text())
    assert header["start"]["kind"] == kind
    maps = [(one["kind"], one.get("name"), one.get("role")) for one in header["pictures"][0]["maps"]]
    assert maps[:2] == [("rollout", None, None), ("class", "class 3", "the class asked for")]
    source = find_source(variant="micro")
    pixels = to_image(read_picture(None, 3, 29, square=True), source.mean, source.std)
    want = attention_maps(source.model, pixels.float()).class_map(3)
    np.testing.assert_allclose(arrays["class.0"], want, rtol=2e-3, atol=1e-6 * want.max())


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("F.PNG", {"F.PNG": b"\x89PNG"}),
        ("f.Svg", {"f.Svg": b"<?xml"}),
        ("f.HTML", {"f.HTML": b"<!doctype html>"}),
        ("v1.2", {"v1.2.html": b"<!doctype html>", "v1.2.png": b"\x89PNG", "v1.2.svg": b"<?xml"}),
    ],
)
def test_the_suffix_chooses_the_files_also_in_capitals_and_after_another_full_stop(written, tmp_path, name, files):
    assert written(*SMALL, "--kind", "local", "--out", name)[1] == sorted(files)
    assert all((tmp_path / each).read_bytes().startswith(start) for each, start in files.items())


def test_a_class_map_is_described_without_query_stage_and_token(written):
    out, _ = written(*SMALL, "--kind", "class", "--out", "why.png")
    assert "shown as 28 x 28 pixels, the square in its middle (--no-square keeps all) Random weights" in out
    maps = attention_maps(hatnet.create_model("micro").eval(), torch.rand(3, 28, 28))
    for kinds, spoken in ((("class",), False), (("rollout", "class"), True)):
        words = draw(maps, np.zeros((28, 28)), MapSelection(1, 0, (4, 2), kinds=kinds), "Weights.").texts[-1].get_text()
        assert "Image of 28 x 28 pixels." in words
        assert ("Stage 1, counted from 0: 7 x 7 tokens of 4 x 4 pixels" in words.replace("\n", " ")) == spoken
        assert ("Rollout: from the query" in words) == spoken  # the explorer shows that of the whole network instead


def test_the_advice_about_memory_works(run, written):
    arguments = ("--variant", "micro", "--size", 112, "--memory", 0.02)
    for kind, out in (("class", "a.png"), ("composed", "a.html")):
        assert "only class maps and explorers need gradients" in run(*arguments, "--kind", kind, "--out", out)[2]
    for kind in ("composed", "rollout"):
        written(*arguments, "--kind", kind, "--out", "figure.png")


def test_the_same_arguments_give_the_same_files(written, tmp_path):
    for name in ("a.svg", "b.svg"):
        written(*SMALL, "--out", name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_weights_of_ours_of_the_authors_and_of_the_package_work(written, tmp_path):
    model = hatnet.create_model("micro", in_channels=1, num_classes=3)
    randomise(model)
    about = {"data": "shapes", "classes": ["disc", "ring", "star"], "mean": [0.2], "std": [0.1], "image_size": 28}
    hatnet.save(model, tmp_path / "ours.safetensors", {**about, "test_accuracy": 0.5})
    (tmp_path / "run").mkdir()
    hatnet.save(model, tmp_path / "run" / "last.safetensors")
    torch.save({"model": state_dict("tiny")}, tmp_path / "HAT-Net_Tiny.pth")
    image = write_image(tmp_path / "grey.png", (28, 28), "L")
    out, _ = written(image, "--weights", tmp_path / "ours.safetensors", "--label", "ring", "--out", "a.png")
    assert "28 x 28 pixels" in out
    assert "trained on shapes: right on 50.0% of its test images." in out
    written(image, "--weights", tmp_path / "run", "--out", "a.png")
    out, _ = written("--weights", tmp_path / "HAT-Net_Tiny.pth", "--size", 64, "--stage", 3, "--out", "b.html")
    assert "Weights of the authors' file HAT-Net_Tiny.pth." in out
    out, _ = written(image, "--weights", "fashion-mnist", "--out", "c.png")
    assert "HAT-Net Micro on grey.png, shown as 28 x 28" in out


def test_an_image_that_is_not_cropped_keeps_its_shape(written, tmp_path):
    image = write_image(tmp_path / "wide.png", (90, 45))
    assert read_picture(image, channels=3, size=30, square=False).shape == (30, 60, 3)
    out, _ = written(image, "--variant", "micro", "--size", 30, "--no-square", "--query", "59,29")
    assert "shown as 60 x 30 pixels; " in out
    out, _ = written(image, "--variant", "micro", "--size", 30, "--out", "a.png")
    assert "shown as 30 x 30 pixels, the square in its middle" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--query", "64,0"], "the query 64,0 lies outside the image of 64 x 64 pixels: X goes from 0 to 63"),
        (["--query", "12"], "--query '12' must be two whole numbers X,Y in pixels, such as 120,96"),
        (["--query", "a,b"], "--query 'a,b' must be two whole numbers"),
        (["--query", "1,2,3"], "--query '1,2,3' must be two whole numbers"),
        (["--stage", 3], "there is no stage 3: the network has 3, counted from 0"),
        (["--stage", 0, "--block", 2], "there is no block 2: stage 0 has 2, counted from 0"),
        (["--stage", 0, "--head", 1], "there is no head 1: stage 0 has 1, counted from 0"),
        (["--stage", 2, "--kind", "local"], "stage 2 has no windows: its attention is plain, ask for global"),
        (["--kind", "globe"], "invalid choice 'globe'"),
        (["--label", "cat"], "unknown class 'cat'; the names are not known here, give a number"),
        (["--label", "10"], "there is no class 10: the network has 10, counted from 0"),
        (["--size", 4], "image of 4 x 4 pixels is too small"),
        (["--size", 0], "size=0 must be a whole number from 1 to 4096"),
        (["--size", 224], "would hold 72 MB of weights, more than browsers open (50 MB); give a smaller --size"),
        ([*BIG, "local"], "in stage 0, but the limit is 0.5 GiB; give a smaller --size, or a larger --memory\n"),
        ([*BIG, "all"], "weights, their gradients and the maps kept for them of 1 image of 600 x 600 pixels take"),
        ([*BIG, "class"], "need gradients, --kind composed --out figure.png does without"),
        ([*BIG, "local", "--size", 3000], "GiB, the largest part in stage 0"),
        (["--kind", "rollout", "--head", 0], "--kind rollout combines all heads, so --head 0 cannot be shown"),
        (["--kind", "class", "--query", "5,5", "--stage", 0], "leave out --query 5,5, --stage 0"),
        (["--kind", "class", "--block", 0], "has no query, stage, block or head; leave out --block 0"),
        (["--kind", "class", "--head", 0], "has no query, stage, block or head; leave out --head 0"),
        (["--memory", 0], "memory=0.0 must be a finite number of GiB above 0"),
        (["--memory", "inf"], "memory=inf must be a finite number of GiB above 0"),
        (["--memory", "nan"], "memory=nan must be a finite number of GiB above 0"),
        (["--memory", "1e300"], "memory=1e+300 must be a finite number of GiB above 0"),
        (["--out", "figure.pdf"], "figure.pdf cannot be written: give --out a name with .png or .svg for the figure"),
        (["--out", "page.HTM"], "page.HTM cannot be written"),
        (["--out", "photo.JPEG"], "photo.JPEG cannot be written"),
        (["--out", "nowhere/x"], "no folder nowhere to write x to; create it first"),
        (["--out", "."], ". is a folder; give --out a name in it, such as attention"),
        (["--device", "abacus"], "device 'abacus' can"),
        (["--seed", -1], "seed=-1 must be a whole number of at least 0"),
        (["--weights", "fashion"], "no checkpoint file at fashion, did you mean 'fashion-mnist'?; weights that come"),
        (["--pretrained", "fashion-mnist", "--checkpoint", "x.pth"], "--pretrained and --checkpoint all choose"),
        (["--weights", "~nobody-of-that-name/x.pth"], "there is no such home folder"),
        (["--size", 999999], "size=999999 must be a whole number from 1 to 4096"),
        (["--size", -3], "size=-3 must be a whole number from 1 to 4096"),
        (["--background", "blurple"], "background='blurple' must be an opaque colour such as white"),
        (["--background", "#ff000080"], "background='#ff000080' must be an opaque colour"),
        (["--device", "meta"], "device 'meta' can"),
        (["--grid-sizes", 4], "grid_sizes=(4,) must have 2 entries for 3 stages"),
        (["--pool-sizes", 4, 0], "pool_sizes=(4, 0) must be whole numbers of at least 1"),
        (["--weights", "none.pth"], "no checkpoint file at none.pth"),
        (["none.jpg"], "no image file at none.jpg"),
    ],
)  # fmt: skip
def test_bad_input_is_named_before_the_network_runs(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(hatnet.HATNet, "forward", lambda *_: pytest.fail("the network ran"))
    status, out, err = run("--variant", "micro", *arguments)
    assert status == 2
    assert message in err + out
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_files_of_the_wrong_kind_are_named(run, tmp_path):
    broken = hatnet.create_model("micro")
    with torch.no_grad():
        broken.stages[1].blocks[0].attention.local_attention.qkv.weight.fill_(torch.nan)
    for name, model in {
        "nan": broken,
        "ours": hatnet.create_model("micro"),
        "four": hatnet.create_model("micro", in_channels=4),
    }.items():
        write(model, tmp_path / f"{name}.safetensors")
    torch.save({"layer.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    (tmp_path / "notes.png").write_text("not an image")
    for arguments, message in (
        (["notes.png"], "notes.png cannot be read as an image"),
        (["--weights", "ours.safetensors", "--variant", "tiny"], "holds 'micro', not 'tiny'; leave --variant out"),
        (["--weights", "other.pth"], "other.pth is not a checkpoint of HAT-Net"),
        (["--weights", "four.safetensors"], "takes 4 channels; an image file gives 1 (grey) or 3 (colour)"),
        (
            ["--weights", "nan.safetensors"],
            "NaN or infinity in stages.1.blocks.0.attention.local_attention.qkv.weight",
        ),
    ):
        status, _, err = run(*arguments, "--out", "drawn.png")
        assert (status, message in err) == (2, True), err
    assert not (tmp_path / "drawn.png").exists()


def test_no_input_is_ever_overwritten(run, tmp_path):
    image = write_image(tmp_path / "mine.png")
    before = image.read_bytes()
    for out in ("mine", "mine.png", tmp_path / "." / "mine.png"):
        status, _, err = run(image, "--variant", "micro", "--out", out)
        assert (status, "would overwrite the file it is made from" in err) == (2, True)
    assert image.read_bytes() == before
