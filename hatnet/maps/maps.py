"""All attention maps of a network and an image: `attention_maps(model, image)` and what can be asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hatnet.complexity import attention_weights, network_costs
from hatnet.complexity.memory import training_memory_by_part
from hatnet.config import HATNetConfig, Stage, StageLayout
from hatnet.device import full_precision
from hatnet.equivalence import evaluation_mode
from hatnet.maps.block_map import Head, Parts, composed
from hatnet.maps.cells import spread
from hatnet.maps.class_map import Carried, relevances
from hatnet.maps.rollout import through_blocks, through_convolution, through_stem
from hatnet.maps.tokens import Token, require, require_place, token_at
from hatnet.maps.windows import local_map
from hatnet.network import HATNet, require_windows

Array = NDArray[np.floating[Any]]
GIB = 2**30


def attention_maps(model: HATNet, image: Tensor, limit: int = 2 * GIB) -> AttentionMaps:
    """Run a network on an image, in evaluation mode, and keep its attention weights to draw maps from.

    Args:
        model: any HAT-Net, on any device.
        image: (C_in, H, W), or a batch (B, C_in, H, W), normalised as the network was trained.
        limit: bytes that the weights may take, and anything asked for later: a composed matrix, or for a class map
            the weights, their gradients and the maps kept for them, of as many images as are taken at once.

    Returns:
        The maps. Each is computed when it is asked for.

    Raises:
        TypeError, ValueError: for an image that is no tensor, or that the network does not take.
        ValueError: if the weights would take more than `limit`, what the network makes of the image is not finite, or
            its G1 and G2 are no longer those of its configuration.

    >>> import hatnet
    >>> maps = attention_maps(hatnet.create_model("micro"), torch.zeros(3, 28, 36))
    >>> maps.local(stage=0, block=1, query=(3, 4)).shape, maps.global_(stage=0, block=1, query=(3, 4)).shape
    ((14, 18), (4, 5))
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"image must be a tensor, got {type(image).__name__}; for an array use torch.from_numpy")
    images = image[None] if image.ndim == 3 else image
    if images.ndim == 4:  # any other rank is for the network to refuse
        require_memory(model.config, images.shape[2], images.shape[3], len(images), images.element_size(), limit)
    require_windows(model)
    trace = _WeightsOnly()
    with evaluation_mode(model), torch.inference_mode():
        model(images, trace)
    for name, values in trace.items():
        if not torch.isfinite(values).all():
            raise ValueError(
                f"{name} is not finite for this image; are all of its pixels, and of the network's weights?"
            )
    return AttentionMaps(model, images, trace, limit, batched=image.ndim == 4)


def require_memory(
    config: HATNetConfig,
    height: int,
    width: int,
    batch: int,
    item: int,
    limit: int,
    gradients: bool = False,
    instead: str = "make the image smaller, or allow more",
) -> None:
    """Raise a ValueError where the attention weights of all blocks, `item` bytes each, take more than `limit` bytes.

    With gradients: where three times the weights (scores and gradients with them) and all maps kept for them do.

    Args:
        config: of the network.
        height, width, batch: of the images.
        item: bytes of one number.
        limit: bytes.
        gradients: whether they are computed, as for a class map.
        instead: what the error says is to be done.
    """
    taken: Counter[str] = Counter()  # numbers in each stage
    for part in network_costs(config, height, width, padded=True):
        if part.name.endswith(".attention"):
            stage = config.stages[int(part.name.split(".")[1])]
            weights = batch * attention_weights(part.cost, stage.channels, stage.heads)
            taken[_place(part.name)] += 3 * weights if gradients else weights
    if gradients:
        for name, kept in training_memory_by_part(config, height, width, batch).items():
            taken[_place(name)] += kept
    needed = item * taken.total()
    if needed > limit:
        also = ", their gradients and the maps kept for them" if gradients else ""
        raise ValueError(
            f"the attention weights{also} of {batch} image{'s' if batch > 1 else ''} of {width} x {height} pixels take "
            f"{needed / GIB:.1f} GiB, the largest part in {taken.most_common(1)[0][0]}, but the limit is "
            f"{limit / GIB:.1f} GiB; {instead}"
        )


