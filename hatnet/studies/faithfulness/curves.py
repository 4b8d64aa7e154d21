r"""Insertion and deletion: what a network answers while an image appears, or disappears, patch by patch.

With $P$ patches in the order of a map, $x^{(k)}$ the image whose first $k$ patches are swapped, and $p$ the probability
of the class, the area under the curve is taken by trapezoids:

$$\text{area} = \sum_{j=1}^{J} \frac{k_j - k_{j-1}}{P} \cdot \frac{p(x^{(k_j)}) + p(x^{(k_{j-1})})}{2}$$

Insertion goes from the baseline to the image (large is good), deletion from the image to the baseline (small is good).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hatnet.studies.faithfulness.patches import swap

Answer = Callable[[Tensor], Tensor]  # images (B, C_in, H, W) -> what is followed, (B,)


def descending(scores: Tensor, generator: torch.Generator) -> Tensor:
    """Numbers of patches, the highest score first, (B, P). Which of equal ones comes first is drawn.

    >>> descending(torch.tensor([[0.1, 0.7, 0.2]]), torch.Generator())
    tensor([[1, 2, 0]])
    """
    shuffled = torch.rand(scores.shape, generator=generator).argsort(dim=1)
    return shuffled.gather(1, scores.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))


def counts(patches: int, steps: int) -> list[int]:
    """How many patches are swapped at each point of a curve.

    >>> counts(49, 4)
    [0, 12, 24, 37, 49]
    """
    return [round(patches * step / steps) for step in range(steps + 1)]


def curve(
    answer: Answer,
    begin: Tensor,
    end: Tensor,
    order: Tensor,
    patch: int,
    steps: int,
    ends: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Answers on the way from one image to the other.

    Args:
        answer: the network.
        begin, end: (B, C_in, H, W).
        order: of the patches, (B, P).
        patch: its side in pixels.
        steps: how many, of nearly equal numbers of patches.
        ends: the answers to `begin` and `end`, (B,) each, where they are known.

    Returns:
        (B, steps + 1), the first for `begin`, the last for `end`.
    """
    rank = order.argsort(dim=1)  # the place of each patch in the order
    between = [answer(swap(begin, end, rank < count, patch)) for count in counts(order.shape[1], steps)[1:-1]]
    first, last = ends or (answer(begin), answer(end))
    return torch.stack([first, *between, last], dim=1)


def area(curves: Tensor, patches: int) -> Tensor:
    """Under curves over the part of the patches that is swapped: (B, steps + 1) -> (B,).

    >>> area(torch.tensor([[0.0, 1.0, 1.0]]), patches=4)
    tensor([0.7500])
    """
    at = torch.tensor(counts(patches, curves.shape[1] - 1), dtype=torch.float64) / patches
    return torch.trapezoid(curves, at.to(curves), dim=1)
