"""Which images make up each step, and which process computes them.

The batch of a step is cut into slices of equal size, which are computed one at a time, with random draws seeded per
slice. So one process (with gradient accumulation) and several get the same result, up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch

from hatnet.checks import require_whole
from hatnet.training.recipes import Recipe
from hatnet.training.seeds import derive


@dataclass(frozen=True)
class Draw:
    """One image of a batch."""

    index: int  # of the image in the data set
    position: int  # in the whole training; its augmentation is seeded by it


@dataclass(frozen=True)
class BatchSampler:
    """The batches of a whole training. Every epoch is shuffled anew, and images that do not fill a batch are dropped.

    With `repeats` above 1, an epoch shows some of the images `repeats` times each, augmented differently, in one batch
    (repeated augmentation, arXiv:1901.09335). Except in very small batches, copies of an image are never neighbours,
    since mixup and CutMix mix neighbours. Raises ValueError if slices do not divide the batch, or the images do not
    fill one.
    """

    images: int
    batch_size: int
    slice_size: int
    epochs: int
    seed: int
    repeats: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            least = 0 if field.name in ("images", "seed") else 1
            object.__setattr__(self, field.name, require_whole(field.name, getattr(self, field.name), least))
        if self.batch_size % self.slice_size:
            raise ValueError(f"slice_size={self.slice_size} must divide batch_size={self.batch_size}")
        if self.images < self.batch_size:
            fits = min(
                2 ** max((self.images // 4).bit_length() - 1, 1), self.images
            )  # some steps per epoch, and pairs for mixing
            raise ValueError(
                f"batch_size={self.batch_size} is more than the {self.images} images there are for training: "
                f"give --batch-size {fits} --slice-size {fits}, with a lower --lr"
            )

    @classmethod
    def of(cls, recipe: Recipe, images: int) -> BatchSampler:
        return cls(images, recipe.batch_size, recipe.slice_size, recipe.epochs, recipe.seed, recipe.repeats)

    @property
    def steps_per_epoch(self) -> int:
        return self.images // self.batch_size

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    @property
    def slices(self) -> int:
        return self.batch_size // self.slice_size

    def epoch(self, number: int) -> list[int]:
        """Indices of the images of one epoch, in order; the same in every process."""
        generator = torch.Generator().manual_seed(derive(self.seed, "order", number))
        order = torch.randperm(self.images, generator=generator)
        order = order.repeat_interleave(self.repeats)[: self.images]
        batches = order.split(self.batch_size)
        return torch.cat([batch[copy :: self.repeats] for batch in batches for copy in range(self.repeats)]).tolist()

    def share(self, processes: int) -> int:
        """Slices of a batch that each process computes. Raises ValueError if they cannot be shared evenly."""
        require_whole("processes", processes, 1)
        if self.slices % processes:
            raise ValueError(
                f"{processes} processes cannot share the {self.slices} slices of a batch evenly: "
                f"make batch_size={self.batch_size} a multiple of slice_size={self.slice_size} x {processes}"
            )
        return self.slices // processes

    def slices_of(self, rank: int, processes: int, first_step: int = 0) -> Iterator[list[Draw]]:
        """The slices that process `rank` of so many computes, from `first_step` to the end of training."""
        share = self.share(processes)
        order: list[int] = []
        for step in range(first_step, self.steps):
            number, within = divmod(step, self.steps_per_epoch)
            if not within or not order:
                order = self.epoch(number)
            for slice_ in range(rank * share, (rank + 1) * share):
                start = within * self.batch_size + slice_ * self.slice_size
                places = range(start, start + self.slice_size)
                yield [Draw(order[place], number * self.images + place) for place in places]
