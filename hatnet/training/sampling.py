"""Which images make up which step, and which process computes them.

A step's batch is cut into slices of equal size. A slice is what one process computes at once, and
what its random draws are seeded for. So the same training can be done by one process, slice after
slice (gradient accumulation), or by several at the same time, with the same result to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from hatnet.training.seeds import derive


@dataclass(frozen=True)
class Draw:
    """One image of a batch: which one, and at which position of the whole training (what its augmentation is for)."""

    index: int
    position: int


@dataclass(frozen=True)
class Order:
    """The order of a whole training. Every epoch shuffles anew; what is left over of the last batch is dropped.

    With `repeats` above 1, an epoch shows a part of the images `repeats` times each, augmented differently, in one
    batch (repeated augmentation, arXiv:1901.09335). In batches of more than a few images the same are never side by
    side: neighbours are what mixup and CutMix mix.

    Raises ValueError where the parts don't go into each other.
    """

    images: int
    batch_size: int
    slice_size: int
    epochs: int
    seed: int
    repeats: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.slice_size:
            raise ValueError(f"slice_size={self.slice_size} must divide batch_size={self.batch_size}")
        if self.images < self.batch_size:
            raise ValueError(f"batch_size={self.batch_size} is more than the {self.images} images there are")

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch."""
        return self.images // self.batch_size

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.epochs * self.steps_per_epoch

    @property
    def slices(self) -> int:
        """Slices of one batch."""
        return self.batch_size // self.slice_size

    def epoch(self, number: int) -> list[int]:
        """The images of one epoch, in order; the same whoever asks."""
        generator = torch.Generator().manual_seed(derive(self.seed, "order", number))
        order = torch.randperm(self.images, generator=generator)
        order = order.repeat_interleave(self.repeats)[: self.images]
        batches = order.split(self.batch_size)
        return torch.cat([batch[copy :: self.repeats] for batch in batches for copy in range(self.repeats)]).tolist()

    def share(self, world: int) -> int:
        """How many slices of a batch each of `world` processes computes.

        Raises:
            ValueError: if they can't be shared out evenly.
        """
        if self.slices % world:
            raise ValueError(
                f"{world} processes can't share the {self.slices} slices of a batch evenly: "
                f"make batch_size={self.batch_size} a multiple of slice_size={self.slice_size} x {world}"
            )
        return self.slices // world

    def slices_of(self, rank: int, world: int, first_step: int = 0) -> Iterator[list[Draw]]:
        """The slices that process `rank` of `world` computes, from `first_step` to the end."""
        share = self.share(world)
        order: list[int] = []
        for step in range(first_step, self.steps):
            number, within = divmod(step, self.steps_per_epoch)
            if not within or not order:
                order = self.epoch(number)
            for slice_ in range(rank * share, (rank + 1) * share):
                start = within * self.batch_size + slice_ * self.slice_size
                yield [
                    Draw(order[place], number * self.images + place) for place in range(start, start + self.slice_size)
                ]
