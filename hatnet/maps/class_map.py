r"""The class map: gradient-weighted attention, rolled out.

For the logit y of a class and the weights W of an attention matrix (L, G or A), the relevance is, as in the method of
Chefer, Gur and Wolf,

$$\bar W = \frac{1}{\text{heads}} \sum_{\text{heads}} \max\left(\frac{\partial y}{\partial W} \odot W,\; 0\right)$$

A weight counts only if increasing it would increase y. Blocks and stages are composed as in rollout, but with
relevances instead of weights, and the residuals of a block have a total weight of one: a hierarchical block counts as
$I + (\bar L + \bar G P + \bar G P \bar L) / 2$, one with plain attention as $I + \bar A$. Relevances are not shares:
their rows do not sum to one. The residuals' own contribution, which is the same for every class, is subtracted.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from math import inf, sqrt

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hatnet.config import StageLayout
from hatnet.equivalence import relative_error
from hatnet.maps.block_map import TracedWeights
from hatnet.maps.rollout import through_convolution
from hatnet.maps.unfused_attention import unfused_attention
from hatnet.network import HATNet
from hatnet.trace import Place


def relevances(model: HATNet, images: Tensor, labels: Tensor, expected: Tensor | None = None) -> dict[str, Tensor]:
    """The relevance of every weight, under its name in the trace. Averaged over heads; their axis stays, with length 1.

    The relevances are (B, rows, columns, 1, g h, g h), (B, 1, HW, H'W') or (B, 1, HW, HW), not negative, for a model in
    evaluation mode. Raises ValueError if the logits differ from those of an earlier run, `expected` (B, classes), by
    more than rounding, or if a gradient is not finite.
    """
    return positive_parts(weights_and_gradients(model, images, labels, expected))


def positive_parts(weights_and_gradients: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """The relevance of every weight from its gradient; shapes as in `relevances`."""
    found = {}
    for name, (weights, gradient) in weights_and_gradients.items():
        positive = (gradient * weights).clamp(min=0)
        found[name] = positive.mean(dim=3 if name.endswith("local_weights") else 1, keepdim=True)
    return found


def weights_and_gradients(
    model: HATNet, images: Tensor, labels: Tensor, expected: Tensor | None = None
) -> dict[str, tuple[Tensor, Tensor]]:
    """All weights, and the full derivative of each image's logit with respect to them, also through later blocks."""
    with recorded_for_gradients(model, images) as (logits, weights):
        if expected is not None:
            _require_same(logits.detach(), expected)
        chosen = logits[torch.arange(len(images)), labels.clone()]
        gradients = torch.autograd.grad(chosen.sum(), list(weights.values()))  # images do not mix: each has its own
    return by_window(weights, gradients, model.config.layout(images.shape[2], images.shape[3]), len(images))


@contextmanager
def recorded_for_gradients(model: nn.Module, images: Tensor) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Run a model; inside the `with` block, derivatives of its output with respect to the weights can be taken."""
    # Autograd cannot use tensors created in inference mode, but it can use copies of them.
    with torch.inference_mode(False), torch.enable_grad(), unfused_attention() as weights:
        tensors = chain(model.named_parameters(), model.named_buffers())
        copies = {name: tensor.detach().clone() for name, tensor in tensors if tensor.is_inference()}
        yield functional_call(model, copies, images.detach().clone().requires_grad_()), weights


def by_window(
    weights: Mapping[str, Tensor], gradients: Sequence[Tensor], layouts: Sequence[StageLayout], batch: int
) -> dict[str, tuple[Tensor, Tensor]]:
    """Weights and gradients in the shapes of the trace, for each image. ValueError if a gradient is not finite."""
    if not all(gradient.isfinite().all() for gradient in gradients):
        # A norm divides by a standard deviation: on uniform tokens it multiplies the gradient by 1 / sqrt(eps).
        raise ValueError(
            "a class map needs finite gradients, and some are not: where an image is of one colour, as padding "
            f"is, norms make them too large for {str(gradients[0].dtype).removeprefix('torch.')}; take another image, "
            "or model.double() and image.double()"
        )
    found = {}
    for (name, one), gradient in zip(weights.items(), gradients, strict=True):
        windows = layouts[Place.parse(name).stage or 0].windows if name.endswith("local_weights") else None
        shape = (batch, *(windows or ()))  # (B, rows, columns), or (B,) outside windows
        found[name] = one.detach().unflatten(0, shape), gradient.unflatten(0, shape)
    return found


def class_map(reads: Mapping[int, Tensor], relevance: TracedWeights) -> Tensor:
    """Roll relevances out, from rows over the tokens of the stages that a head reads, back to the tokens of the stem.

    `reads` holds for each of these stages the share of every token, (B, H, W, R); a classifier reads the last stage.
    The result is (B, H0, W0, R), without the residuals' contribution; not negative.
    """
    # Two parts, because the residuals may be so much larger that the sum would round the rest away.
    last = max(reads)
    residual = added = torch.zeros_like(reads[last])
    for s in reversed(range(last + 1)):
        residual = residual + reads.get(s, 0)
        for b in reversed(range(relevance.config.stages[s].depth)):
            (head,) = relevance.heads(s, b)
            parts = head.parts(residual + added)
            added = added + (parts.window + parts.cells) / head.shares.residual
        if s > 0:
            size = relevance.layouts[s - 1].map
            residual, added = (through_convolution(each, size, stride=2) for each in (residual, added))
    return added


def _require_same(logits: Tensor, expected: Tensor) -> None:
    """Compare to half of the digits, because unfused attention rounds differently from a fused kernel."""
    epsilon = max(_epsilon(logits), _epsilon(expected))
    same_shape = logits.shape == expected.shape
    difference = relative_error(logits.cpu().double(), expected.cpu().double()) if same_shape else inf
    if not difference <= sqrt(epsilon):  # written so that NaN fails
        raise ValueError(
            "the network or the image has changed since attention_maps(model, image): a class map needs the same "
            f"logits, but they differ by {difference:.1e} of the largest; call attention_maps(model, image) again"
        )


def _epsilon(logits: Tensor) -> float:
    """The relative precision of the arithmetic: a GPU may multiply float32 in TF32, which has ten bits."""
    return 2**-10 if logits.is_cuda and logits.dtype == torch.float32 else torch.finfo(logits.dtype).eps
