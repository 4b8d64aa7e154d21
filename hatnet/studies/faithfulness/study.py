"""The study: maps of many test images, and what the trained network answers when they are put to the test."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from math import ceil

import numpy as np
import torch
from torch import Tensor

from hatnet.data import Split
from hatnet.data.images import DataError, balanced
from hatnet.data.transforms import for_testing
from hatnet.equivalence import evaluation_mode
from hatnet.maps.memory import GIB, images_at_once
from hatnet.network import HATNet
from hatnet.studies.common.machine import cpu_model
from hatnet.studies.faithfulness.baselines import baseline
from hatnet.studies.faithfulness.correlation import spearman
from hatnet.studies.faithfulness.curves import area, curve, descending
from hatnet.studies.faithfulness.grad_cam import require_captum
from hatnet.studies.faithfulness.methods import METHODS, Asked
from hatnet.studies.faithfulness.occlusion import occlusion
from hatnet.studies.faithfulness.patches import over_patches
from hatnet.studies.faithfulness.record import End, Likeness, Record, Score, Settings, rounded
from hatnet.training.checkpoint_evaluation import normalised_as, recipe_for_testing, require_size, require_suited
from hatnet.training.initial_weights import before_training, fan_in, first_recipe
from hatnet.training.recipes import Recipe
from hatnet.weights.source import Source

BATCH = 50  # images at once, fewer where memory does not do
FEWEST = 4  # patches of an image, to be ranked

Step = Callable[[str], None]


def study(settings: Settings, source: Source, data: Split, step: Step = lambda _: None, limit: int = 2 * GIB) -> Record:
    """Draw the maps of test images and score each by the trained network.

    Args:
        settings: what to compare, and how.
        source: the trained network.
        data: whose test part is used.
        step: called after each piece of work with its name.
        limit: bytes that attention weights, and gradients with them, may take.

    Raises:
        ValueError: if data and network don't fit, one image takes more than `limit`, or Captum is asked for and
            missing.
    """
    start = time.process_time()
    check(settings, source, data, limit)
    data, batch = normalised_as(data, source.about), at_once(settings, source, limit)
    with evaluation_mode(source.model), torch.inference_mode(False), torch.enable_grad():
        trained, new, recipe = source.model, untrained(source, settings), began(source)
        images, labels = chosen(settings, source, data)
        with torch.inference_mode():
            probabilities = torch.cat([trained(some).softmax(dim=1) for some in images.split(batch)])
        answers = probabilities.argmax(dim=1)
        record = Record(
            datetime.now(UTC).isoformat(timespec="seconds"), machine(), 0.0, settings,
            {name: source.about[name] for name in ("data", "epoch", "test_accuracy") if name in source.about},
            patches=over_patches(images[:1, 0], settings.patch).shape[1],
            right=round(float((answers == labels).float().mean()), 4),
            probability=round(float(probabilities.amax(dim=1).mean()), 4),
            initial_weights="unknown" if recipe is None else recipe.initial_weights,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(settings.seed)
        for number, name in enumerate(settings.baselines):
            covered = baseline(name, images, data.mean, data.std, settings.blur)
            trial = Trial(settings, name, trained, images, answers, covered, generator, batch, limit)
            record.ends.append(trial.end(data.classes))
            record.scores.append(trial.score("occlusion", "trained", [trial.falls]))
            step(f"{name}: occlusion")
            for method in settings.methods:
                maps = [trial.maps(method, trained) for _ in range(settings.random_maps if method == "random" else 1)]
                record.scores.append(trial.score(method, "trained", maps))
                step(f"{name}: {method}")
                if number == 0 and METHODS[method].needs_network:  # with one baseline, since it takes as long again
                    others = [trial.maps(method, network) for network in new]
                    for count, other in enumerate(others, start=1):
                        record.scores.append(trial.score(method, f"untrained {count}", [other]))
                        step(f"{name}: {method}, untrained {count}")
                    likenesses = [correlations(maps[0], other) for other in others]
                    record.likenesses.append(Likeness(method, rounded(np.mean(likenesses, axis=0))))
        record.seconds = round(time.process_time() - start, 1)
    return record


def pieces(settings: Settings) -> int:
    """How often `study` calls `step`."""
    again = sum(METHODS[method].needs_network for method in settings.methods)
    return len(settings.baselines) * (1 + len(settings.methods)) + settings.untrained * again


def check(settings: Settings, source: Source, data: Split, limit: int = 2 * GIB) -> None:
    """Raise a ValueError where the study can't be made."""
    require_suited(source.model.config, source.about, data, "the network")
    recipe, each = _recipe(source), settings.images // len(data.classes)
    if patches(settings, source) < FEWEST:
        raise ValueError(
            f"patch={settings.patch} leaves too few patches of images of {recipe.image_size} x {recipe.image_size} "
            f"pixels to rank ({patches(settings, source)}, at least {FEWEST} are needed); give a smaller one, such as "
            f"{max(recipe.image_size // 7, 1)}"
        )
    if settings.images % len(data.classes) or settings.images > len(data.test):
        raise ValueError(
            f"images={settings.images} must be a multiple of the {len(data.classes)} classes, at most {len(data.test)}"
        )
    there = data.test.labels.bincount(minlength=len(data.classes))
    if int(there.min()) < each:
        raise DataError(
            f"{data.name} has {int(there.min())} test images of {data.classes[int(there.argmin())]}, but "
            f"images={settings.images} takes {each} of each class; give at most {int(there.min()) * len(data.classes)}"
        )
    if any(method.startswith("grad-cam") for method in settings.methods):
        require_captum()
    at_once(settings, source, limit)  # raises where not even one image does
    require_size(recipe, data, "the network")


