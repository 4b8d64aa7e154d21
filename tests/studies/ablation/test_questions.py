"""The questions: their answers follow from the pixels, and from nothing simpler than what is asked."""

import hashlib
from collections import Counter
from itertools import count, product

import numpy as np
import pytest
import torch
from scipy import ndimage

from hatnet.data import fingerprint
from hatnet.data.images import UNKNOWN
from hatnet.studies.ablation.draw_questions import draw_questions
from hatnet.studies.ablation.one_stage import CONFIG
from hatnet.studies.ablation.questions import (
    ASKED_SIZE,
    COLOURS,
    NO_DISC,
    QUESTIONS,
    SPACING,
    TOKEN,
    WHITE,
    arrange,
    open_question,
)  # fmt: skip

GROUP, CELL = (TOKEN * size for size in (CONFIG.grid_sizes[0], CONFIG.pool_sizes[0]))  # in pixels
all_questions = pytest.mark.parametrize("question", QUESTIONS)


def scenes(question, number=300):
    return [arrange(question, np.random.default_rng(seed)) for seed in range(number)]


def discs(image):
    """The colour and the number of pixels of every disc by its centre, found in the pixels alone.

    The noise is grey: it shifts all channels alike, so a pixel belongs to a disc if it is coloured or very bright.
    """
    pixels = image.permute(1, 2, 0).numpy().astype(int)
    labels, number = ndimage.label((np.ptp(pixels, axis=2) > 60) | (pixels.min(axis=2) > 180))
    palette, found = np.array([*COLOURS, (250, 250, 250)]), {}
    for label, centre in enumerate(ndimage.center_of_mass(labels, labels, range(1, number + 1)), 1):
        colour = np.median(pixels[labels == label], axis=0)
        distance = np.abs(palette - colour).sum(axis=1)
        found[tuple(round(place) for place in centre)] = int(distance.argmin()), int((labels == label).sum())
    return found


def group(place):
    return place[0] // GROUP, place[1] // GROUP


def answer(question, place, found, asked):
    """The answer for the disc at `place`, by its question."""
    colour, others = found[place][0], {centre: disc for centre, disc in found.items() if centre not in asked}
    if question == "far":
        areas = [area for key, area in others.values() if key == colour]
        assert len(areas) == 4
    else:
        if question == "both":  # continue from a disc of its colour in the legend
            place = next(centre for centre, (key, _) in others.items() if key == colour)
        areas = [area for centre, (key, area) in others.items() if key == WHITE and group(centre) == group(place)]
        assert len(areas) == 2
    assert min(areas) > 36 or max(areas) < 16
    return int(min(areas) > 36)


@all_questions
def test_answers_follow_from_the_pixels(question):
    """Discs are found, measured and matched without the code that places them."""
    images = open_question(question).test
    for index in range(2):
        mask = images.label(index)
        found, tokens = discs(images.image(index)), (mask != UNKNOWN).nonzero().tolist()
        asked = {(TOKEN * row, TOKEN * column): int(mask[row, column]) for row, column in tokens}
        assert asked
        assert all(16 < found[place][1] < 36 for place in asked), "neither small nor large"
        assert {place: answer(question, place, found, asked) for place in asked} == asked


@all_questions
def test_images_of_a_pair_differ_in_nothing_but_the_sizes(question):
    """And in every answer. So no colour, place or arrangement is right for more than half of the discs."""
    images = open_question(question).test
    for index in range(0, 20, 2):
        one, other = (images.label(place) for place in (index, index + 1))
        asked = one != UNKNOWN
        assert asked.any()
        assert torch.equal(asked, other != UNKNOWN)
        assert torch.equal(one[asked], 1 - other[asked])
        first, second = (images.image(place) for place in (index, index + 1))
        mine, theirs = discs(first), discs(second)
        assert {centre: colour for centre, (colour, _) in mine.items()} == {
            centre: colour for centre, (colour, _) in theirs.items()
        }
        for centre in TOKEN * asked.nonzero():  # convolutions see 11 pixels on each side, see test_one_stage.py
            rows, columns = (slice(max(place - 11, 0), place + 12) for place in centre.tolist())
            assert torch.equal(first[:, rows, columns], second[:, rows, columns])
    for scene in scenes(question, 20):
        assert set(scene.sizes[scene.answers != UNKNOWN]) == {ASKED_SIZE}


