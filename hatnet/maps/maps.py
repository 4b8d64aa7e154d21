"""All attention maps of a network and an image: `attention_maps(model, image)` and the collection that it returns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hatnet.checks import require_type, require_whole
from hatnet.config import Stage, StageLayout
from hatnet.device import full_precision
from hatnet.equivalence import evaluation_mode
from hatnet.maps.block_map import Parts, TracedWeights, through_block
from hatnet.maps.cells import spread
from hatnet.maps.class_map import class_map, relevances
from hatnet.maps.memory import GIB, images_at_once, require_memory
from hatnet.maps.rollout import rollout, through_blocks, through_stem
from hatnet.maps.tokens import Token, require, require_place, token_at
from hatnet.maps.windows import local_map
from hatnet.network import HATNet, require_windows

Array = NDArray[np.floating[Any]]


def attention_maps(model: HATNet, image: Tensor, limit: int = 2 * GIB) -> AttentionMaps:
    """Run a network on an image in evaluation mode and keep its attention weights. Maps are computed on request.

    The image is (C_in, H, W), or a batch (B, C_in, H, W), normalised as in the network's training. `limit` is in bytes:
    for the weights, and later for a block's dense matrix, or for a class map with the gradients and what they need.

    Raises TypeError or ValueError for what is no HAT-Net, or an image that it does not take; ValueError if the weights
    take more than `limit`, if a result is not finite, or if G1 and G2 differ from the configuration.

    >>> import hatnet
    >>> maps = attention_maps(hatnet.create_model("micro"), torch.zeros(3, 28, 36))
    >>> maps.local(stage=0, block=1, query=(3, 4)).shape, maps.global_(stage=0, block=1, query=(3, 4)).shape
    ((14, 18), (4, 5))
    """
    if not isinstance(getattr(model, "_orig_mod", model), HATNet):  # a compiled network has `_orig_mod`
        raise TypeError(f"model must be a HATNet, got {type(model).__name__}")
    if not isinstance(image, Tensor):
        raise TypeError(f"image must be a tensor, got {type(image).__name__}; for an array use torch.from_numpy")
    limit = require_whole("limit", limit, 1)
    images = image[None] if image.ndim == 3 else image
    if images.ndim == 4:  # the network refuses any other rank
        require_memory(model.config, images.shape[2], images.shape[3], len(images), images.element_size(), limit)
    require_windows(model)
    trace = _WeightsOnly()
    with evaluation_mode(model), torch.inference_mode():
        model(images, trace)
    for name, values in trace.items():
        if not torch.isfinite(values).all():
            raise ValueError(
                f"{name} is not finite for this image; check that all pixels and all of the network's weights are"
            )
    return AttentionMaps(model, images, trace, limit, batched=image.ndim == 4)


class AttentionMaps:
    """The attention maps of one image or a batch, from a single softmax row to rollout over all stages.

    Results are NumPy arrays `[row, column]` in the model's dtype (float32 for bfloat16). For a batch of images they
    have one more axis in front. Stages, blocks and heads count from 0; `head=None` is the mean of the heads. A query
    is a token, given as (row, column) in the map of its stage; `token_at` finds the token at a pixel. Every method
    raises a ValueError for a stage, block, head, query or label that does not exist. The error lists those that do.
    """

    def __init__(
        self, model: HATNet, images: Tensor, trace: Mapping[str, Tensor], limit: int, batched: bool = True
    ) -> None:
        self.config = model.config
        self.size = (images.shape[2], images.shape[3])  # height and width in pixels
        self.layouts: tuple[StageLayout, ...] = model.config.layout(*self.size)  # the grids of each stage
        self._model, self._images, self._limit, self._batched = model, images, limit, batched
        arrays = dict(trace)
        self._logits = arrays.pop("logits")
        self._weights = TracedWeights(model.config, self.layouts, arrays)
        self._relevances: dict[tuple[int, ...], dict[str, Tensor]] = {}

    @property
    def logits(self) -> Array:
        """The output of the network, (classes,)."""
        return self._array(self._logits)

    @property
    def weights(self) -> dict[str, Array]:
        """Every array of weights under its name in the trace, such as `stages.0.blocks.1.attention.local_weights`.

        Those are (rows, columns, heads, g h, g h), `....global_weights` (heads, HW, H'W'), and where attention is plain
        `....weights` (heads, HW, HW). Token (row, column) has the number row * W + column.
        """
        return {name: self._array(value) for name, value in self._weights.arrays.items()}

    def token_at(self, x: int, y: int, stage: int) -> Token:
        """The token of a stage's map at a pixel, x from the left and y from the top."""
        return token_at(x, y, self.size, self._stage(stage).stride)

    def local(self, stage: int, block: int, query: Token, head: int | None = None) -> Array:
        """The weights of one token over its window (Eq. 6-8): (H, W), zero outside the window, sums to one."""
        self._check(stage, block, query, head)
        layout = self.layouts[stage]
        if layout.window is None:
            raise ValueError(f"stage {stage} has no windows: its attention is plain, ask for the global map")
        near = _of_head(self._weights.local(stage, block), head, axis=3)
        return self._array(local_map(near, layout.window, layout.map, query))

    def global_(
        self, stage: int, block: int, query: Token, head: int | None = None, over_tokens: bool = False
    ) -> Array:
        """The weights of one token over the merged tokens (Eq. 10-13): (H', W'), sums to one.

        Where attention is plain, its weights over all tokens (Eq. 1-3). With `over_tokens`, the weight of each cell is
        shared equally among its tokens, which gives a map (H, W) with the same sum.
        """
        self._check(stage, block, query, head)
        require_type("over_tokens", over_tokens, bool, "True or False")
        layout, pool_size = self.layouts[stage], self._stage(stage).pool_size
        (row, column), (_, W) = query, layout.map
        far = _of_head(self._weights.over_cells(stage, block), head, axis=1)[:, row * W + column]
        cells = far.unflatten(-1, layout.merged or layout.map)
        return self._array(spread(cells, layout.map, pool_size or 1) if over_tokens else cells)

    def composed(self, stage: int, block: int, query: Token, head: int | None = None) -> Array:
        """All paths through a block to one token (Eq. 6-14), see `block_map`: (H, W), sums to one."""
        parts = self.parts(stage, block, query, head)
        return parts.residual + parts.window + parts.cells

    @full_precision()
    def parts(self, stage: int, block: int, query: Token, head: int | None = None) -> Parts[Array]:
        """The composed map in its parts, (H, W) each: the residuals, the window, the merged cells."""
        self._check(stage, block, query, head)
        parts = through_block(self._start(stage, query), self._weights.heads(stage, block, head))
        return Parts(*(self._array(part[..., 0]) for part in parts))

    @full_precision()
    def dense(self, stage: int, block: int, head: int | None = None) -> Array:
        """The composed maps of all tokens, (HW, HW), rows sum to one; ValueError beyond the limit given."""
        self._check(stage, block, (0, 0), head)
        H, W = self.layouts[stage].map
        needed = 4 * len(self._images) * (H * W) ** 2 * self._images.element_size()  # the matrix, and steps to it
        if needed > self._limit:
            raise ValueError(
                f"the composed matrix of {H} x {W} tokens takes {needed / GIB:.1f} GiB to compute, more than the limit "
                f"of {self._limit / GIB:.1f} GiB; ask for the composed map of one token, or raise the limit"
            )
        every = torch.eye(H * W, dtype=self._logits.dtype, device=self._logits.device).view(1, H, W, -1)
        every = every.expand(len(self._images), -1, -1, -1)
        maps = through_blocks(every, [self._weights.heads(stage, block, head)])
        return self._array(maps.flatten(1, 2).transpose(1, 2))  # the last axis of maps counts the rows of F

    @full_precision()
    def rollout(
        self, stage: int | None = None, block: int | None = None, query: Token | None = None, pixels: bool = False
    ) -> Array:
        """All paths from the stem to one token, through every block up to one: sums to one; see `rollout`.

        None is the last stage, its last block, and the mean of all tokens, which is the input of the classifier. With
        `pixels`, the map is (H, W) over the image's pixels, instead of over the tokens of stage 0.
        """
        require_type("pixels", pixels, bool, "True or False")
        stage = len(self.config.stages) - 1 if stage is None else stage
        block = self._stage(stage).depth - 1 if block is None else block
        self._check(stage, block, (0, 0) if query is None else query, None)
        maps = self._placed(rollout(self._start(stage, query), self._weights, stage, block), pixels)
        return self._array(maps / maps.sum(dim=(1, 2), keepdim=True))

    @full_precision()
    def class_map(self, label: int | Iterable[int] | None = None, pixels: bool = False) -> Array:
        """The relevance of every place for a class: gradient-weighted attention, rolled out.

        It is never negative; its sum has no meaning. `label` is one class, or one for each image; None is the class
        that the network predicts.

        When you first ask for a class, the network runs once more with gradients, on as many images at once as the
        limit given to `attention_maps` allows. Only the relevances of the latest class are kept. Raises ValueError if
        one image exceeds the limit, if gradients are not finite, or if the network or the image has changed since.
        """
        require_type("pixels", pixels, bool, "True or False")
        labels = self._labels(label)
        if labels not in self._relevances:
            self._relevances = {labels: self._compute_relevances(labels)}
        weights = TracedWeights(self.config, self.layouts, self._relevances[labels])
        last = len(self.config.stages) - 1
        return self._array(self._placed(class_map({last: self._start(last, None)}, weights), pixels))

    def _compute_relevances(self, labels: tuple[int, ...]) -> dict[str, Tensor]:
        """The relevance of every weight of all images, computed in slices that fit into memory."""
        most, item = len(self._images), self._images.element_size()
        count = images_at_once(self.config, *self.size, most, item, self._limit, gradients=True)
        chosen = torch.tensor(labels, device=self._images.device)
        slices = zip(self._images.split(count), chosen.split(count), self._logits.split(count), strict=True)
        with evaluation_mode(self._model):
            found = [relevances(self._model, *each) for each in slices]
        return {name: torch.cat([each[name] for each in found]) for name in found[0]}

    def _start(self, stage: int, query: Token | None) -> Tensor:
        """One row to take back, (B, H, W, 1): one for a single token, or the mean over all tokens."""
        H, W = self.layouts[stage].map
        maps = self._logits.new_full((len(self._images), H, W, 1), 1 / (H * W) if query is None else 0)
        if query is not None:
            maps[:, query[0], query[1]] = 1
        return maps

    def _placed(self, maps: Tensor, pixels: bool) -> Tensor:
        """One row over the stem's tokens, (B, H0, W0, 1), as a map over them or over pixels, (B, H, W)."""
        return (through_stem(maps, self.size, self.config.stem_strides) if pixels else maps)[..., 0]

    def _stage(self, stage: int) -> Stage:
        require_place(self.config, self.layouts, stage)
        return self.config.stages[stage]

    def _check(self, stage: int, block: int, query: Token, head: int | None) -> None:
        require_place(self.config, self.layouts, stage, block, head, query)

    def _labels(self, label: int | Iterable[int] | None) -> tuple[int, ...]:
        if label is None:
            return tuple(self._logits.argmax(dim=1).tolist())
        if isinstance(label, Tensor | np.ndarray):
            label = label.tolist()  # a number for 0-d ones, as `logits.argmax()` is
        labels = (
            tuple(map(whole_label, label)) if isinstance(label, Iterable) else (whole_label(label),) * len(self._images)
        )
        if len(labels) != len(self._images):
            raise ValueError(f"{len(labels)} labels are given for {len(self._images)} images")
        for one in labels:
            require("class", one, self.config.num_classes, "the network")
        return labels

    def _array(self, maps: Tensor) -> Array:
        found = as_array(maps)
        return found if self._batched else found[0]


def as_array(maps: Tensor) -> Array:
    """A copy, so that callers may change it; in float32 for bfloat16, which NumPy lacks."""
    if maps.dtype == torch.bfloat16:
        maps = maps.float()
    found: Array = maps.cpu().numpy().copy()
    return found


class _WeightsOnly(dict[str, Tensor]):
    """A trace that keeps attention weights and logits, and drops the maps between them."""

    def __setitem__(self, name: str, value: Tensor, /) -> None:
        if name.endswith("weights") or name == "logits":
            super().__setitem__(name, value)


def whole_label(label: object) -> int:
    """The number of a class; ValueError for anything but a whole number, such as 1.7 or True.

    >>> whole_label(np.int64(3))
    3
    """
    if isinstance(label, Tensor) and label.ndim == 0:
        label = label.item()
    if isinstance(label, bool | np.bool) or not isinstance(label, int | np.integer):
        raise ValueError(f"label={label!r} must be a whole number, the number of a class")
    return int(label)


def _of_head(weights: Tensor, head: int | None, axis: int) -> Tensor:
    return weights.mean(dim=axis) if head is None else weights.select(axis, head)
