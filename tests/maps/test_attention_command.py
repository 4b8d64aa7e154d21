"""`hatnet attention`: from an image to figures and an explorer, and errors before any work."""

import io
import re
import sys
from base64 import b64decode
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

import hatnet
from hatnet.cli.main import main
from hatnet.data.photo import load_photo, normalise
from hatnet.data.picture import read_picture, shown_size, to_image
from hatnet.equivalence import randomise
from hatnet.maps import attention_maps
from hatnet.maps.explorer import decode
from hatnet.maps.figure import COLOURS, GREY, OPACITY, draw, save
from hatnet.maps.map_selection import KINDS, Subject
from hatnet.weights.source import find_source
from tests.core.authors import state_dict


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Exit status, standard output and standard error of `hatnet attention ARGUMENTS`, run in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def hatnet_attention(*arguments):
        monkeypatch.setattr(sys, "argv", ["hatnet", "attention", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capsys.readouterr()
        return status, out, err

    return hatnet_attention


def an_image(path, size=(40, 30), mode="RGB"):
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], len(mode)), dtype=np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(path)
    return path


def test_one_command_gives_a_figure_twice_and_an_explorer_and_prints_where(run, tmp_path):
    status, out, _ = run(an_image(tmp_path / "mine.png"), "--variant", "micro", "--size", 30, "--query", "29,0")
    assert status == 0
    written = [Path(line) for line in out.splitlines()[-3:]]
    assert written == [tmp_path / f"mine-attention{suffix}" for suffix in (".png", ".svg", ".html")]
    assert "stage 1, block 1, token (0, 7) at pixel 29,0" in out
    assert "Random weights (seed 0)" in out
    with Image.open(written[0]) as figure:
        assert min(figure.size) > 800
    assert ElementTree.fromstring(written[1].read_text()).tag.endswith("svg")
    page = written[2].read_text()
    assert "<attention-explorer>" in page
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["mine.png", *(path.name for path in written)])


@pytest.mark.parametrize("kind", KINDS)
def test_the_explorer_opens_on_the_kind_that_is_asked_for(run, tmp_path, kind):
    status, _, err = run("--variant", "micro", "--size", 28, "--kind", kind, "--label", 3, "--out", "why.html")
    assert status == 0, err
    data = re.search(r'<script type="application/gzip;base64">(.*?)</script>', (tmp_path / "why.html").read_text())[1]
    header, (arrays,) = decode(b64decode(data))
    assert header["start"]["kind"] == kind
    maps = [(one["kind"], one.get("name"), one.get("role")) for one in header["pictures"][0]["maps"]]
    assert maps[:2] == [("rollout", None, None), ("class", "class 3", "the class asked for")]
    source = find_source(variant="micro")
    pixels = to_image(read_picture(None, 3, 28, square=True), source.mean, source.std)
    want = attention_maps(source.model, pixels.float()).class_map(3)
    np.testing.assert_allclose(arrays["class.0"], want, rtol=2e-3, atol=1e-6 * want.max())


@pytest.mark.parametrize(
    ("name", "start"), [("F.PNG", b"\x89PNG"), ("f.Svg", b"<?xml"), ("f.HTML", b"<!doctype html>")]
)
def test_a_suffix_in_capitals_is_that_suffix(run, tmp_path, name, start):
    status, _, err = run("--variant", "micro", "--size", 28, "--kind", "local", "--out", name)
    assert status == 0, err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_name_with_a_full_stop_gets_all_three_suffixes(run, tmp_path):
    assert run("--variant", "micro", "--size", 28, "--out", "v1.2")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v1.2.html", "v1.2.png", "v1.2.svg"]


def test_what_the_map_of_a_class_does_not_have_is_not_spoken_of(run):
    """No query, so no stage and no token, in the command's words and in the figure's."""
    status, out, err = run("--variant", "micro", "--size", 28, "--kind", "class", "--out", "why.png")
    assert status == 0, err
    assert "shown as 28 x 28 pixels, the square in its middle (--no-square keeps all)\n" in out
    maps = attention_maps(hatnet.create_model("micro").eval(), torch.rand(3, 28, 28))
    for kinds, spoken in ((("class",), False), (("rollout", "class"), True)):
        words = draw(maps, np.zeros((28, 28)), Subject(1, 0, (4, 2), kinds=kinds), "Weights.").texts[-1].get_text()
        assert "Image of 28 x 28 pixels." in words
        assert ("Stage 1, counted from 0: 7 x 7 tokens of 4 x 4 pixels" in words.replace("\n", " ")) == spoken
        assert ("Rollout: from the query" in words) == spoken  # an explorer's is of the whole network


