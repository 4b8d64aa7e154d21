"""Everything in a figure lies where the sizes of tokens, windows and cells put it, and nothing leaves the page."""

from pathlib import Path

import numpy as np
import pytest
import torch

import hatnet
from hatnet.equivalence import randomise
from hatnet.maps import attention_maps
from hatnet.maps.figure import draw
from hatnet.maps.map_selection import MapSelection
from hatnet.maps.prediction import Prediction
from hatnet.maps.prediction_figure import draw_predictions

HEIGHT, WIDTH = 28, 36  # 7 x 9 tokens of 4 pixels in stage 1
WHOLE = (0, WIDTH, HEIGHT, 0)  # left, right, bottom and top
WINDOW = (16, 16, 16, 12, (230, 159, 0))  # of token (4, 7): 4 x 4 tokens, 3 x 4 where the map ends
QUERY = (28, 16, 4, 4, (213, 94, 0))
LUMINANCE = (0.299, 0.587, 0.114)  # Rec. 601


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).random((HEIGHT, WIDTH, 3))


@pytest.fixture(scope="module")
def maps(picture):
    model = hatnet.create_model("micro")
    randomise(model)
    return attention_maps(model.eval(), torch.from_numpy(picture).permute(2, 0, 1).float())


def boxes(axes):
    """Left, top, width, height and colour of every rectangle, in pixels of the image."""
    return [
        (*patch.get_xy(), patch.get_width(), patch.get_height(), tuple(round(255 * c) for c in colour))
        for patch in axes.patches
        for *colour, _ in [patch.get_edgecolor()]
    ]


def view(axes):
    return (*axes.get_xlim(), *axes.get_ylim())


def assert_cells(axes, extent, largest, picture):
    """Cells of one colour each over a grey image of mean 0.62, on a scale from zero."""
    below, cells = axes.images
    grey = picture if picture.ndim == 2 else picture @ LUMINANCE
    assert below.get_extent() == [0, picture.shape[1], picture.shape[0], 0]
    assert np.asarray(below.get_array()) == pytest.approx(0.62 + 0.6 * (grey - grey.mean()))
    assert (below.get_cmap().name, cells.get_cmap().name, below.get_clim()) == ("gray", "viridis", (0, 1))
    assert cells.get_extent() == list(extent)
    assert cells.get_clim() == pytest.approx((0, largest), rel=1e-6)  # float32
    assert cells.get_interpolation() == "nearest"
    assert np.unique(cells.get_alpha()) == pytest.approx([0.78])


def assert_fits(figure, panels):
    """Everything lies on the page, images take at least a third of it, and words lie below them."""
    figure.draw_without_rendering()
    page, drawn = figure.bbox_inches, figure.get_tightbbox()
    assert 0 <= drawn.x0 < drawn.x1 <= page.width
    assert 0 <= drawn.y0 < drawn.y1 <= page.height
    frames = [axes.get_window_extent() for axes in panels]
    assert sum(frame.width * frame.height for frame in frames) > figure.bbox.width * figure.bbox.height / 3
    assert figure.texts[-1].get_window_extent().y1 < min(frame.y0 for frame in frames)


