"""Load the images of each slice, prepare them, and stack them into batches."""

import atexit
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from hatnet.data import DataError, Images
from hatnet.data.transforms import Transform
from hatnet.training.sampling import Draw
from hatnet.training.seeds import derive, seed_cpu

# Classification: images (B, C_in, H, W) float32 and labels (B,) int64. Other tasks have batches of their own.
Batch = tuple[Any, Any]
Collate = Callable[[list[Any]], Batch]  # pairs of an image and its label to a batch

MOST_WORKERS = 256  # processes that prepare images, for each process that trains
NEIGHBOURS = 100  # files in a row that may be unreadable
PRINTED = 20  # files that have gone bad


class BrokenFiles:
    """Prints each file that has gone bad once per run, whichever worker meets it, and only the first `PRINTED`."""

    def __init__(self, images: Images) -> None:
        self.told = torch.zeros(len(images), dtype=torch.bool)
        self.lock: AbstractContextManager[Any] = nullcontext()  # against workers that count at the same time

    def share(self) -> None:
        """Let worker processes share what has been printed."""
        if not self.told.is_shared():
            self.told.share_memory_()
            self.lock = multiprocessing.Lock()

    def tell(self, index: int, message: str) -> None:
        with self.lock:
            if self.told[index]:
                return
            self.told[index] = True
            count = int(self.told.sum())
        if count <= PRINTED:
            print(f"{message}\n", end="", flush=True)  # one write, which another worker's cannot divide
        elif count == PRINTED + 1:
            print("more files cannot be read, which are not named here\n", end="", flush=True)


class Augmented(Dataset[Batch]):
    """Training images. An image's augmentation depends only on the run's seed and its position in the training."""

    def __init__(self, images: Images, transform: Transform, seed: int) -> None:
        self.images, self.transform, self.seed = images, transform, seed
        self.broken = BrokenFiles(images)

    def __getitem__(self, draw: Draw) -> Batch:
        seed_cpu(derive(self.seed, "augment", draw.position))
        for index in range(draw.index, draw.index + NEIGHBOURS):  # a neighbour replaces a file that has gone bad
            try:
                image, label = (read(index % len(self.images)) for read in (self.images.image, self.images.label))
                return self.transform(image, label)
            except DataError as error:
                if index == draw.index:
                    self.broken.tell(index, f"left out, its neighbour taken: {error}")
        raise DataError(f"{NEIGHBOURS} images in a row cannot be read: the data is damaged, or its disk is away")


class Plain(Dataset[Batch | None]):
    """Test images. None for a file that has gone bad: its neighbour would be counted twice."""

    def __init__(self, images: Images, transform: Transform) -> None:
        self.images, self.transform, self.broken = images, transform, BrokenFiles(images)

    def __getitem__(self, index: int) -> Batch | None:
        try:
            image, label = self.images.image(index), self.images.label(index)
        except DataError as error:
            self.broken.tell(index, f"left out of the test: {error}")
            return None
        return self.transform(image, label)


@dataclass(frozen=True)
class ReadableBatches:
    """The batches of a loader, without those that have no readable image; can be iterated repeatedly."""

    loader: DataLoader[Batch | None]

    def __iter__(self) -> Iterator[Batch]:
        return (batch for batch in self.loader if batch is not None)

    def __len__(self) -> int:
        """The number of batches, those without a readable image included."""
        return len(self.loader)


def batches_for_training(
    images: Images, transform: Transform, seed: int, slices: Iterator[list[Draw]], workers: int, pinned: bool = False,
    collate: Collate = default_collate,
) -> Iterator[Batch]:  # fmt: skip
    """The slices of a whole training, prepared by `workers` processes. A GPU copies `pinned` memory as it computes."""
    return iter(_load(Augmented(images, transform, seed), slices, workers, pinned, collate))


def batches_for_testing(
    images: Images, transform: Transform, rank: int, processes: int, batch_size: int, workers: int,
    pinned: bool = False, collate: Collate = default_collate,
) -> ReadableBatches:  # fmt: skip
    """The share of process `rank`: every `processes`-th image, so that all processes together take each image once."""
    mine = list(range(rank, len(images), processes))
    batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
    return ReadableBatches(_load(Plain(images, transform), batches, workers, pinned, collate))


def _load(dataset: Augmented | Plain, batches: object, workers: int, pinned: bool, collate: Collate) -> DataLoader[Any]:
    if workers:
        dataset.broken.share()
    return DataLoader(
        dataset,
        batch_sampler=batches,  # type: ignore[arg-type]
        collate_fn=partial(_collate_readable, collate=collate),
        num_workers=workers,
        pin_memory=pinned,
        persistent_workers=workers > 0,
        worker_init_fn=_ignore_signals,
    )


def _collate_readable(images: Sequence[Batch | None], collate: Collate) -> Batch | None:
    readable = [pair for pair in images if pair is not None]
    if not readable:
        return None
    prepared, labels = collate(readable)
    return prepared, labels


def _ignore_signals(_: int) -> None:
    """Let the training end its workers: Ctrl-C and a scheduler's SIGTERM reach all processes at once.

    `_kill_workers` ends them if the training cannot.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def _kill_workers() -> None:
    """Kill workers that are left at the end of Python, which would send them SIGTERM, and wait for them for ever."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()