def test_the_memory_that_the_command_refuses_is_what_its_advice_does_without(run):
    """Gradients are for class maps and for explorers, which hold some."""
    arguments = ("--variant", "micro", "--size", 112, "--memory", 0.02)
    for kind, out in (("class", "a.png"), ("composed", "a.html")):
        assert "only class maps and explorers need gradients" in run(*arguments, "--kind", kind, "--out", out)[2]
    for kind in ("composed", "rollout"):
        status, _, err = run(*arguments, "--kind", kind, "--out", "figure.png")
        assert status == 0, err


def test_the_same_arguments_give_the_same_files(run, tmp_path):
    names = ("a.svg", "b.svg")
    for name in names:
        status, _, err = run("--variant", "micro", "--size", 28, "--out", name)
        assert status == 0, err
    assert (tmp_path / names[0]).read_bytes() == (tmp_path / names[1]).read_bytes()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_drawn_alone(run, tmp_path, kind):
    assert run("--variant", "micro", "--size", 29, "--kind", kind, "--out", "one.png")[0] == 0
    with Image.open(tmp_path / "one.png") as figure:
        assert figure.width > figure.height


def test_weights_of_ours_of_the_authors_and_of_the_package_are_taken(run, tmp_path):
    model = hatnet.create_model("micro", in_channels=1, num_classes=3)
    randomise(model)
    about = {"data": "shapes", "classes": ["disc", "ring", "star"], "mean": [0.2], "std": [0.1], "image_size": 28}
    hatnet.save(model, tmp_path / "ours.safetensors", {**about, "test_accuracy": 0.5})
    (tmp_path / "run").mkdir()
    hatnet.save(model, tmp_path / "run" / "last.safetensors")
    image = an_image(tmp_path / "grey.png", (28, 28), "L")
    status, out, _ = run(image, "--checkpoint", tmp_path / "ours.safetensors", "--label", "ring", "--out", "a.png")
    assert status == 0
    assert "28 x 28 pixels" in out
    assert run(image, "--checkpoint", tmp_path / "run", "--out", "a.png")[0] == 0
    assert "trained on shapes: right on 50.0% of its test images." in out
    torch.save({"model": state_dict("tiny")}, tmp_path / "HAT-Net_Tiny.pth")
    status, out, _ = run("--checkpoint", tmp_path / "HAT-Net_Tiny.pth", "--size", 64, "--stage", 3, "--out", "b.html")
    assert (status, "Weights of the authors' file HAT-Net_Tiny.pth." in out) == (0, True)
    status, out, _ = run(image, "--pretrained", "fashion-mnist", "--out", "c.png")
    assert (status, "HAT-Net Micro on grey.png, shown as 28 x 28" in out) == (0, True)


def test_what_training_noted_decides_how_pixels_are_normalised(tmp_path):
    picture = read_picture(an_image(tmp_path / "grey.png", (28, 28), "L"), channels=1, size=28, square=True)
    with Image.open(tmp_path / "grey.png") as stored:
        assert np.array_equal(picture * 255, np.asarray(stored, dtype=float))  # pixels that fit are left alone
    image = to_image(picture, mean=(0.25,), std=(0.5,))
    assert torch.equal(image, torch.from_numpy((picture[None] - 0.25) / 0.5))
    random = find_source()
    colour = read_picture(None, channels=3, size=64, square=True)
    assert np.array_equal(colour.transpose(2, 0, 1), load_photo(size=64))
    assert np.allclose(to_image(colour, random.mean, random.std), normalise(load_photo(size=64)), atol=1e-15)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_of_16_bits_is_as_bright_as_the_same_in_8(tmp_path, channels):
    eight = np.random.default_rng(2).integers(0, 256, (28, 28), dtype=np.uint8)
    Image.fromarray(eight).save(tmp_path / "8.png")
    Image.fromarray(eight.astype(np.uint16) * 257).save(tmp_path / "16.png")
    want, found = (read_picture(tmp_path / f"{bits}.png", channels, 28, square=True) for bits in (8, 16))
    assert np.array_equal(want, found)


def test_pixels_whose_white_is_not_known_are_refused(tmp_path):
    Image.fromarray(np.linspace(-1, 1, 784, dtype=np.float32).reshape(28, 28)).save(tmp_path / "map.tiff")
    with pytest.raises(ValueError, match=r"map.tiff can't be read as an image: its pixels \(mode F\) go from -1 to 1"):
        read_picture(tmp_path / "map.tiff", 1, 28, square=True)


