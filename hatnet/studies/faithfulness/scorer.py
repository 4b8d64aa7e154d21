"""Scores of maps for one baseline, by the trained network."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from hatnet.network import HATNet
from hatnet.studies.faithfulness.curves import area, curve, descending_order
from hatnet.studies.faithfulness.methods import METHODS, MapInputs
from hatnet.studies.faithfulness.occlusion import occlusion, rank_correlations
from hatnet.studies.faithfulness.patches import patch_means
from hatnet.studies.faithfulness.record import BaselineAnswer, Score, Settings, rounded


@dataclass
class Scorer:
    """Draws maps of images, and scores them with the trained network and one baseline."""

    settings: Settings
    name: str  # of the baseline
    model: HATNet  # the trained network
    images: Tensor  # (B, C_in, H, W)
    targets: Tensor  # the class to explain for each image, (B,)
    baselines: Tensor  # the baseline of each image, (B, C_in, H, W)
    generator: torch.Generator  # for random maps and for the order of equal scores
    batch: int  # images per forward pass
    memory_limit: int  # bytes

    def maps(self, method: str, network: HATNet) -> Tensor:
        """Draw the maps of a network for the targets, averaged over patches: (B, P)."""
        means = []
        batches = (part.split(self.batch) for part in (self.images, self.targets, self.baselines))
        for images, targets, baselines in zip(*batches, strict=True):
            inputs = MapInputs(network, images, targets, baselines, self.generator, self.memory_limit)
            maps = METHODS[method].draw(inputs).detach()
            means.append(patch_means(maps, self.settings.patch))
        return torch.cat(means)

    def score(self, method: str, weights: str, draws: Sequence[Tensor]) -> Score:
        """Score maps (B, P) by every measure. Several draws of a random map are averaged for each image."""
        baseline, image = (self.baselines, self.baseline_probability), (self.images, self.image_probability)
        inserted, deleted = self._mean_curves(draws, baseline, image), self._mean_curves(draws, image, baseline)
        drops = self.logit_drops
        patches = drops.shape[1]
        return Score(
            self.name, method, weights,
            rounded(area(inserted, patches).tolist()), rounded(area(deleted, patches).tolist()),
            rounded(np.mean([rank_correlations(draw, drops) for draw in draws], axis=0)),
            rounded(np.mean([rank_correlations(draw, drops.abs()) for draw in draws], axis=0)),
            curve_points(inserted), curve_points(deleted),
        )  # fmt: skip

    @cached_property
    def logit_drops(self) -> Tensor:
        """Drop of the target's logit when each patch is covered, (B, P)."""
        return occlusion(self.logit, self.images, self.baselines, self.settings.patch)

    @cached_property
    def image_probability(self) -> Tensor:
        """Probability of the target for the whole images, (B,)."""
        return self.probability(self.images)

    @cached_property
    def baseline_probability(self) -> Tensor:
        """Probability of the target for the baselines alone, (B,)."""
        return self.probability(self.baselines)

    def baseline_answer(self, classes: Sequence[str]) -> BaselineAnswer:
        """Summarise the network's predictions for the baselines alone."""
        counts = logits(self.model, self.baselines, self.batch).argmax(dim=1).bincount(minlength=len(classes))
        probability, part = rounded([float(self.baseline_probability.mean()), int(counts.max()) / len(self.images)])
        return BaselineAnswer(self.name, probability, classes[int(counts.argmax())], part)

    def logit(self, images: Tensor) -> Tensor:
        """Logit of the target: (B, C_in, H, W) -> (B,)."""
        return logits(self.model, images, self.batch).gather(1, self.targets[:, None])[:, 0]

    def probability(self, images: Tensor) -> Tensor:
        """Probability of the target: (B, C_in, H, W) -> (B,)."""
        return logits(self.model, images, self.batch).softmax(dim=1).gather(1, self.targets[:, None])[:, 0]

    def _mean_curves(self, draws: Sequence[Tensor], begin: tuple[Tensor, Tensor], end: tuple[Tensor, Tensor]) -> Tensor:
        """Mean curves over the draws, (B, steps + 1), from one kind of images with their probabilities to the other."""
        patch, steps, ends = self.settings.patch, self.settings.steps, (begin[1], end[1])
        orders = (descending_order(draw, self.generator) for draw in draws)
        curves = [curve(self.probability, begin[0], end[0], order, patch, steps, ends) for order in orders]
        return torch.stack(curves).mean(dim=0)


def logits(network: HATNet, images: Tensor, batch: int) -> Tensor:
    """Logits of all classes, computed in batches: (B, C_in, H, W) -> (B, classes)."""
    with torch.inference_mode():
        return torch.cat([network(part) for part in images.split(batch)])


def curve_points(curves: Tensor) -> list[list[float]]:
    """Mean and standard error over images at each point of the curves: (B, n) -> n pairs."""
    errors = curves.std(dim=0) / len(curves) ** 0.5
    return [rounded(pair) for pair in zip(curves.mean(dim=0).tolist(), errors.tolist(), strict=True)]