def images_at_once(
    config: HATNetConfig, height: int, width: int, most: int, item: int, limit: int, gradients: bool = False
) -> int:
    """How many images may run together: `most`, halved until they take no more than `limit` bytes.

    Arguments as in `require_memory`.

    Raises:
        ValueError: if a single image takes more.
    """
    while True:
        try:
            require_memory(config, height, width, most, item, limit, gradients)
        except ValueError:
            if most <= 1:
                raise
            most //= 2
        else:
            return most


def _place(name: str) -> str:
    """`stage 0` of `stages.0.blocks.1.mlp`; what is in no stage is named itself, as the stem."""
    first, _, rest = name.partition(".")
    return f"stage {rest.partition('.')[0]}" if rest else f"the {first}"


class AttentionMaps:
    """What a network looked at in an image, from one softmax row to rollout over all stages.

    Results are NumPy arrays in the model's dtype (float32 for bfloat16), `[row, column]`; for a batch of images they
    have an axis for it in front. Stages, blocks and heads are counted from 0. `head` None is the mean of the heads. A
    query is a token, row and column in the map of its stage; `token_at` finds the one at a pixel. Everything raises a
    ValueError for a stage, block, head, query or label that isn't there, and says which are.

    Attributes:
        config: of the network.
        size: of the image, height and width in pixels.
        layouts: what that size means at each stage.
        logits: (classes,).
        weights: every array of weights under its name in the trace, such as `stages.0.blocks.1.attention.local_weights`
            (rows, columns, heads, g h, g h), `....global_weights` (heads, HW, H'W'), and `....weights` (heads, HW, HW)
            where attention is plain. Token (row, column) has number row * W + column.
    """

    def __init__(
        self, model: HATNet, images: Tensor, trace: Mapping[str, Tensor], limit: int, batched: bool = True
    ) -> None:
        self.config = model.config
        self.size = (images.shape[2], images.shape[3])
        self.layouts: tuple[StageLayout, ...] = model.config.layout(*self.size)
        self._model, self._images, self._limit, self._batched = model, images, limit, batched
        self._trace = {name: value for name, value in trace.items() if name != "logits"}
        self._logits = trace["logits"]
        self._relevances: dict[tuple[int, ...], dict[str, Tensor]] = {}

    @property
    def logits(self) -> Array:
        """What the network answered, (classes,)."""
        return self._array(self._logits)

    @property
    def weights(self) -> dict[str, Array]:
        """Every array of weights by name."""
        return {name: self._array(value) for name, value in self._trace.items()}

    def token_at(self, x: int, y: int, stage: int) -> Token:
        """The token of a stage's map at a pixel, x from the left and y from the top."""
        return token_at(x, y, self.size, self._stage(stage).stride)

    def local(self, stage: int, block: int, query: Token, head: int | None = None) -> Array:
        """What a token takes from its window (Eq. 6-8): (H, W), zero outside the window, sums to one."""
        if self._stage(stage).grid_size is None:
            raise ValueError(f"stage {stage} has no windows: its attention is plain, ask for the global map")
        self._check(stage, block, query, head)
        layout = self.layouts[stage]
        assert layout.window is not None  # as G1 is given
        near = _of_head(self._trace[f"{_attention(stage, block)}.local_weights"], head, axis=3)
        return self._array(local_map(near, layout.window, layout.map, query))

    def global_(
        self, stage: int, block: int, query: Token, head: int | None = None, over_tokens: bool = False
    ) -> Array:
        """What a token takes from each merged token (Eq. 10-13): (H', W'), sums to one.

        Where attention is plain, what it takes from each token (Eq. 1-3).

        Args:
            stage, block, query, head: which.
            over_tokens: whether to share each cell's weight out among its tokens, for a map (H, W) of the same sum.
        """
        self._check(stage, block, query, head)
        layout, pool_size = self.layouts[stage], self._stage(stage).pool_size
        (row, column), (_, W) = query, layout.map
        far = _of_head(self._trace[self._far(stage, block)], head, axis=1)[:, row * W + column]
        cells = far.unflatten(-1, layout.merged or layout.map)
        return self._array(spread(cells, layout.map, pool_size or 1) if over_tokens else cells)

    @full_precision()
    def composed(self, stage: int, block: int, query: Token, head: int | None = None) -> Array:
        """What reaches a token through all ways of a block (Eq. 6-14), as `composed` says: (H, W), sums to one."""
        return self._array(_sum(self._parts(stage, block, query, head)))

    @full_precision()
    def parts(self, stage: int, block: int, query: Token, head: int | None = None) -> Parts[Array]:
        """The composed map in its parts, (H, W) each: the residuals, the window, the merged cells."""
        return Parts(*map(self._array, self._parts(stage, block, query, head)))

    @full_precision()
    def dense(self, stage: int, block: int, head: int | None = None) -> Array:
        """The composed maps of all tokens as one matrix, (HW, HW), rows sum to one.

        Raises:
            ValueError: if it would take more than the limit given to `attention_maps`.
        """
        self._check(stage, block, (0, 0), head)
        H, W = self.layouts[stage].map
        needed = 4 * len(self._images) * (H * W) ** 2 * self._images.element_size()  # the matrix, and steps to it
        if needed > self._limit:
            raise ValueError(
                f"the composed matrix of {H} x {W} tokens takes {needed / GIB:.1f} GiB to compute, more than the limit "
                f"of {self._limit / GIB:.1f} GiB; ask for the composed map of one token, or raise the limit"
            )
        every = torch.eye(H * W, dtype=self._logits.dtype, device=self._logits.device).view(1, H, W, -1)
        maps = _sum(composed(every.expand(len(self._images), -1, -1, -1), self._heads(stage, block, head)))
        return self._array(maps.flatten(1, 2).transpose(1, 2))  # maps have the rows of C along their last axis

    @full_precision()
    def rollout(
        self, stage: int | None = None, block: int | None = None, query: Token | None = None, pixels: bool = False
    ) -> Array:
        """What reaches a token from the stem, through all blocks up to one: sums to one; see `rollout`.

        Args:
            stage: None for the last.
            block: whose output it is about; None for the last of its stage.
            query: a token of that stage; None for the mean of all tokens, which is what the classifier is given.
            pixels: whether to go on through the stem, to a map (H, W) over the image's pixels.

        Returns:
            Over the stem's tokens, (H, W) of stage 0; or over pixels.
        """
        stage = len(self.config.stages) - 1 if stage is None else stage
        block = self._stage(stage).depth - 1 if block is None else block
        self._check(stage, block, (0, 0) if query is None else query, None)
        maps = self._start(stage, query)
        for s in reversed(range(stage + 1)):
            last = block if s == stage else self.config.stages[s].depth - 1
            maps = through_blocks(maps, (self._heads(s, b, None) for b in reversed(range(last + 1))))
            if s > 0:
                maps = through_convolution(maps, self.layouts[s - 1].map, stride=2)
        if pixels:
            maps = through_stem(maps, self.size, self.config.stem_strides)
        return self._array((maps / maps.sum(dim=(1, 2), keepdim=True))[..., 0])

    @full_precision()
    def class_map(self, label: int | Iterable[int] | None = None, pixels: bool = False) -> Array:
        """What speaks for a class: gradient-weighted attention rolled out; not negative, its sum has no meaning.

        The first time a class is asked for, the network runs once more, with gradients, on as many images at once as
        the limit given to `attention_maps` lets.

        Args:
            label: the class; for a batch, also one for each image. None for the class that the network answers.
            pixels: whether to go on through the stem, to a map (H, W) over the image's pixels.

        Returns:
            Over the stem's tokens, (H, W) of stage 0; or over pixels.

        Raises:
            ValueError: if the gradients of a single image would take more than that limit, or are not finite, or if
                the network or the image has changed since: it would be of another network than the maps beside it.
        """
        labels = self._labels(label)
        if labels not in self._relevances:
            most, item = len(self._images), self._images.element_size()
            count = images_at_once(self.config, *self.size, most, item, self._limit, gradients=True)
            chosen = torch.tensor(labels, device=self._images.device)
            parts = zip(self._images.split(count), chosen.split(count), self._logits.split(count), strict=True)
            with evaluation_mode(self._model):
                found = [relevances(self._model, *part) for part in parts]
            # Kept are those of the last class asked for alone.
            self._relevances = {labels: {name: torch.cat([part[name] for part in found]) for name in found[0]}}
        start = self._start(len(self.config.stages) - 1, None)
        carried = Carried(alone=start, added=torch.zeros_like(start))
        for s in reversed(range(len(self.config.stages))):
            for b in reversed(range(self.config.stages[s].depth)):
                (head,) = self._heads(s, b, 0, self._relevances[labels])
                carried = carried.through_block(head)
            if s > 0:
                carried = carried.through_downsampling(self.layouts[s - 1].map)
        maps = carried.added
        if pixels:
            maps = through_stem(maps, self.size, self.config.stem_strides)
        return self._array(maps[..., 0])

    def _parts(self, stage: int, block: int, query: Token, head: int | None) -> Parts[Tensor]:
        self._check(stage, block, query, head)
        parts = composed(self._start(stage, query), self._heads(stage, block, head))
        return Parts(*(part[..., 0] for part in parts))

    def _heads(self, stage: int, block: int, head: int | None, trace: Mapping[str, Tensor] | None = None) -> list[Head]:
        """One head of a block, or all."""
        trace = self._trace if trace is None else trace
        far = trace[self._far(stage, block)]
        chosen = range(far.shape[1]) if head is None else [head]
        window, pool_size = self.layouts[stage].window, self._stage(stage).pool_size
        if window is None or pool_size is None:
            return [Head(far[:, one]) for one in chosen]
        near = trace[f"{_attention(stage, block)}.local_weights"]
        return [Head(far[:, one], pool_size, near[:, :, :, one], window) for one in chosen]

    def _start(self, stage: int, query: Token | None) -> Tensor:
        """One row to take back, (B, H, W, 1): all of one token, or the mean of all tokens."""
        H, W = self.layouts[stage].map
        maps = self._logits.new_full((len(self._images), H, W, 1), 1 / (H * W) if query is None else 0)
        if query is not None:
            maps[:, query[0], query[1]] = 1
        return maps

    def _far(self, stage: int, block: int) -> str:
        plain = self._stage(stage).pool_size is None
        return f"{_attention(stage, block)}.{'weights' if plain else 'global_weights'}"

    def _stage(self, stage: int) -> Stage:
        require_place(self.config, self.layouts, stage)
        return self.config.stages[stage]

    def _check(self, stage: int, block: int, query: Token, head: int | None) -> None:
        require_place(self.config, self.layouts, stage, block, head, query)

    def _labels(self, label: int | Iterable[int] | None) -> tuple[int, ...]:
        if label is None:
            return tuple(self._logits.argmax(dim=1).tolist())
        if isinstance(label, Tensor | np.ndarray) and label.ndim == 0:
            label = int(label)  # such as logits.argmax() gives, whose type can be iterated over and it can't
        labels = tuple(int(one) for one in label) if isinstance(label, Iterable) else (int(label),) * len(self._images)
        if len(labels) != len(self._images):
            raise ValueError(f"{len(labels)} labels are given for {len(self._images)} images")
        for one in labels:
            require("class", one, self.config.num_classes, "the network")
        return labels

    def _array(self, maps: Tensor) -> Array:
        if maps.dtype == torch.bfloat16:
            maps = maps.float()  # NumPy has no such type
        found: Array = maps.cpu().numpy().copy()  # what is done to it must not change the maps asked for next
        return found if self._batched else found[0]


class _WeightsOnly(dict[str, Tensor]):
    """A trace that keeps attention weights and logits, and lets go of the maps between them."""

    def __setitem__(self, name: str, value: Tensor, /) -> None:
        if name.endswith("weights") or name == "logits":
            super().__setitem__(name, value)


def _attention(stage: int, block: int) -> str:
    return f"stages.{stage}.blocks.{block}.attention"


def _of_head(weights: Tensor, head: int | None, axis: int) -> Tensor:
    return weights.mean(dim=axis) if head is None else weights.select(axis, head)


def _sum(parts: Parts[Tensor]) -> Tensor:
    return parts.residual + parts.window + parts.cells