@pytest.mark.parametrize("kind", ["jpg", "png", "tiff"])
@pytest.mark.parametrize(("orientation", "size"), [(1, (20, 30)), (3, (20, 30)), (6, (30, 20)), (9, (20, 30))])
def test_the_size_is_known_before_the_image_is_read(tmp_path, kind, orientation, size):
    photo = Image.new("RGB", (30, 20))
    photo.getexif()[0x0112] = orientation
    photo.save(tmp_path / f"photo.{kind}", exif=photo.getexif())
    assert shown_size(tmp_path / f"photo.{kind}", 20, square=False) == size
    assert read_picture(tmp_path / f"photo.{kind}", 3, 20, square=False).shape[:2] == size


def test_32_bits_that_use_no_more_than_8_are_refused(tmp_path):
    """White may be 255 or 65535, so the picture may be bright or black."""
    Image.fromarray(np.full((28, 28), 200, dtype=np.int32)).save(tmp_path / "map.tiff")
    with pytest.raises(ValueError, match=r"its pixels \(mode I\) go from 200 to 200, and which is white is not known"):
        read_picture(tmp_path / "map.tiff", 1, 28, square=True)


def test_weights_that_are_not_finite_are_named_and_nothing_is_drawn(run, tmp_path):
    model = hatnet.create_model("micro")
    with torch.no_grad():
        model.stages[1].blocks[0].attention.local_attention.qkv.weight.fill_(torch.nan)
    hatnet.save(model, tmp_path / "nan.safetensors")
    status, _, err = run("--checkpoint", tmp_path / "nan.safetensors", "--out", "nan.png")
    assert status == 2
    assert "stages.1.blocks.0.attention.local_weights is not finite for this image" in err
    assert not (tmp_path / "nan.png").exists()


def test_a_title_names_a_head_only_where_all_maps_below_are_that_heads():
    model = hatnet.create_model("micro").eval()
    picture = read_picture(None, channels=3, size=28, square=True)
    maps = attention_maps(model, to_image(picture, (0.5,) * 3, (0.5,) * 3).float())
    titles = {
        kinds: draw(maps, picture, Subject(1, 0, (3, 4), 1, kinds=kinds), "Random.").get_suptitle()
        for kinds in (("local",), ("global", "composed"), ("rollout",), KINDS)
    }
    assert ["head 1" in title for title in titles.values()] == [True, True, False, False]


def test_a_whole_image_keeps_its_shape_and_is_drawn_in_it(run, tmp_path):
    assert read_picture(an_image(tmp_path / "wide.png", (90, 45)), channels=3, size=30, square=False).shape == (
        30,
        60,
        3,
    )
    status, out, err = run(tmp_path / "wide.png", "--variant", "micro", "--size", 30, "--no-square", "--query", "59,29")
    assert status == 0, err
    assert "shown as 60 x 30 pixels; " in out
    assert "shown as 30 x 30 pixels, the square in its middle" in run(
        tmp_path / "wide.png", "--variant", "micro", "--size", 30, "--out", "a.png"
    )[1].replace("\n", " ")


