"""Split a part off labelled images, by class and with a seed: for validation, or for a test where there is none."""

from collections.abc import Sequence

import torch
from torch import Tensor

from hatnet.data.images import DataError, Images


def split_off(images: Images, fraction: float, seed: int, classes: Sequence[str], part: str) -> tuple[Images, Images]:
    """Split images into those that stay and a `fraction` of every class, both in their first order.

    Every class keeps at least one image in each of the two, so it is rounded to 1 at least. Images with a label for
    each pixel are split without regard to classes. `part` names the second part in errors. Raises DataError if a class
    has fewer than 2 images, and for a fraction that leaves a class without images.
    """
    labels = images.labels if images.labels.ndim == 1 else torch.zeros(len(images), dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    taken = []
    for label, places in _by_class(labels):
        name = classes[label] if images.labels.ndim == 1 else "all"
        count = max(round(fraction * len(places)), 1)
        if count >= len(places):
            raise DataError(
                f"class {name!r} has {len(places)} image{'s' * (len(places) > 1)}, too few to split {fraction:g} of "
                f"them off for {part}: every class needs one image there and one for training"
            )
        taken.append(places[torch.randperm(len(places), generator=generator)[:count]])
    off = torch.zeros(len(images), dtype=torch.bool)
    off[torch.cat(taken)] = True
    return images.part((~off).nonzero().flatten()), images.part(off.nonzero().flatten())


def _by_class(labels: Tensor) -> list[tuple[int, Tensor]]:
    """The indices of the images of each class that has any, in ascending order."""
    order = labels.argsort(stable=True)
    present, counts = labels.unique(return_counts=True)
    return list(zip(present.tolist(), order.split(counts.tolist()), strict=True))
