"""Constants of data sets and settings of augmentations have their published values, and reach the pixels.

The values are written here again, from their sources. Statistics of augmentations have closed forms; the seeds are
fixed, and bounds of four standard errors leave room for a chance of 1 in 16,000.
"""

from dataclasses import replace
from hashlib import sha256
from math import sqrt
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.transforms import InterpolationMode, v2

from hatnet.data import ImageTensor, Split, open_data, sources
from hatnet.data.image_folder import IMAGENET_MEAN, IMAGENET_STD
from hatnet.data.photo import MEAN, STD
from hatnet.data.transforms import for_prediction, for_testing, for_training, mixing
from hatnet.training.classification import CLASSIFICATION
from hatnet.training.recipes import RECIPES, get_recipe
from tests.training.image_files import write_imagenette

# Mean and standard deviation of all training pixels in [0, 1], red first. Fashion-MNIST: computed from its 60,000
# training images (0.286041 and 0.353024). CIFAR: as published in many places, from its 50,000 training images
# (0.491400, 0.482158, 0.446531 and 0.247032, 0.243485, 0.261588; 0.507076, 0.486549, 0.440918 and 0.267334, 0.256438,
# 0.276150). ImageNet: from torchvision's documentation of its trained weights.
PUBLISHED = {
    "fashion-subset": ((0.2860,), (0.3530,)),
    "fashion-mnist": ((0.2860,), (0.3530,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenette": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def black_fashion(patch):
    """Black images instead of torchvision's reader, which other tests use."""

    def read(_, train, download):
        count = 60_000 if train else 10_000
        pixels = torch.zeros(1, 28, 28, dtype=torch.uint8).expand(count, -1, -1)
        return SimpleNamespace(data=pixels, targets=torch.zeros(count))

    read.resources = []
    patch.setattr("torchvision.datasets.FashionMNIST", read)


def small_cifar(patch, classes):
    """One black image instead of the files, which other tests read."""
    image = ImageTensor(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64))
    patch.setattr(sources, "_cifar_files", lambda folder, *_: folder)
    patch.setattr(sources, "_read_cifar", lambda *_, **__: image)
    patch.setattr(sources, "_names", lambda *_: tuple(map(str, range(classes))))


# Classes 0 to 9, from the README of Fashion-MNIST: T-shirt/top, trouser, pullover and so on.
FASHION = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
WRITE = {
    "fashion-subset": lambda *_: None,
    "fashion-mnist": lambda _, patch: black_fashion(patch),
    "cifar10": lambda _, patch: small_cifar(patch, 10),
    "cifar100": lambda _, patch: small_cifar(patch, 100),
    "imagenette": write_imagenette,
}
# Crop, flip, RandAugment, erasing, mixup, CutMix, repeats, smoothing, drop path, classifier dropout, weight average,
# clipping. Of `imagenet`: the defaults in the main.py of PVT's code, which the paper follows, with m9 of 10 as 27 of
# 30; 0.2 is the classifier dropout of the authors' code. The others are ours, with PVT's values where they mix.
SETTINGS = {
    "fashion-quick": (0, True, 0, 0, 0, 0, 1, 0, 0, 0, 0.98, 1),
    "fashion": (2, True, 0, 0, 0, 0, 1, 0.1, 0, 0, 0.999, 1),
    "photos": (None, True, 0, 0, 0, 0, 1, 0.1, 0, 0, 0.98, 1),
    "cifar10": (4, True, 9, 0.25, 0.8, 1, 1, 0.1, 0.1, 0, 0.9995, 1),
    "cifar100": (4, True, 9, 0.25, 0.8, 1, 1, 0.1, 0.1, 0, 0.9995, 1),
    "imagenette": (None, True, 27, 0.25, 0.8, 1, 1, 0.1, 0.1, 0, 0.999, 1),
    "imagenet": (None, True, 27, 0.25, 0.8, 1, 3, 0.1, 0.1, 0.2, 0, 0),
}
RATES = {"fashion-quick": (2e-3, 0.5), "fashion": (2e-3, 1), "photos": (1e-3, 3), "imagenette": (1e-3, 10)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_known_pixel_is_normalised_as_by_hand(name, tmp_path, monkeypatch):
    """(51, 102, 204) / 255 is (0.2, 0.4, 0.8): minus the mean, divided by the deviation, channel by channel."""
    WRITE[name](tmp_path, monkeypatch)
    data, recipe = open_data(name, tmp_path), replace(get_recipe("fashion"), flip=False, crop_padding=0)
    mean, std = PUBLISHED[name]
    pixel = torch.tensor([51, 102, 204][: len(mean)], dtype=torch.uint8)
    image = pixel[:, None, None].expand(-1, 28, 28)
    want = [(value - m) / s for value, m, s in zip((0.2, 0.4, 0.8), mean, std, strict=False)]
    for make in (for_testing, for_training, for_prediction):
        found = make(recipe, data)(image)
        assert found.dtype == torch.float32
        assert found[:, 5, 7].tolist() == pytest.approx(want, abs=1e-6)
        assert torch.equal(found, found[:, :1, :1].expand_as(found))
    assert data.channels == len(mean)
    assert name != "fashion-mnist" or data.classes == FASHION


def test_photos_have_the_statistics_of_imagenet():
    mean, std = PUBLISHED["imagenette"]
    assert (mean, std) == (IMAGENET_MEAN, IMAGENET_STD) == (tuple(MEAN), tuple(STD))


def test_embedded_images_are_those_of_fashion_mnist():
    """The digests of pixels and labels were computed from the files of Fashion-MNIST (package of Debian)."""
    data = open_data("fashion-subset")
    for part, count, start in ((data.train, 1200, "979127814c8cc83f"), (data.test, 250, "4d11607d45cf90cc")):
        content = part.pixels.numpy().tobytes() + part.labels.numpy().astype(np.uint8).tobytes()
        assert sha256(content).hexdigest().startswith(start)
        assert part.labels.bincount().tolist() == [count] * 10
    pixels = data.train.pixels.numpy() / 255
    assert (pixels.mean(), pixels.std()) == pytest.approx((0.2860, 0.3530), abs=1e-3)  # a fifth of all images
    assert data.classes == sources.FASHION == FASHION


def grey(size, images=1):
    """White images of `size` pixels, with normalisation to -1 and 1, for a transform."""
    pixels = torch.full((images, 1, size, size), 255, dtype=torch.uint8)
    part = ImageTensor(pixels, torch.zeros(images, dtype=torch.int64))
    return Split("grey", part, part, ("a", "b"), mean=(0.5,), std=(0.5,))


def steps_of(recipe, data):
    """The transforms of a training by type, in order."""
    return {type(step): step for step in for_training(recipe, data).transforms}


@pytest.mark.parametrize("name", SETTINGS)
def test_values_of_a_recipe_reach_its_transforms_and_its_network(name):
    crop, flip, magnitude, erasing, mixup, cutmix, repeats, smoothing, drop_path, drop, ema, clip = SETTINGS[name]
    recipe, size = RECIPES[name], RECIPES[name].image_size
    steps, mix = steps_of(recipe, grey(size)), mixing(recipe, 10)
    crops = {None: [v2.RandomResizedCrop], 0: []}.get(crop, [v2.RandomCrop])
    order = [*crops, *[v2.RandomHorizontalFlip] * flip, *[v2.RandAugment] * bool(magnitude), v2.ToDtype, v2.Normalize]
    assert [*steps] == order + [v2.RandomErasing] * bool(erasing)
    if crop is None:  # torchvision's documentation; a share of 0.08 to 1 is from Szegedy et al., arXiv:1409.4842
        step = steps[v2.RandomResizedCrop]
        assert (step.size, tuple(step.scale), tuple(step.ratio)) == ((size, size), (0.08, 1), (3 / 4, 4 / 3))
        assert step.interpolation == InterpolationMode.BICUBIC
    elif crop:
        step = steps[v2.RandomCrop]
        assert (tuple(step.size), step.padding) == ((size, size), [crop] * 4)
        assert (step.padding_mode, step.fill) == ("constant", 0)
    if magnitude:  # arXiv:1909.13719, Section 3: N = 2 operations of strength M, here 0 to 30
        step = steps[v2.RandAugment]
        assert (step.num_ops, step.magnitude, step.num_magnitude_bins) == (2, magnitude, 31)
    if erasing:  # arXiv:1708.04896, with the area up to a third as in PVT
        step = steps[v2.RandomErasing]
        assert (step.p, tuple(step.scale), tuple(step.ratio)) == (erasing, (0.02, 0.33), (0.3, 3.3))
    mixes = [] if mix is None else [(type(each), each.alpha, each.num_classes) for each in mix.transforms]
    assert mixes == ([(v2.MixUp, mixup, 10), (v2.CutMix, cutmix, 10)] if mixup else [])
    config = recipe.config(10, 1)
    assert (config.drop_path_rate, config.classifier_drop_rate, config.drop_rate) == (drop_path, drop, 0)
    assert (recipe.label_smoothing, recipe.repeats, recipe.ema, recipe.clip) == (smoothing, repeats, ema, clip)
    peak, warmup = {"cifar10": (2e-3, 5), "cifar100": (2e-3, 5), "imagenet": (1e-3, 5), **RATES}[name]
    assert (recipe.lr, recipe.warmup_epochs, recipe.first_lr, recipe.last_lr) == (peak, warmup, 1e-6, 1e-5)
    assert recipe.weight_decay == 0.05


def test_tests_resize_to_256_of_224_and_cut_out_the_centre():
    """The share of the paper's tests. Small images are taken as they are."""
    resize, crop, *_ = for_testing(get_recipe("imagenet"), grey(224)).transforms
    assert (resize.size, tuple(crop.size), resize.interpolation) == ([256], (224, 224), InterpolationMode.BICUBIC)
    small = for_testing(get_recipe("cifar10"), grey(32)).transforms
    assert [type(step) for step in small] == [v2.ToDtype, v2.Normalize]


def within(found, want, deviation, count):
    """Assert that a mean of `count` independent values is within four standard errors of its expectation."""
    assert abs(found - want) <= 4 * deviation / sqrt(count), f"{found:.4f} instead of {want:.4f}"


def test_erased_areas_have_their_published_distribution():
    """A quarter of the images get noise of variance 1 in 2 to 33 % of their area, 17.5 % on average."""
    torch.manual_seed(0)
    recipe = replace(get_recipe("cifar10"), image_size=64, crop_padding=0, flip=False, rand_augment=0)
    transform, white = for_training(recipe, grey(64)), grey(64).train.image(0)
    images = torch.stack([transform(white)[0] for _ in range(1200)])
    erased = images != 1  # white is normalised to 1
    share = erased.double().mean(dim=(1, 2))
    hit = share > 0
    within(hit.double().mean(), 0.25, sqrt(0.25 * 0.75), len(images))
    assert 0.018 < share[hit].min() < share[hit].max() < 0.335  # sides are rounded to pixels
    within(share[hit].mean(), 0.175, 0.31 / sqrt(12), int(hit.sum()))
    noise = images[erased]
    within(noise.mean(), 0, 1, len(noise))
    within(noise.var(), 1, sqrt(2), len(noise))
    for picture in erased[hit][:50]:  # a rectangle
        rows, columns = picture.any(dim=1), picture.any(dim=0)
        assert torch.equal(picture, rows[:, None] & columns)


def test_crops_are_uniform_and_half_of_the_images_are_flipped():
    """A crop of fashion moves the image by up to 2 pixels; the border that it moves into it is black."""
    torch.manual_seed(0)
    recipe, count = replace(get_recipe("fashion"), image_size=8), 1500
    marked = torch.full((1, 8, 8), 50, dtype=torch.uint8)
    marked[0, 3, 3], marked[0, 3, 4] = 200, 100  # the brightest pixel is at the left of the other one
    transform = for_training(recipe, grey(8))
    found = torch.stack([transform(marked)[0] for _ in range(count)])
    brightest = found.flatten(1).argmax(dim=1)
    row, column = brightest // 8, brightest % 8
    at_left = torch.stack([image[r, c - 1] for image, r, c in zip(found, row, column, strict=True)])
    flipped = at_left > 0.5 * (50 + 100) / 127.5 - 1
    within(flipped.double().mean(), 0.5, 0.5, count)
    down, right = row - 3, torch.where(flipped, 7 - column, column) - 3
    for moved in (down, right):
        counts = (moved + 2).bincount(minlength=5)
        assert len(counts) == 5
        for each in counts:
            within(int(each) / count, 1 / 5, sqrt(1 / 5 * 4 / 5), count)
    black = (found == -1).sum(dim=(1, 2))
    assert torch.equal(black, 64 - (8 - down.abs()) * (8 - right.abs()))


def mixed_batches(recipe, count):
    """Batches of two images, all 0 and all 1, mixed: shares of the other image, of its label, and whether it is mixup.

    Mixup gives one grey, CutMix a rectangle.
    """
    mix = mixing(recipe, 2)
    images = torch.stack([torch.zeros(1, 32, 32), torch.ones(1, 32, 32)])
    for _ in range(count):
        mixed, labels = mix(images, torch.tensor([0, 1]))
        share = float(mixed[0].mean())
        assert float(mixed[1].mean()) == pytest.approx(1 - share, abs=1e-5)
        assert labels.flatten().tolist() == pytest.approx([1 - share, share, share, 1 - share], abs=1e-5)
        yield share, len(mixed[0].unique()) == 1 and 0 < share < 1


def test_labels_are_mixed_in_the_proportions_of_the_pixels():
    torch.manual_seed(0)
    batches = list(mixed_batches(get_recipe("imagenet"), 400))
    within(np.mean([is_mixup for _, is_mixup in batches]), 0.5, 0.5, len(batches))


@pytest.mark.long
def test_proportions_of_mixup_follow_beta_0_8():
    """arXiv:1710.09412. Beta(a, a) has mean 1/2 and variance 1 / (8 a + 4): 0.0962 for 0.8, 0.0833 for 1."""
    torch.manual_seed(0)
    shares = np.array([share for share, _ in mixed_batches(replace(get_recipe("imagenet"), cutmix=0.0), 1200)])
    within(shares.mean(), 0.5, sqrt(0.0962), len(shares))
    within(((shares - 0.5) ** 2).mean(), 1 / (8 * 0.8 + 4), ((shares - 0.5) ** 2).std(), len(shares))


@pytest.mark.long
def test_areas_of_cutmix_follow_a_uniform_share_cut_at_the_border():
    """arXiv:1905.04899: a share u, uniform in [0, 1], with its centre anywhere in the image.

    A side of length s = sqrt(u) lies inside the image for s - s^2 / 4 on average, so the mean area is
    E[(s - s^2 / 4)^2] = 1/2 - 1/5 + 1/48 = 0.3208.
    """
    torch.manual_seed(0)
    shares = np.array([share for share, _ in mixed_batches(replace(get_recipe("imagenet"), mixup=0.0), 1200)])
    within(shares.mean(), 1 / 2 - 1 / 5 + 1 / 48, shares.std(), len(shares))


def test_smoothing_of_a_recipe_reaches_its_loss():
    """With K = 4 classes and smoothing e, the true class has 1 - e + e / K, the others e / K."""
    logits, labels = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 1])
    want = -(nn.functional.one_hot(labels, 4) * 0.9 + 0.025) * logits.log_softmax(dim=1)
    loss = CLASSIFICATION.loss(nn.Identity(), logits, labels, get_recipe("imagenet"))
    assert float(loss) == pytest.approx(float(want.sum(dim=1).mean()))