def test_the_figure_names_what_it_shows_and_where_the_weights_are_from():
    model = hatnet.create_model("micro").eval()
    picture = read_picture(None, channels=3, size=28, square=True)
    maps = attention_maps(model, to_image(picture, (0.5,) * 3, (0.5,) * 3).float())
    figure = draw(
        maps, picture, Subject(0, 1, (3, 4)), "Random weights, for a test.", classes=[f"c{n}" for n in range(10)]
    )
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[:6] == [
        "Image, with the query and its window",
        "Local: its window, 8 x 8 tokens",
        "Global: 4 x 4 merged cells",
        f"Composed: this block, {maps.composed(0, 1, (3, 4))[3, 4]:.0%} from itself",
        "Rollout: through 2 blocks to the stem",
        f"For “c{maps.logits.argmax()}”, whole network, no query",
    ]
    assert "Random weights, for a test." in figure.texts[-1].get_text()
    assert "Random weights, for a test." in figure.get_label()
    shares = ["weight in %, by token", "weight in %, by cell", "share in %, by token", "share in %, by stem token"]
    assert [axes.get_ylabel() for axes in figure.axes[6:]] == [*shares, "relevance in %, by stem token"]


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (Subject(9, 0, (0, 0)), "there is no stage 9: the network has 3, counted from 0"),
        (Subject(-1, 0, (0, 0)), "there is no stage -1"),
        (Subject(0, 2, (0, 0)), "there is no block 2: stage 0 has 2"),
        (Subject(0, 0, (0, 0), head=1), "there is no head 1: stage 0 has 1"),
        (Subject(0, 0, (14, 0), kinds=["class"]), r"token \(14, 0\) is not on the map of stage 0"),
        (Subject(0, 0, (0, 0), label=10), "there is no class 10: the network has 10"),
        (Subject(0, 0, (0, 0), kinds=["near"]), "kind 'near' is not known"),
    ],
)
def test_a_figure_of_what_is_not_there_is_refused_before_any_map_is_computed(monkeypatch, subject, message):
    maps = attention_maps(hatnet.create_model("micro").eval(), torch.zeros(3, 28, 28))
    for kind in ("local", "global_", "composed", "rollout", "class_map"):
        monkeypatch.setattr(type(maps), kind, lambda *_: pytest.fail("a map was computed"))
    with pytest.raises(ValueError, match=message):
        draw(maps, np.zeros((28, 28)), subject, "Weights.")
    if subject.stage not in range(3):
        with pytest.raises(ValueError, match=message):
            subject.shown(maps.layouts)


def test_a_figure_of_a_token_from_an_array_is_that_of_the_token():
    """As `unravel_index` and `argwhere` give it."""
    maps = attention_maps(hatnet.create_model("micro").eval(), torch.zeros(3, 28, 28))
    one, other = (
        draw(maps, np.zeros((28, 28)), Subject(1, 0, query, kinds=["composed"]), "Weights.")
        for query in ((4, 2), np.array([4, 2]))
    )
    assert one.axes[1].get_title() == other.axes[1].get_title()
    assert one.axes[1].images[1].norm.vmax == other.axes[1].images[1].norm.vmax


def test_a_window_at_the_border_is_drawn_as_large_as_it_is():
    """D6: 7 x 7 tokens in windows of 4 x 4 leave 3 x 4 at the bottom."""
    maps = attention_maps(hatnet.create_model("micro").eval(), torch.zeros(3, 28, 28))
    figure = draw(maps, np.zeros((28, 28)), Subject(1, 0, (4, 2), kinds=["local"]), "Weights.")
    assert figure.axes[1].get_title() == "Local: its window, 3 x 4 tokens"
    assert (figure.axes[1].get_xlim(), figure.axes[1].get_ylim()) == ((0, 16), (28, 16))


def test_colours_in_an_svg_are_those_of_the_bar(tmp_path):
    """The largest weight has the last colour of the bar over grey; matplotlib may apply an opacity twice."""
    maps = attention_maps(hatnet.create_model("micro").eval(), torch.zeros(3, 28, 28))
    save(draw(maps, np.zeros((28, 28)), Subject(1, 0, (4, 2), kinds=["global"]), "Weights."), tmp_path / "a.svg")
    _, panel, _ = ElementTree.parse(tmp_path / "a.svg").iter("{http://www.w3.org/2000/svg}image")
    data = panel.get("{http://www.w3.org/1999/xlink}href").partition("base64,")[2]
    with Image.open(io.BytesIO(b64decode(data))) as drawn:
        pixels = np.asarray(drawn.convert("RGB"), dtype=float)
    want = 255 * (OPACITY * np.array(matplotlib.colormaps[COLOURS](1.0)[:3]) + (1 - OPACITY) * GREY)
    assert np.abs(pixels - want).max(axis=2).min() < 2  # of 255, for rounding


