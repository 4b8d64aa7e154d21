"""The drawing of dense predictions shows the classes, boxes, masks, labels and scores that it is given."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle

from hatnet.dense.predicting import Objects, Segmentation
from hatnet.maps.dense_figure import LABELLED, OTHER, PALETTE, draw_dense
from hatnet.maps.figure import save
from hatnet.maps.label_places import label_places

NAMES = {1: "top", 2: "shoe", 3: "ba$g_$"}


def objects(boxes, masks=True, size=(40, 60), drawn=None, labels=None):
    """Objects at these boxes, each mask an ellipse inside; drawn at another size if given."""
    height, width = size
    y, x = np.mgrid[:height, :width] + 0.5
    found = [
        ((2 * x - x1 - x2) / (x2 - x1)) ** 2 + ((2 * y - y1 - y2) / (y2 - y1)) ** 2 <= 1 for x1, y1, x2, y2 in boxes
    ]
    labels = labels or tuple(1 + place % 3 for place in range(len(boxes)))
    scores = tuple(0.99 - 0.01 * place for place in range(len(boxes)))
    picture = np.random.default_rng(0).integers(0, 256, (*(drawn or size), 3), dtype=np.uint8)
    return Objects(
        Path("scene.png"), size, tuple(NAMES.get(label, str(label)) for label in labels), labels, scores,
        np.array(boxes, float).reshape(-1, 4), np.array(found).reshape(-1, *size) if masks else None, picture,
    )  # fmt: skip


def segmentation(labels, names):
    labels = np.array(labels, np.uint16)
    return Segmentation(Path("seg.png"), names, labels, np.full((*labels.shape, 3), 90, np.uint8))


def panels(figure):
    """The pairs of axes: image, prediction."""
    return np.array(figure.axes).reshape(-1, 2)


def legend(figure):
    (found,) = figure.legends
    names = [text.get_text().replace(r"\$", "$") for text in found.get_texts()]
    return {name: patch.get_facecolor() for name, patch in zip(names, found.get_patches(), strict=True)}


def boxes_in(axes):
    """The rectangles without a filling, and the filled ones, which are labels."""
    patches = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [p for p in patches if not p.get_fill()], [p for p in patches if p.get_fill()]


BOXES = [(4, 3, 20, 30), (30, 10, 36, 18), (40, 20, 58, 38), (22, 2, 24, 4)]


def test_boxes_are_drawn_where_they_are_with_class_and_score():
    """In a picture of half the size, everything has half the coordinates."""
    for drawn, factor in (((40, 60), 1), ((20, 30), 0.5)):
        figure = draw_dense([objects(BOXES, masks=False, drawn=drawn)], "Weights of x.", NAMES)
        ((left, right),) = panels(figure)
        frames, labels = boxes_in(right)
        got = [(f.get_x(), f.get_y(), f.get_x() + f.get_width(), f.get_y() + f.get_height()) for f in frames]
        assert np.allclose(got[::-1], factor * np.array(BOXES))  # the surest last, on top
        texts = [text.get_text() for text in right.texts]
        assert texts == ["top 0.99", "shoe 0.98", "ba$g_$ 0.97", "top 0.96"]
        colours = legend(figure)
        for label, text in zip(labels, texts, strict=True):
            assert label.get_facecolor()[:3] == pytest.approx(to_rgb(colours[text.rpartition(" ")[0]]))
        assert left.get_title(loc="left") == "scene.png\n2 x top, 1 x shoe, 1 x ba$g_$"


def test_masks_are_coloured_inside_alone_and_the_surest_is_on_top():
    found = objects([(5, 5, 30, 35), (20, 5, 50, 35)])
    assert (found.masks[0] & found.masks[1]).any()
    figure = draw_dense([found], "", NAMES)
    cover = panels(figure)[0, 1].images[-1].get_array()
    colours = legend(figure)
    assert np.array_equal(cover[..., 3] > 0, found.masks.any(axis=0))
    assert np.allclose(cover[found.masks[0]][:, :3], to_rgb(colours["top"]))
    assert np.allclose(cover[found.masks[1] & ~found.masks[0]][:, :3], to_rgb(colours["shoe"]))


def test_the_outline_of_a_mask_is_on_its_border():
    """Also where the mask touches the side of the image."""
    found = objects([(0, 0, 60, 40)])
    found.masks[0] = False
    found.masks[0, 10:40, 0:7] = True
    figure = draw_dense([found], "", NAMES)
    (lines,) = panels(figure)[0, 1].collections
    ends = np.concatenate([path.vertices for path in lines.get_paths()])
    assert ends.min(axis=0).tolist() == [0, 10]
    assert ends.max(axis=0).tolist() == [7, 40]


def test_every_pixel_has_the_colour_of_its_class_and_the_background_none():
    labels = [[0, 0, 1, 1], [2, 2, 1, 1], [2, 2, 2, 2]]
    names = ("background", "sky", "sea")
    figure = draw_dense([segmentation(labels, names)], "", dict(enumerate(names)))
    left, right = panels(figure)[0]
    cover, colours = right.images[-1].get_array(), legend(figure)
    assert list(colours) == ["sky", "sea", "background: no colour"]
    for label, name in ((1, "sky"), (2, "sea")):
        assert np.allclose(cover[np.array(labels) == label][:, :3], to_rgb(colours[name]))
    assert (cover[np.array(labels) == 0] == 0).all()
    assert left.get_title(loc="left") == "seg.png\nsea 50.0 %, sky 33.3 %, background 16.7 %"


def test_rare_classes_share_a_grey_and_are_counted():
    names = tuple(f"class {number}" for number in range(12))
    labels = np.repeat(np.arange(12), np.arange(12) + 1)[None].repeat(3, axis=0)
    figure = draw_dense([segmentation(labels, names)], "", dict(enumerate(names)))
    assert list(legend(figure)) == [*(f"class {number}" for number in range(5, 12)), "5 other classes"]
    cover = panels(figure)[0, 1].images[-1].get_array()
    assert np.allclose(cover[labels < 5][:, :3], to_rgb(OTHER))
    assert len({tuple(pixel) for pixel in cover[labels >= 5]}) == len(PALETTE)


def test_only_the_surest_of_many_objects_are_labelled_but_all_are_drawn():
    boxes = [(x, y, x + 5, y + 5) for x in range(0, 60, 6) for y in range(0, 36, 6)]
    figure = draw_dense([objects(boxes, masks=False)], "", NAMES)
    left, right = panels(figure)[0]
    frames, labels = boxes_in(right)
    assert (len(frames), len(labels), len(right.texts)) == (60, LABELLED, LABELLED)
    assert right.texts[0].get_text() == "top 0.99"
    assert left.get_title(loc="left").endswith("the 20 surest are labelled")


@pytest.mark.long
def test_images_of_all_shapes_and_without_objects_are_drawn_side_by_side(tmp_path):
    found = [
        objects([]),
        objects(BOXES),
        objects([(1, 1, 3, 300)], size=(300, 5)),
        objects([(0, 0, 1, 1)], size=(1, 1)),
    ]
    found += [objects([(0, 0, 0.2, 0.2)], masks=False), objects([(0, 0, 300, 2)], size=(2, 300))]
    figure = draw_dense(found, "Weights of x$y$.", NAMES)
    assert len(panels(figure)) == 6
    assert panels(figure)[0, 0].get_title(loc="left") == "scene.png\nno objects"
    save(figure, tmp_path / "all.png")
    for name in ("a.svg", "b.svg"):
        save(draw_dense(found[:2], "Weights of x$y$.", NAMES), tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    drawing = (tmp_path / "a.svg").read_text()
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert "scene.png: no objects; scene.png: 2 x top, 1 x shoe" in drawing  # the description, for screen readers


def test_a_figure_of_images_without_objects_has_no_classes():
    assert list(legend(draw_dense([objects([])], "", NAMES))) == ["no objects"]
    with pytest.raises(ValueError, match="nothing to draw|no prediction"):
        draw_dense([], "", NAMES)


def overlap(one, other):
    return max(min(one[2], other[2]) - max(one[0], other[0]), 0) * max(min(one[3], other[3]) - max(one[1], other[1]), 0)


def test_a_label_does_not_hide_a_small_object_above():
    """The first choice, above the object, would cover it."""
    small = (20, 41, 26, 47)
    (at, _) = label_places(["shoe 0.93", "bag 0.90"], [(20, 50, 80, 90), small], (100, 100), 50)
    assert overlap(at, small) == 0


def test_labels_of_neighbours_do_not_overlap():
    boxes = [(x, 40, x + 10, 60) for x in range(0, 100, 25)]
    places = label_places(["shoe 0.93"] * len(boxes), boxes, (110, 100), 70)
    assert sum(overlap(a, b) > 0 for index, a in enumerate(places) for b in places[:index]) == 0


@settings(max_examples=10)
@given(
    st.lists(st.tuples(*[st.floats(0, 99)] * 4), max_size=8),
    st.integers(1, 200),
    st.integers(1, 200),
)
def test_labels_are_in_the_picture_if_they_fit(corners, width, height):
    boxes = [(min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for a, b, c, d in corners]
    places = label_places(["top 0.50"] * len(boxes), boxes, (width, height), 60)
    assert len(places) == len(boxes)
    for x1, y1, x2, y2 in places:
        assert (x1, y1) >= (0, 0)
        assert x2 <= width + 1e-9 or x1 == 0
        assert y2 <= height + 1e-9 or y1 == 0
