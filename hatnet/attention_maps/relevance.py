r"""What speaks for a class: gradient-weighted attention, rolled out.

For the logit y of a class and the weights W of a matrix of attention (L, G or A), the relevance is, as in the method of
Chefer, Gur and Wolf,

$$\bar W = \frac{1}{\text{heads}} \sum_{\text{heads}} \max\left(\frac{\partial y}{\partial W} \odot W,\; 0\right)$$

A weight counts where raising it would raise y. Blocks and stages are composed as in rollout, with relevances for
weights, and residuals that together carry one: a block counts with $I + (\bar L + \bar G P + \bar G P \bar L) / 2$,
a plain one with $I + \bar A$. Relevances are no shares: rows don't sum to one. What residuals alone carry, the same for
every class, is left out.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from hatnet.attention_maps.composed import Head
from hatnet.attention_maps.explicit import explicit_attention
from hatnet.attention_maps.rollout import through_convolution
from hatnet.network import HATNet


def relevances(model: HATNet, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """The relevance of every weight, by the names of the trace. Heads are averaged, and keep their axis.

    Args:
        model: in evaluation mode.
        images: (B, C_in, H, W).
        labels: of each image, the class asked for, (B,).

    Returns:
        (B, rows, columns, 1, g h, g h), (B, 1, HW, H'W') and (B, 1, HW, HW), not negative.
    """
    found = {}
    for name, (weights, gradient) in weights_and_gradients(model, images, labels).items():
        positive = (gradient * weights).clamp(min=0)
        found[name] = positive.mean(dim=3 if name.endswith("local_weights") else 1, keepdim=True)
    return found


def weights_and_gradients(model: HATNet, images: Tensor, labels: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """All weights by the names of the trace, and the gradient of each image's logit with respect to them.

    It is the whole derivative: a weight changes what later queries and keys are made of, not only values.
    """
    layouts = model.config.layout(images.shape[2], images.shape[3])
    with torch.enable_grad(), explicit_attention() as weights:
        logits = model(images.detach().requires_grad_())
        chosen = logits[torch.arange(len(images)), labels]
        gradients = torch.autograd.grad(chosen.sum(), weights)  # images don't meet, so each has its own
    calls = iter([(one.detach(), gradient) for one, gradient in zip(weights, gradients, strict=True)])
    found = {}
    for s, (stage, layout) in enumerate(zip(model.config.stages, layouts, strict=True)):
        for b in range(stage.depth):
            attention = f"stages.{s}.blocks.{b}.attention"
            if layout.windows is None:
                found[f"{attention}.weights"] = next(calls)
            else:
                near, slope = (one.unflatten(0, (len(images), *layout.windows)) for one in next(calls))
                found[f"{attention}.local_weights"] = near, slope
                found[f"{attention}.global_weights"] = next(calls)
    return found


@dataclasses.dataclass(frozen=True)
class Carried:
    """Maps on their way back: what residuals alone carry, and what relevances have added to it."""

    alone: Tensor  # (B, H, W, R)
    added: Tensor  # (B, H, W, R)

    def through_block(self, head: Head) -> Carried:
        """Through a block whose weights are relevances; `added` on its own, so that it never drowns in `alone`."""
        parts = head.parts(self.alone + self.added)
        return Carried(self.alone, self.added + (parts.window + parts.cells) / head.shares.residual)

    def through_downsampling(self, size: tuple[int, int]) -> Carried:
        """From one stage to the one before it, whose maps have `size`."""
        alone, added = (through_convolution(maps, size, stride=2) for maps in (self.alone, self.added))
        return Carried(alone, added)
