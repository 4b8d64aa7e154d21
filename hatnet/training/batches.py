"""From an order of images to batches on their way to the network."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from hatnet.data import DataError, Images
from hatnet.data.transforms import Transform
from hatnet.training.sampling import Draw
from hatnet.training.seeds import derive, seed_cpu

Batch = tuple[Tensor, Tensor]  # images (B, C_in, H, W) float32, labels (B,) int64


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Images for training. How one is augmented depends on the run's seed and its place in the training alone."""

    def __init__(self, images: Images, transform: Transform, seed: int) -> None:
        self.images, self.transform, self.seed = images, transform, seed

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor]:
        seed_cpu(derive(self.seed, "augment", draw.position))
        for index in range(draw.index, draw.index + 100):  # a file that has gone bad is replaced by its neighbour
            try:
                image = self.images.image(index % len(self.images))
                return self.transform(image), self.images.labels[index % len(self.images)]
            except DataError as error:
                if index == draw.index:
                    print(f"left out, its neighbour taken: {error}", flush=True)
        raise DataError("100 images in a row can't be read: the data has gone bad, or its disk is away")


class Plain(Dataset[tuple[Tensor, Tensor] | None]):
    """Images for testing. None for a file that has gone bad: its neighbour in its place would be counted twice."""

    def __init__(self, images: Images, transform: Transform) -> None:
        self.images, self.transform = images, transform

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor] | None:
        try:
            image = self.images.image(index)
        except DataError as error:
            print(f"left out of the test: {error}", flush=True)
            return None
        return self.transform(image), self.images.labels[index]


@dataclass(frozen=True)
class ReadableBatches:
    """The batches of a loader, again and again, without those of which no image could be read."""

    loader: DataLoader[Batch | None]

    def __iter__(self) -> Iterator[Batch]:
        return (batch for batch in self.loader if batch is not None)


def batches_for_training(
    images: Images, transform: Transform, seed: int, slices: Iterator[list[Draw]], workers: int, pinned: bool = False
) -> Iterator[Batch]:
    """The slices of the whole training one after the other, prepared ahead by `workers` processes.

    `pinned` puts them where a GPU can fetch them by itself.
    """
    loader: DataLoader[Batch] = _load(Augmented(images, transform, seed), slices, workers, pinned)
    return iter(loader)


def batches_for_testing(
    images: Images, transform: Transform, rank: int, world: int, batch_size: int, workers: int, pinned: bool = False
) -> ReadableBatches:
    """Every `world`-th image from `rank` on: together the processes see each image once.

    An image that can't be read is left out, and a line printed about it.
    """
    mine = list(range(rank, len(images), world))
    batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
    return ReadableBatches(_load(Plain(images, transform), batches, workers, pinned))


def _load(dataset: Dataset[Any], batches: object, workers: int, pinned: bool) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=_collate_readable,
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=workers > 0,
        worker_init_fn=_leave_signals_to_the_training,
    )


def _collate_readable(images: Sequence[tuple[Tensor, Tensor] | None]) -> Batch | None:
    readable = [pair for pair in images if pair is not None]
    return tuple(default_collate(readable)) if readable else None


def _leave_signals_to_the_training(_: int) -> None:
    """Ctrl-C reaches all processes of a terminal, and a scheduler's SIGTERM all of a job; it ends them in order."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
