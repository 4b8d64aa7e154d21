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
from collections.abc import Sequence
from itertools import chain
from math import inf, sqrt

import torch
from torch import Tensor
from torch.func import functional_call

from hatnet.equivalence import relative_error
from hatnet.maps.block_map import Head
from hatnet.maps.rollout import through_convolution
from hatnet.maps.unfused_attention import explicit_attention
from hatnet.network import HATNet


def relevances(model: HATNet, images: Tensor, labels: Tensor, answered: Tensor | None = None) -> dict[str, Tensor]:
    """The relevance of every weight, by the names of the trace. Heads are averaged, and keep their axis.

    Args:
        model: in evaluation mode.
        images: (B, C_in, H, W).
        labels: of each image, the class asked for, (B,).
        answered: the logits of an earlier run that this one must repeat, (B, classes); None where there was none.

    Returns:
        (B, rows, columns, 1, g h, g h), (B, 1, HW, H'W') and (B, 1, HW, HW), not negative.

    Raises:
        ValueError: if the network answers anything else than `answered`, but for rounding, or if a gradient is not
            finite.
    """
    found = {}
    for name, (weights, gradient) in weights_and_gradients(model, images, labels, answered).items():
        positive = (gradient * weights).clamp(min=0)
        found[name] = positive.mean(dim=3 if name.endswith("local_weights") else 1, keepdim=True)
    return found


def weights_and_gradients(
    model: HATNet, images: Tensor, labels: Tensor, answered: Tensor | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """All weights by the names of the trace, and the gradient of each image's logit with respect to them.

    It is the whole derivative: a weight changes what later queries and keys are made of, not only values. Arguments
    and errors as in `relevances`.
    """
    layouts = model.config.layout(images.shape[2], images.shape[3])
    # What was made in inference mode takes part in no gradient, but its copy does.
    with torch.inference_mode(False), torch.enable_grad(), explicit_attention() as weights:
        tensors = chain(model.named_parameters(), model.named_buffers())
        copies = {name: tensor.detach().clone() for name, tensor in tensors if tensor.is_inference()}
        logits = functional_call(model, copies, images.detach().clone().requires_grad_())
        if answered is not None:
            _require_same(logits.detach(), answered)
        chosen = logits[torch.arange(len(images)), labels.clone()]
        gradients = torch.autograd.grad(chosen.sum(), weights)  # images don't meet, so each has its own
    _require_finite(gradients)
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


def _require_finite(gradients: Sequence[Tensor]) -> None:
    """A norm divides by a standard deviation: on even tokens every norm multiplies the gradient by 1 / sqrt(eps)."""
    if not all(gradient.isfinite().all() for gradient in gradients):
        raise ValueError(
            "a class map needs finite gradients, and some are not: where an image is of one colour, as padding "
            f"is, norms make them too large for {str(gradients[0].dtype).removeprefix('torch.')}; take another image, "
            "or model.double() and image.double()"
        )


def _require_same(logits: Tensor, answered: Tensor) -> None:
    """Raise a ValueError unless two runs gave the same logits, in half of the digits that they were computed with.

    Not in all, since explicit attention rounds otherwise than a fused kernel.
    """
    digits = max(_precision(logits), _precision(answered))
    same_shape = logits.shape == answered.shape
    difference = relative_error(logits.cpu().double(), answered.cpu().double()) if same_shape else inf
    if not difference <= sqrt(digits):  # so that NaN is no answer
        raise ValueError(
            "the network or the image has changed since attention_maps(model, image): its logits must be the same for "
            f"a class map, but differ by {difference:.1e} of the largest; call attention_maps(model, image) again"
        )


def _precision(logits: Tensor) -> float:
    """Of the arithmetic they were computed in: a GPU may multiply float32 in TF32, which has ten bits."""
    return 2**-10 if logits.is_cuda and logits.dtype == torch.float32 else torch.finfo(logits.dtype).eps


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
