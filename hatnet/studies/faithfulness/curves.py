r"""Insertion and deletion: the network's output while an image appears, or disappears, patch by patch.

Let $P$ be the number of patches, $x^{(k)}$ the image with the first $k$ patches in the order of a map replaced, and
$p$ the probability of the class. The trapezoidal rule gives the area under the curve:

$$\text{area} = \sum_{j=1}^{J} \frac{k_j - k_{j-1}}{P} \cdot \frac{p(x^{(k_j)}) + p(x^{(k_{j-1})})}{2}$$

Insertion goes from the baseline to the image (high is good), deletion from the image to the baseline (low is good).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from hatnet.checks import require_whole
from hatnet.studies.faithfulness.patches import replace_patches

Output = Callable[[Tensor], Tensor]  # images (B, C_in, H, W) -> one number per image, (B,)


def descending_order(scores: Tensor, generator: torch.Generator) -> Tensor:
    """Indices of patches (B, P) from the highest score to the lowest. Ties are broken at random.

    >>> descending_order(torch.tensor([[0.1, 0.7, 0.2]]), torch.Generator())
    tensor([[1, 2, 0]])
    """
    shuffled = torch.rand(scores.shape, generator=generator).argsort(dim=1)
    return shuffled.gather(1, scores.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))


def patch_counts(patches: int, steps: int) -> list[int]:
    """Number of replaced patches at each point of a curve. Raises ValueError for `patches` or `steps` below 1.

    >>> patch_counts(49, 4)
    [0, 12, 24, 37, 49]
    """
    patches, steps = require_whole("patches", patches, 1), require_whole("steps", steps, 1, 10**6)
    return [round(patches * step / steps) for step in range(steps + 1)]


def curve(
    output: Output,
    begin: Tensor,
    end: Tensor,
    order: Tensor,
    patch: int,
    steps: int,
    known_ends: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Outputs of the network on the way from the images `begin` to the images `end`, (B, C_in, H, W): (B, steps + 1).

    `order` (B, P) holds the patches in the order of replacement; each has a side of `patch` pixels. All steps replace
    nearly the same number. `known_ends` are the outputs for `begin` and `end`, (B,) each, if they are already known.
    """
    rank = order.argsort(dim=1)  # position of each patch in the order
    counts = patch_counts(order.shape[1], steps)[1:-1]
    between = [output(replace_patches(begin, end, rank < count, patch)) for count in counts]
    first, last = known_ends or (output(begin), output(end))
    return torch.stack([first, *between, last], dim=1)


def area(curves: Tensor, patches: int) -> Tensor:
    """Area under each curve, over the fraction of replaced patches: (B, steps + 1) -> (B,).

    >>> area(torch.tensor([[0.0, 1.0, 1.0]]), patches=4)
    tensor([0.7500])
    """
    fractions = torch.tensor(patch_counts(patches, curves.shape[1] - 1), dtype=torch.float64) / patches
    return torch.trapezoid(curves, fractions.to(curves), dim=1)
