r"""The map of an object: what attention brings to the class of its pixels, in a network that segments.

The score y of an object is the logit of its class, averaged over its pixels. Every attention weight has a relevance to
y, as in `class_map`. A classifier reads the last stage alone, and all of its tokens alike. A pyramid reads the output
$F_s$ of every stage, and each object other tokens of it. So rows enter at every stage, token t of stage s with a share

$$r_{s,t} \propto \max\left(\sum_c F_{s,t,c}\, \frac{\partial y}{\partial F_{s,t,c}},\; 0\right)$$

where the derivative is that of pyramid and head alone, and all shares of an object together sum to one. Then they are
rolled out. As in a class map, what the residuals carry is subtracted: it stays where the object is.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hatnet.checks import require_type, require_whole
from hatnet.config import HATNetConfig
from hatnet.dense import SemanticFPN
from hatnet.equivalence import evaluation_mode
from hatnet.maps.block_map import TracedWeights
from hatnet.maps.class_map import by_window, class_map, positive_parts, recorded_for_gradients
from hatnet.maps.maps import as_array
from hatnet.maps.memory import GIB, require_memory
from hatnet.maps.rollout import through_stem


def object_maps(
    model: SemanticFPN,
    image: Tensor,
    masks: Tensor,
    labels: Sequence[int],
    pixels: bool = False,
    limit: int = 2 * GIB,
) -> NDArray[np.floating]:
    """What attention brings to each object from every place of the image.

    Args:
        model: a trained segmenter.
        image: (C_in, H, W), pixels in [0, 1].
        masks: (objects, H, W), True for the pixels of each object.
        labels: the class of each object.
        pixels: whether maps are over pixels, instead of over the tokens of stage 0.
        limit: in bytes, for the HAT-Net's attention weights, their gradients and the maps kept for them. Pyramid, head
            and logits come on top.

    Returns (objects, H0, W0), or (objects, H, W) with `pixels`, in the model's dtype (float32 for bfloat16). Maps are
    never negative; their sums have no meaning. Raises TypeError or ValueError for inputs of another type or shape, an
    object without pixels, an unknown class, or gradients that are not finite.

    >>> from hatnet import create_model
    >>> model = create_model("micro", task="segmentation", num_classes=5)
    >>> mask = torch.zeros(1, 32, 48, dtype=torch.bool)
    >>> mask[:, 4:9, 20:30] = True
    >>> object_maps(model, torch.rand(3, 32, 48), mask, [2]).shape
    (1, 16, 24)
    """
    _require_objects(model, image, masks, labels)
    require_type("pixels", pixels, bool, "True or False")
    config, (H, W) = model.config, (image.shape[1], image.shape[2])
    require_memory(config, H, W, 1, image.element_size(), require_whole("limit", limit, 1), gradients=True)
    found, recorded = [], recorded_for_gradients(model, image[None])
    with evaluation_mode(model), _read_maps(model) as read, recorded as (logits, weights):
        for mask, label in zip(masks.detach().clone().to(logits.device), labels, strict=True):
            map = _map(logits[0, label][mask].mean(), weights, read, config, (H, W))  # (1, H0, W0, 1)
            map = through_stem(map, (H, W), config.stem_strides) if pixels else map
            found.append(as_array(map[0, :, :, 0]))
    return np.stack(found)


def _map(
    score: Tensor,
    weights: Mapping[str, Tensor],
    read: Sequence[tuple[Tensor, Tensor]],
    config: HATNetConfig,
    size: tuple[int, int],
) -> Tensor:
    """The map of one object, (1, H0, W0, 1), from its score."""
    layouts = config.layout(*size)
    sources = [*weights.values(), *(offset for _, offset in read)]
    gradients = torch.autograd.grad(score, sources, retain_graph=True)
    relevance = positive_parts(by_window(weights, gradients[: len(weights)], layouts, batch=1))
    shares = _shares([F for F, _ in read], gradients[len(weights) :])
    return class_map(dict(enumerate(shares)), TracedWeights(config, layouts, relevance))


@contextmanager
def _read_maps(model: SemanticFPN) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """The maps F that the pyramid reads in the next run, each with an offset of zero.

    An offset is added on the way to the pyramid, not on that to the next stage, so that derivatives with respect to it
    are those of pyramid and head alone.
    """
    read: list[tuple[Tensor, Tensor]] = []

    def offset(_: object, given: tuple[OrderedDict[str, Tensor]]) -> tuple[OrderedDict[str, Tensor]]:
        read.extend((F.detach(), torch.zeros_like(F, requires_grad=True)) for F in given[0].values())
        return (OrderedDict((name, F + zero) for (name, F), (_, zero) in zip(given[0].items(), read, strict=True)),)

    handle = model.backbone.fpn.register_forward_pre_hook(offset)
    try:
        yield read
    finally:
        handle.remove()


def _shares(maps: Sequence[Tensor], gradients: Sequence[Tensor]) -> list[Tensor]:
    """How much each token of each map speaks for a score: (1, C, H, W) -> (1, H, W, 1), with a total of one."""
    read = [(F * gradient).sum(dim=1).clamp(min=0)[..., None] for F, gradient in zip(maps, gradients, strict=True)]
    total = torch.stack([each.sum() for each in read]).sum()
    return [each / total.clamp(min=torch.finfo(total.dtype).tiny) for each in read]  # zero if nothing does


def _require_objects(model: object, image: object, masks: object, labels: object) -> None:
    require_type("model", model, SemanticFPN, "a SemanticFPN: hatnet.create_model(..., task='segmentation')")
    assert isinstance(model, SemanticFPN)
    require_type("image", image, Tensor, "a tensor (C, H, W) of pixels in [0, 1]")
    require_type("masks", masks, Tensor, "a tensor (objects, H, W) of True and False")
    assert isinstance(image, Tensor)
    assert isinstance(masks, Tensor)
    if image.ndim != 3 or not image.is_floating_point():
        raise ValueError(
            f"image must be (C, H, W) of floats in [0, 1], got {str(image.dtype).removeprefix('torch.')} "
            f"{tuple(image.shape)}; give one image without an axis for a batch, and divide bytes by 255"
        )
    if masks.ndim != 3 or masks.dtype != torch.bool or masks.shape[1:] != image.shape[1:]:
        raise ValueError(
            f"masks must be booleans (objects, {image.shape[1]}, {image.shape[2]}), got {tuple(masks.shape)} of "
            f"{str(masks.dtype).removeprefix('torch.')}; one mask for each object, as large as the image"
        )
    require_type("labels", labels, (list, tuple), "a list with the class of each object")
    assert isinstance(labels, list | tuple)
    if not 0 < len(labels) == len(masks):
        raise ValueError(f"{len(labels)} labels are given for {len(masks)} masks; give one for each, and at least one")
    for index, (mask, label) in enumerate(zip(masks, labels, strict=True)):
        require_whole(f"labels[{index}]", label, 0, model.config.num_classes - 1)
        if not mask.any():
            raise ValueError(f"masks[{index}] has no pixels; leave the object out")