@pytest.mark.parametrize("question", ["near", "both"])
def test_a_cell_has_the_same_discs_whatever_the_answer(question):
    """The average of a cell, which is what far attention alone receives, is the same for all legends."""
    expected = Counter({(WHITE, 0): 4, (WHITE, 1): 4} | {(colour, ASKED_SIZE): 2 for colour in range(len(COLOURS))})
    for scene in scenes(question):
        cells = [
            Counter(zip(*(part[rows, columns].ravel().tolist() for part in (scene.colours, scene.sizes)), strict=True))
            for rows, columns in product((slice(0, 4), slice(4, 8)), repeat=2)
        ]
        legends = [cell for cell in cells if any(colour == WHITE for colour, _ in cell)]
        assert legends == [expected] * (4 if question == "near" else 1)


@pytest.mark.parametrize("question", ["far", "both"])
def test_the_legend_is_more_than_a_window_away(question):
    """At least one window lies between a disc that is asked and each disc of the legend."""
    for scene in scenes(question, 100):
        asked = np.argwhere(scene.answers != UNKNOWN) * SPACING // GROUP
        legend = np.argwhere((scene.colours != NO_DISC) & (scene.answers == UNKNOWN)) * SPACING // GROUP
        assert len(legend) == 16
        assert np.abs(asked[:, None] - legend).max(axis=2).min() >= 2


@all_questions
def test_a_linear_probe_of_a_place_and_of_averages_stays_at_chance(question):
    """Pixels around the disc, and mean colours of its group's quarter and of the image, fitted by least squares.

    `far` has no averages: the one of the legend is meant to suffice once it is known at the disc.
    """
    rows, answers, images = [], [], open_question(question).train
    for index in count():
        if len(rows) > 900:
            break
        pixels, mask = images.image(index).float() / 255, images.label(index)
        averages = [pixels.mean((1, 2)), pixels.std((1, 2))]
        for row, column in (mask != UNKNOWN).nonzero().tolist():
            top, left = TOKEN * row, TOKEN * column
            around = pixels[:, top - 6 : top + 7 : 2, left - 6 : left + 7 : 2]
            cell = pixels[:, top // CELL * CELL :, left // CELL * CELL :][:, :CELL, :CELL]
            known = [] if question == "far" else [cell.mean((1, 2)), *averages]
            rows.append(torch.cat([around.flatten(), *known, torch.ones(1)]))
            answers.append(2.0 * int(mask[row, column]) - 1)
    x, y = torch.stack(rows).double(), torch.tensor(answers).double()
    half = len(x) // 2
    weights = torch.linalg.lstsq(x[:half], y[:half, None], driver="gelsd").solution
    right = ((x[half:] @ weights).flatten().sign() == y[half:]).double().mean()
    assert abs(right - 0.5) < 0.08


@all_questions
def test_images_are_reproducible_and_all_different(question):
    data = open_question(question, training=20, tests=20)
    again = open_question(question, training=20, tests=20)
    assert fingerprint(data) == fingerprint(again)
    pixels = {images.image(index).numpy().tobytes() for images in (data.train, data.test) for index in range(20)}
    assert len(pixels) == 40
    noise = {images.image(index)[:, 0].numpy().tobytes() for images in (data.train, data.test) for index in range(20)}
    assert len(noise) == 20, "the two images of a pair have the same noise"
    part = data.train.part(torch.tensor([7, 3]))
    assert torch.equal(part.image(1), data.train.image(3))
    assert torch.equal(part.label(0), data.train.label(7))


def test_discs_are_those_of_the_published_records():
    """Another stream of random numbers would make other images of the same numbers."""
    parts = [part for question in QUESTIONS for part in vars(scenes(question, 1)[0]).values()]
    assert hashlib.sha256(np.stack(parts).astype(np.int16).tobytes()).hexdigest()[:16] == "ef06e5ea34358fb7"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"question": "nearby"}, "question='nearby'"),
        ({"question": "near", "training": 0}, "training=0 must be a whole number from 1 to 1000000"),
        ({"question": "near", "tests": 1.5}, "tests=1.5 must be a whole number from 1 to 1000000"),
    ],
)
def test_impossible_questions_are_errors(arguments, words):
    with pytest.raises(ValueError, match=words):
        open_question(**arguments)


def test_the_figure_has_a_ring_around_every_disc_that_is_asked():
    panels = draw_questions().axes
    assert [axes.get_title() for axes in panels] == list(QUESTIONS)
    for axes, question in zip(panels, QUESTIONS, strict=True):
        mask = open_question(question).test.label(0)
        rings = Counter(ring.get_linestyle() for ring in axes.patches)
        assert rings == {"--": int((mask == 0).sum()), "-": int((mask == 1).sum())}