def test_what_is_drawn_is_the_map(tmp_path):
    """Each panel's image holds the numbers of the API, in per cent."""
    model = hatnet.create_model("micro").eval()
    picture = read_picture(None, channels=3, size=28, square=True)
    maps = attention_maps(model, to_image(picture, (0.5,) * 3, (0.5,) * 3).float())
    figure = draw(maps, picture, Subject(1, 0, (3, 4), head=1, label=2), "Weights.")
    drawn = [axes.images[1].get_array() for axes in figure.axes[1:6]]
    relevance = maps.class_map(2)
    for got, want in zip(
        drawn,
        (
            maps.local(1, 0, (3, 4), head=1),
            maps.global_(1, 0, (3, 4), head=1),
            maps.composed(1, 0, (3, 4), head=1),
            maps.rollout(1, 0, (3, 4)),
            relevance / relevance.sum(),
        ),
        strict=True,
    ):
        assert np.asarray(got) == pytest.approx(100 * want, rel=1e-6)  # float32
    save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000


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
        (["--label", "cat"], "unknown class 'cat'; no names are known here, give its number"),
        (["--label", "10"], "there is no class 10: the network has 10, counted from 0"),
        (["--size", 4], "image of 4 x 4 pixels is too small"),
        (["--size", 0], "size=0 must be at least 1 pixel"),
        (
            ["--size", 600, "--memory", 0.5, "--kind", "local", "--out", "a.png"],
            "in stage 0, but the limit is 0.5 GiB; give a smaller --size, or a larger --memory\n",
        ),
        (["--size", 224], "would hold 72 MB of weights, more than browsers open (50 MB); give a smaller --size"),
        (
            ["--size", 300, "--memory", 0.5, "--out", "a.png"],
            "the attention weights, their gradients and the maps kept for them of 1 image of 300 x 300 pixels take",
        ),
        (
            ["--size", 300, "--memory", 0.5, "--kind", "class", "--out", "a.png"],
            "only class maps and explorers need gradients, --kind composed --out figure.png does without",
        ),
        (["--size", 30000, "--kind", "local", "--out", "a.png"], "GiB, the largest part in stage 0"),
        (["--kind", "rollout", "--head", 0], "--kind rollout is of all heads together, so --head 0 can't be shown"),
        (["--kind", "class", "--query", "5,5", "--stage", 0], "leave out --query 5,5, --stage 0"),
        (["--kind", "class", "--block", 0], "has no query, stage, block or head; leave out --block 0"),
        (["--kind", "class", "--head", 0], "has no query, stage, block or head; leave out --head 0"),
        (["--memory", 0], "memory=0.0 must be a finite number of GiB above 0"),
        (["--memory", "inf"], "memory=inf must be a finite number of GiB above 0"),
        (["--memory", "nan"], "memory=nan must be a finite number of GiB above 0"),
        (["--memory", "1e300"], "memory=1e+300 must be a finite number of GiB above 0"),
        (["--out", "figure.pdf"], "figure.pdf can't be written: give --out a name with .png or .svg for the figure"),
        (["--out", "page.HTM"], "page.HTM can't be written"),
        (["--out", "photo.JPEG"], "photo.JPEG can't be written"),
        (["--out", "nowhere/x"], "no folder nowhere to write x to; create it first"),
        (["--out", "."], ". is a folder; give --out a name in it, such as attention"),
        (["--device", "abacus"], "device 'abacus' can't be used here"),
        (["--seed", -1], "seed=-1 must not be negative"),
        (["--pretrained", "fashion"], "no weights of 'micro' trained on 'fashion', did you mean 'fashion-mnist'?"),
        (["--pretrained", "fashion-mnist", "--checkpoint", "x.pth"], "--checkpoint and --pretrained both say"),
        (["--checkpoint", "none.pth"], "no checkpoint file at none.pth"),
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


def test_files_that_are_no_image_or_no_such_network_are_named(run, tmp_path):
    (tmp_path / "notes.png").write_text("not an image")
    status, _, err = run(tmp_path / "notes.png", "--variant", "micro")
    assert (status, "notes.png can't be read as an image" in err) == (2, True)
    hatnet.save(hatnet.create_model("micro"), tmp_path / "ours.safetensors")
    status, _, err = run("--checkpoint", tmp_path / "ours.safetensors", "--variant", "tiny")
    assert (status, "holds 'micro', not 'tiny'; leave --variant out" in err) == (2, True)
    torch.save({"layer.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    status, _, err = run("--checkpoint", tmp_path / "other.pth")
    assert (status, "other.pth is not a checkpoint of HAT-Net" in err) == (2, True)
    hatnet.save(hatnet.create_model("micro", in_channels=4), tmp_path / "four.safetensors")
    status, _, err = run("--checkpoint", tmp_path / "four.safetensors")
    assert (status, "the network takes 4 channels; an image file gives 1 (grey) or 3 (colour)" in err) == (2, True)


def test_no_input_is_ever_overwritten(run, tmp_path):
    image = an_image(tmp_path / "mine.png")
    before = image.read_bytes()
    for out in ("mine", "mine.png", tmp_path / "." / "mine.png"):
        status, _, err = run(image, "--variant", "micro", "--out", out)
        assert (status, "would be overwritten by what is made of it" in err) == (2, True)
    assert image.read_bytes() == before
