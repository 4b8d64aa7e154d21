"""Exact evaluation: each image once, however many processes and whatever the batch size."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hatnet.data import DataError
from hatnet.network import HATNet
from hatnet.training.distributed import World


@dataclass(frozen=True)
class Evaluation:
    """What a model made of some images."""

    confusion: Tensor  # (classes, classes) counts: row the true class, column the predicted one
    loss: float  # mean cross-entropy, in nats

    @property
    def images(self) -> int:
        """How many images were seen."""
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        """The part of all images that is classified right (top-1)."""
        return float(self.confusion.diagonal().sum()) / self.images

    @property
    def class_accuracy(self) -> list[float]:
        """For every true class, the part of its images that is classified right; nan for a class without images."""
        return (self.confusion.diagonal().double() / self.confusion.sum(1)).tolist()


@torch.inference_mode()
def evaluate(model: HATNet, batches: Iterable[tuple[Tensor, Tensor]], world: World) -> Evaluation:
    """Classify every image of `batches`, this process's part of them, and sum over all processes.

    Args:
        model: in evaluation mode.
        batches: images (B, C_in, H, W) and labels (B,).
        world: which processes share the images.

    Raises:
        DataError: if there is no image in any process's batches.
    """
    classes = model.config.num_classes
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=world.device)
    loss = torch.zeros((), dtype=torch.float64, device=world.device)
    for images, labels in batches:
        labels = labels.to(world.device)
        logits = model(images.to(world.device))  # (B, classes)
        loss += F.cross_entropy(logits.float(), labels, reduction="sum")
        pairs = labels * classes + logits.argmax(dim=1)
        confusion += torch.bincount(pairs, minlength=classes**2).view(classes, classes)
    world.sum(confusion)
    world.sum(loss)
    if not confusion.any():
        raise DataError("not one test image can be read: the data has gone bad, or its disk is away")
    return Evaluation(confusion.cpu(), float(loss) / int(confusion.sum()))
