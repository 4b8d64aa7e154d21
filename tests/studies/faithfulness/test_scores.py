"""Scores of a study are recomputed in plain NumPy, for a small network whose every output is known."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, stats
from torch import nn

from hatnet.studies.faithfulness import Settings, preparation
from hatnet.studies.faithfulness.patches import blur
from hatnet.studies.faithfulness.scorer import Scorer
from hatnet.weights.source import find_source

IMAGES, SIDE, PATCH, STEPS, CLASSES = 5, 6, 2, 4, 3
PATCHES = (SIDE // PATCH) ** 2
generator = np.random.default_rng(0)
WEIGHT = generator.standard_normal((CLASSES, SIDE * SIDE))
PIXELS, BASELINES = generator.standard_normal((2, IMAGES, 1, SIDE, SIDE))
TARGETS = [0, 2, 1, 2, 0]


class Network(nn.Module):
    """Logits that are not linear in the pixels."""

    def forward(self, images):
        return 3 * torch.tanh(images.flatten(1) @ torch.from_numpy(WEIGHT).T / 6)


def logits(image):
    return 3 * np.tanh(WEIGHT @ image.ravel() / 6)


def probability(image, target):
    powers = np.exp(logits(image))
    return powers[target] / powers.sum()


def with_patches(image, replacement, patches):
    """The image with some patches, counted row by row, taken from the replacement."""
    found = image.copy()
    for place in patches:
        row, column = PATCH * (place // (SIDE // PATCH)), PATCH * (place % (SIDE // PATCH))
        cell = (0, slice(row, row + PATCH), slice(column, column + PATCH))
        found[cell] = replacement[cell]
    return found


def curve(begin, end, order, target):
    counts = [round(PATCHES * step / STEPS) for step in range(STEPS + 1)]
    return counts, [probability(with_patches(begin, end, order[:count]), target) for count in counts]


def area(counts, found):
    return sum(
        (b - a) / PATCHES * (p + q) / 2 for a, b, p, q in zip(counts, counts[1:], found, found[1:], strict=False)
    )


@pytest.fixture
def scorer():
    return Scorer(
        Settings(images=IMAGES, patch=PATCH, steps=STEPS), "mean", Network(), torch.from_numpy(PIXELS),
        torch.tensor(TARGETS), torch.from_numpy(BASELINES), torch.Generator().manual_seed(0), 2, 2**30,
    )  # fmt: skip


def test_scores_equal_loops_over_images_and_patches(scorer):
    """Two maps per image, as of random maps: every score is the mean over both."""
    draws = np.random.default_rng(1).random((2, IMAGES, PATCHES))
    score = scorer.score("random", "trained", list(torch.from_numpy(draws)))
    curves = {"insertion": [], "deletion": []}
    for at, (image, baseline, target) in enumerate(zip(PIXELS, BASELINES, TARGETS, strict=True)):
        drops = [logits(image)[target] - logits(with_patches(image, baseline, [p]))[target] for p in range(PATCHES)]
        assert scorer.logit_drops[at].tolist() == pytest.approx(drops)
        orders = [np.argsort(-draw[at]) for draw in draws]
        for name, begin, end in (("insertion", baseline, image), ("deletion", image, baseline)):
            found = [curve(begin, end, order, target) for order in orders]
            assert getattr(score, name)[at] == pytest.approx(np.mean([area(*each) for each in found]), abs=6e-5)
            curves[name].append(np.mean([each for _, each in found], axis=0))
        for name, sizes in (("occlusion", drops), ("size", np.abs(drops))):
            want = np.mean([stats.spearmanr(draw[at], sizes).statistic for draw in draws])
            assert getattr(score, name)[at] == pytest.approx(want, abs=6e-5)
    for name, found in curves.items():
        want = np.transpose([np.mean(found, axis=0), stats.sem(found, axis=0)])
        assert np.array(getattr(score, f"{name}_curve")) == pytest.approx(want, abs=6e-5)


def test_answer_for_the_baselines_is_the_most_frequent_class(scorer):
    answers = [int(np.argmax(logits(baseline))) for baseline in BASELINES]
    found, counts = scorer.baseline_answer(("a", "b", "c")), np.bincount(answers, minlength=CLASSES)
    assert (found.answer, found.part) == ("abc"[counts.argmax()], counts.max() / IMAGES)
    each = [probability(baseline, target) for baseline, target in zip(BASELINES, TARGETS, strict=True)]
    assert found.probability == pytest.approx(np.mean(each), abs=6e-5)


def test_record_states_the_accuracy_and_the_confidence_of_its_images(record, fashion):
    source = find_source("fashion-mnist")
    images, labels = preparation.prepare_images(record.settings, source, fashion)
    with torch.no_grad():
        found = source.model(images).double().numpy()
    assert record.right == pytest.approx(np.mean(found.argmax(axis=1) == labels.numpy()), abs=6e-5)
    top = 1 / np.exp(found - found.max(axis=1, keepdims=True)).sum(axis=1)
    assert record.probability == pytest.approx(top.mean(), abs=6e-5)


@settings(max_examples=15)
@given(st.floats(0.3, 3), st.integers(0, 2**31))
def test_blur_is_scipys_gaussian_filter(width, seed):
    """Cut off after three standard deviations, rounded up; border pixels are repeated."""
    image = np.random.default_rng(seed).standard_normal((9, 12))
    want = ndimage.gaussian_filter(image, width, mode="nearest", radius=int(np.ceil(3 * width)))
    assert blur(torch.from_numpy(image)[None, None], width)[0, 0].numpy() == pytest.approx(want, abs=1e-12)