def _recipe(source: Source) -> Recipe:
    return recipe_for_testing(source.model.config, source.about, "the network")


def patches(settings: Settings, source: Source) -> int:
    """How many an image is cut into."""
    return ceil(_recipe(source).image_size / settings.patch) ** 2


def at_once(settings: Settings, source: Source, limit: int) -> int:
    """How many images the network is shown at once: `BATCH`, halved until `limit` bytes do.

    Raises:
        ValueError: if one image takes more.
    """
    side, item = _recipe(source).image_size, next(source.model.parameters()).element_size()
    gradients = any(METHODS[method].needs_gradients for method in settings.methods)
    return images_at_once(source.model.config, side, side, BATCH, item, limit, gradients)


def chosen(settings: Settings, source: Source, data: Split) -> tuple[Tensor, Tensor]:
    """The first test images of every class, prepared as the network is tested on them, and their labels."""
    indices, recipe = balanced(data.test.labels, settings.images // len(data.classes)), _recipe(source)
    images = (data.test.image(int(index)) for index in indices)
    if recipe.crop_padding is None:
        prepare = for_testing(recipe, data)
        return torch.stack([prepare(image) for image in images]), data.test.labels[indices]
    # Nothing to resize. torchvision multiplies by 1 / 255, which is not the same to the last bit; where a map is flat
    # that bit decides the order of patches, and kept records would not be found again.
    mean, std = (torch.tensor(values)[:, None, None] for values in (data.mean, data.std))
    return (torch.stack(list(images)).float() / 255 - mean) / std, data.test.labels[indices]


def began(source: Source) -> Recipe | None:
    """The recipe that the training began with, None where none is known."""
    try:
        return first_recipe(source.about)
    except ValueError:
        return None


def untrained(source: Source, settings: Settings) -> list[HATNet]:
    """Networks before training: the one that this training began with, and others whose weights are drawn alike.

    One alone would not do: what an untrained network's maps are like depends much on the draw. Where the training is
    not known, all are drawn by `fan_in`.
    """
    recipe = began(source)
    networks = [] if recipe is None else [before_training(source.about, source.model.config)]
    with torch.random.fork_rng():
        torch.manual_seed(settings.seed)
        while len(networks) < settings.untrained:
            new = HATNet(source.model.config)
            if recipe is None or recipe.initial_weights == "fan-in":
                fan_in(new)
            networks.append(new.eval())
    return networks


class Trial:
    """One baseline, and the trained network that answers to images in which it takes the place of patches."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        model: HATNet,
        images: Tensor,
        labels: Tensor,
        covered: Tensor,
        generator: torch.Generator,
        batch: int,
        limit: int,
    ) -> None:
        self.settings, self.name, self.model, self.generator = settings, name, model, generator
        self.batch, self.limit = batch, limit
        self.images, self.labels, self.covered = images, labels, covered
        self.whole, self.empty = self.probability(images), self.probability(covered)

    def maps(self, method: str, network: HATNet) -> Tensor:
        """The maps of a network for the labels, over patches: (B, P)."""
        found = []
        for images, labels, covered in zip(
            *(part.split(self.batch) for part in (self.images, self.labels, self.covered)), strict=True
        ):
            maps = METHODS[method].draw(Asked(network, images, labels, covered, self.generator, self.limit))
            found.append(over_patches(maps.detach(), self.settings.patch))
        return torch.cat(found)

    @cached_property
    def falls(self) -> Tensor:
        """Of the labels' logits, for each patch that is covered: (B, P)."""
        return occlusion(self.logit, self.images, self.covered, self.settings.patch)

    def score(self, method: str, weights: str, draws: list[Tensor]) -> Score:
        """Every measure of maps (B, P); of several draws the mean for each image."""
        inserted, deleted = (self._curves(draws, way) for way in ("insertion", "deletion"))
        patches = self.falls.shape[1]
        return Score(
            self.name, method, weights,
            rounded(area(inserted, patches).tolist()), rounded(area(deleted, patches).tolist()),
            rounded(np.mean([correlations(draw, self.falls) for draw in draws], axis=0)),
            rounded(np.mean([correlations(draw, self.falls.abs()) for draw in draws], axis=0)),
            points(inserted), points(deleted),
        )  # fmt: skip

    def end(self, classes: tuple[str, ...]) -> End:
        """What the baseline alone is taken for."""
        counted = self._logits(self.covered).argmax(dim=1).bincount(minlength=len(classes))
        probability, part = rounded([float(self.empty.mean()), int(counted.max()) / len(self.images)])
        return End(self.name, probability, classes[int(counted.argmax())], part)

    def logit(self, images: Tensor) -> Tensor:
        """Of the labels, (B,)."""
        return self._logits(images).gather(1, self.labels[:, None])[:, 0]

    def probability(self, images: Tensor) -> Tensor:
        """Of the labels, (B,)."""
        return self._logits(images).softmax(dim=1).gather(1, self.labels[:, None])[:, 0]

    def _logits(self, images: Tensor) -> Tensor:
        with torch.inference_mode():
            return torch.cat([self.model(some) for some in images.split(self.batch)])

    def _curves(self, draws: list[Tensor], way: str) -> Tensor:
        begin, end, ends = self.covered, self.images, (self.empty, self.whole)
        if way == "deletion":
            begin, end, ends = end, begin, (self.whole, self.empty)
        found = [
            curve(
                self.probability, begin, end, descending(draw, self.generator), self.settings.patch,
                self.settings.steps, ends,
            )
            for draw in draws
        ]  # fmt: skip
        return torch.stack(found).mean(dim=0)


def correlations(one: Tensor, other: Tensor) -> list[float]:
    """Of each row of one with that of the other."""
    return [spearman(a, b) for a, b in zip(one.numpy(), other.numpy(), strict=True)]


def points(curves: Tensor) -> list[list[float]]:
    """Mean and standard error over images at each point: (B, n) -> n pairs."""
    errors = curves.std(dim=0) / len(curves) ** 0.5
    return [rounded(pair) for pair in zip(curves.mean(dim=0).tolist(), errors.tolist(), strict=True)]


def machine() -> dict[str, str | int]:
    """What was computed on; no names of hosts or people."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "captum": version("captum") if find_spec("captum") else "none",
    }