def test_panels_cover_the_image_and_outline_the_query_and_its_window(maps, picture):
    figure, at = draw(maps, picture, MapSelection(1, 0, (4, 7)), "Weights."), (1, 0, (4, 7))
    (image, *panels), bars = figure.axes[:6], figure.axes[6:]
    assert image.get_subplotspec().get_gridspec().get_geometry() == (2, 3)
    assert boxes(image) == [WINDOW, QUERY]
    assert [boxes(axes) for axes in panels] == [[QUERY], *[[WINDOW, QUERY]] * 3, []]  # a class map has no query
    assert view(panels[0]) == (16, 32, 28, 16)  # the window fills its panel
    assert [view(axes) for axes in (image, *panels[1:])] == [WHOLE] * 5
    (shown,) = image.images
    assert (shown.get_extent(), shown.get_interpolation()) == (list(WHOLE), "nearest")
    composed, relevance = maps.composed(*at), maps.class_map()
    composed[4, 7] = 0  # a token's own share is beyond the scale
    ends = [maps.local(*at).max(), maps.global_(*at).max(), composed.max()]
    ends += [np.quantile(values, 0.99) for values in (maps.rollout(*at), relevance / relevance.sum())]
    extents = [WHOLE, (0, 40, 32, 0), WHOLE, WHOLE, WHOLE]  # cells of 2 x 2 tokens reach beyond the image
    for axes, bar, extent, end in zip(panels, bars, extents, ends, strict=True):
        assert_cells(axes, extent, 100 * end, picture)
        assert bar.get_ylim() == pytest.approx((0, 100 * end), rel=1e-6)
    assert_fits(figure, [image, *panels])
    assert "Image of 36 x 28 pixels. Stage 1, counted from 0: 7 x 9 tokens" in figure.texts[-1].get_text()


def test_plain_attention_is_drawn_by_token_without_a_window(maps, picture):
    """Stage 2 has 4 x 5 tokens of 8 pixels."""
    figure = draw(maps, picture, MapSelection(2, 1, (3, 0), kinds=("global",)), "Weights.")
    image, panel, _ = figure.axes
    assert image.get_subplotspec().get_gridspec().get_geometry() == (1, 2)
    assert boxes(image) == boxes(panel) == [(0, 24, 8, 8, QUERY[-1])]
    assert_cells(panel, (0, 40, 32, 0), 100 * maps.global_(2, 1, (3, 0)).max(), picture)
    assert_fits(figure, [image, panel])


def test_a_map_of_zeros_is_dark_on_a_scale_to_one(maps, picture, monkeypatch):
    monkeypatch.setattr(type(maps), "class_map", lambda *_: np.zeros((14, 18)))
    figure = draw(maps, picture, MapSelection(0, 0, (0, 0), kinds=("class",)), "Weights.")
    assert_cells(figure.axes[1], WHOLE, 1, picture)


def test_predictions_are_drawn_beside_their_maps():
    """The scale ends at the 99th percentile, or at the maximum where that is zero."""
    generator = np.random.default_rng(0)
    colour, grey, single = generator.random((28, 30, 3)), generator.random((27, 27)), np.zeros((14, 14))
    single[3, 4] = 0.5
    wide, square = generator.random((14, 15)), (0, 28, 28, 0)
    shown = [
        (colour, wide, (0, 30, 28, 0), np.quantile(wide, 0.99)),
        (grey, single, square, 0.5),
        (grey, np.zeros((14, 14)), square, 1),
        (grey, None, None, None),
    ]
    figure = draw_predictions(
        [
            Prediction(Path(f"{number}.png"), (number,), (f"class {number}",), (0.5,), picture, values)
            for number, (picture, values, *_) in enumerate(shown)
        ],
        "Weights.",
    )
    assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == (2, 6)
    for number, (left, right, (picture, values, extent, end)) in enumerate(
        zip(figure.axes[:8:2], figure.axes[1:8:2], shown, strict=True)
    ):
        assert left.get_title(loc="left") == f"class {number}  50.0 %\n{number}.png"
        assert np.array_equal(left.images[0].get_array(), picture)
        assert left.images[0].get_clim() == (0, 1)
        assert view(left) == (0, picture.shape[1], picture.shape[0], 0)
        if values is not None:
            assert np.array_equal(right.images[1].get_array(), values)
            assert_cells(right, extent, end, picture)
            assert view(right) == view(left)
    assert_fits(figure, figure.axes[:8])
    (words,) = figure.axes[7].texts
    assert words.get_text() == "no class map"
    frame, drawn = figure.axes[7].get_window_extent(), words.get_window_extent()
    for low, high in (("x0", "x1"), ("y0", "y1")):  # in the middle, to three pixels of 28 and more
        assert getattr(drawn, low) + getattr(drawn, high) == pytest.approx(
            getattr(frame, low) + getattr(frame, high), abs=6
        )
