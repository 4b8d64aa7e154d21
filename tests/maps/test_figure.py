"""The figure shows the numbers of the API, with titles, units and colours that say what they are."""

import io
from base64 import b64decode
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

import hatnet
from hatnet.data.photo import read_picture, to_image
from hatnet.maps import attention_maps
from hatnet.maps.figure import COLOURS, GREY, OPACITY, draw, save
from hatnet.maps.map_selection import KINDS, MapSelection


@pytest.fixture(scope="module")
def picture():
    return read_picture(None, channels=3, size=28, square=True)


@pytest.fixture(scope="module")
def maps(picture):
    torch.manual_seed(0)
    return attention_maps(hatnet.create_model("micro").eval(), to_image(picture, (0.5,) * 3, (0.5,) * 3).float())


@pytest.fixture(scope="module")
def black():
    return attention_maps(hatnet.create_model("micro").eval(), torch.zeros(3, 28, 28))


def test_the_title_names_a_head_only_if_all_maps_belong_to_it(maps, picture):
    titles = {
        kinds: draw(maps, picture, MapSelection(1, 0, (3, 4), 1, kinds=kinds), "Random.").get_suptitle()
        for kinds in (("local",), ("global", "composed"), ("rollout",), KINDS)
    }
    assert ["head 1" in title for title in titles.values()] == [True, True, False, False]


@pytest.mark.parametrize("kinds", [("local",), ("local", "global"), ("composed",), ("local", "rollout"), ("class",)])
def test_pointed_colour_bars_are_explained_where_there_may_be_some(kinds, maps, picture):
    """Weights end at their largest value; compositions may have values beyond the bar."""
    words = draw(maps, picture, MapSelection(1, 0, (3, 4), 1, kinds=kinds), "Random.").texts[-1].get_text()
    assert ("Where a colour bar ends in a point" in " ".join(words.split())) == (not set(kinds) <= {"local", "global"})


def test_outlines_of_the_query_and_its_window_hide_nothing(maps, picture):
    figure = draw(maps, picture, MapSelection(0, 1, (3, 4)), "Random.")
    outlines = [patch for axes in figure.axes[:6] for patch in axes.patches]  # the others are colour bars
    assert len(outlines) == 9
    assert not any(patch.get_fill() for patch in outlines)


def test_the_figure_names_its_maps_and_the_origin_of_the_weights(maps, picture):
    weights = "Random weights, for a test."
    figure = draw(maps, picture, MapSelection(0, 1, (3, 4)), weights, classes=[f"c{n}" for n in range(10)])
    assert [axes.get_title() for axes in figure.axes[:6]] == [
        "Image, with the query and its window",
        "Local: its window, 8 x 8 tokens",
        "Global: 4 x 4 merged cells",
        f"Composed: this block, {maps.composed(0, 1, (3, 4))[3, 4]:.0%} from itself",
        "Rollout: through 2 blocks to the stem",
        f"For “c{maps.logits.argmax()}”, whole network, no query",
    ]
    assert weights in figure.texts[-1].get_text()
    assert weights in figure.get_label()
    shares = ["weight in %, by token", "weight in %, by cell", "share in %, by token", "share in %, by stem token"]
    assert [axes.get_ylabel() for axes in figure.axes[6:]] == [*shares, "relevance in %, by stem token"]


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (MapSelection(9, 0, (0, 0)), "there is no stage 9: the network has 3, counted from 0"),
        (MapSelection(-1, 0, (0, 0)), "there is no stage -1"),
        (MapSelection(0, 2, (0, 0)), "there is no block 2: stage 0 has 2"),
        (MapSelection(0, 0, (0, 0), head=1), "there is no head 1: stage 0 has 1"),
        (MapSelection(0, 0, (14, 0), kinds=["class"]), r"token \(14, 0\) is not on the map of stage 0"),
        (MapSelection(0, 0, (0, 0), label=10), "there is no class 10: the network has 10"),
        (MapSelection(0, 0, (0, 0), kinds=["near"]), "kind 'near' is not known"),
    ],
)
def test_a_figure_of_something_missing_is_refused_before_any_map_is_computed(black, monkeypatch, selection, message):
    for kind in ("local", "global_", "composed", "rollout", "class_map"):
        monkeypatch.setattr(type(black), kind, lambda *_: pytest.fail("a map was computed"))
    with pytest.raises(ValueError, match=message):
        draw(black, np.zeros((28, 28)), selection, "Weights.")
    if selection.stage not in range(3):
        with pytest.raises(ValueError, match=message):
            selection.available_kinds(black.layouts)


@pytest.mark.parametrize("query", [(4, 2), np.array([4, 2])])  # a token as a tuple, or as `argwhere` returns it
def test_a_window_at_the_border_is_drawn_in_its_own_size(black, query):
    """D6: 7 x 7 tokens in windows of 4 x 4 leave 3 x 4 at the bottom."""
    figure = draw(black, np.zeros((28, 28)), MapSelection(1, 0, query, kinds=["local", "composed"]), "Weights.")
    own = black.composed(1, 0, (4, 2))[4, 2]
    titles = ["Local: its window, 3 x 4 tokens", f"Composed: this block, {own:.0%} from itself"]
    assert [axes.get_title() for axes in figure.axes[1:3]] == titles
    assert (figure.axes[1].get_xlim(), figure.axes[1].get_ylim()) == ((0, 16), (28, 16))


def test_colours_in_an_svg_match_the_colour_bar(black, tmp_path):
    """The largest weight has the last colour of the bar over grey; matplotlib may apply an opacity twice."""
    save(draw(black, np.zeros((28, 28)), MapSelection(1, 0, (4, 2), kinds=["global"]), "Weights."), tmp_path / "a.svg")
    _, panel, _ = ElementTree.parse(tmp_path / "a.svg").iter("{http://www.w3.org/2000/svg}image")
    data = panel.get("{http://www.w3.org/1999/xlink}href").partition("base64,")[2]
    with Image.open(io.BytesIO(b64decode(data))) as drawn:
        pixels = np.asarray(drawn.convert("RGB"), dtype=float)
    want = 255 * (OPACITY * np.array(matplotlib.colormaps[COLOURS](1.0)[:3]) + (1 - OPACITY) * GREY)
    assert np.abs(pixels - want).max(axis=2).min() < 2  # of 255, for rounding


def test_the_panels_show_the_maps_of_the_api(maps, picture, tmp_path):
    figure = draw(maps, picture, MapSelection(1, 0, (3, 4), head=1, label=2), "Weights.")
    relevance, at = maps.class_map(2), (1, 0, (3, 4))
    wanted = [one(*at, head=1) for one in (maps.local, maps.global_, maps.composed)]
    wanted += [maps.rollout(*at), relevance / relevance.sum()]
    for axes, want in zip(figure.axes[1:6], wanted, strict=True):
        assert np.asarray(axes.images[1].get_array()) == pytest.approx(100 * want, rel=1e-6)  # float32
    save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
