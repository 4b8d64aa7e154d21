"""Load the authors' checkpoints: recognise the variant, and translate their names (D5 is in docs/paper-vs-code.md)."""

import os
from collections.abc import Mapping
from functools import cache, reduce
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from hatnet.config import VARIANTS, HATNetConfig, Overrides, get_config
from hatnet.network import HATNet
from hatnet.weights.checkpoints import (
    CheckpointError,
    assemble,
    require_match,
    require_numbers,
    shapes,
    without_wrappers,
)
from hatnet.weights.pickles import mappings, read_file, require_dense
from hatnet.weights.windows import change_windows

PUBLISHED = ("tiny", "small", "medium", "large")

# Our names of layers and the authors', for stage {s} and block {b} counted from 0; {d} = {s} + 1, since their first
# downsampling is ds2. Each layer has a weight, and most have a bias. Their projections and MLP matrices are 1x1
# convolutions of shape (out, in, 1, 1); ours have shape (out, in).
AUTHORS_NAMES = (
    # ours                                              the authors'
    ("stem.conv1", "patch_embed.0"),
    ("stem.norm", "patch_embed.1"),
    ("stem.conv2", "patch_embed.3"),
    ("stages.{s}.downsample.conv", "ds{d}.conv"),
    ("stages.{s}.downsample.norm", "ds{d}.norm"),
    ("stages.{s}.blocks.{b}.attention.norm", "blocks.{s}.{b}.attn.norm"),
    ("stages.{s}.blocks.{b}.attention.qkv", "blocks.{s}.{b}.attn.qkv"),  # the last stage
    ("stages.{s}.blocks.{b}.attention.local_attention.qkv", "blocks.{s}.{b}.attn.qkv"),  # the others
    ("stages.{s}.blocks.{b}.attention.local_norm", "blocks.{s}.{b}.attn.grid_norm"),
    ("stages.{s}.blocks.{b}.attention.merge.norm", "blocks.{s}.{b}.attn.ds_norm"),
    ("stages.{s}.blocks.{b}.attention.global_attention.q", "blocks.{s}.{b}.attn.q"),
    ("stages.{s}.blocks.{b}.attention.global_attention.kv", "blocks.{s}.{b}.attn.kv"),
    ("stages.{s}.blocks.{b}.attention.projection", "blocks.{s}.{b}.attn.proj"),
    ("stages.{s}.blocks.{b}.mlp.norm_in", "blocks.{s}.{b}.conv.conv1.0"),
    ("stages.{s}.blocks.{b}.mlp.expand", "blocks.{s}.{b}.conv.conv1.1"),
    ("stages.{s}.blocks.{b}.mlp.depthwise", "blocks.{s}.{b}.conv.conv2.0"),
    ("stages.{s}.blocks.{b}.mlp.contract", "blocks.{s}.{b}.conv.conv3.0"),
    ("stages.{s}.blocks.{b}.mlp.norm_out", "blocks.{s}.{b}.conv.conv3.1"),
    ("classifier", "classifier.1"),
)
UNUSED = "blocks.{s}.{b}.attn.proj_norm"  # in the files, but unused by the authors' forward pass  D5


def load_official(checkpoint: str | os.PathLike[str] | Mapping[str, object], **overrides: Unpack[Overrides]) -> HATNet:
    """Load one of the authors' checkpoints, in evaluation mode, in its floating dtype, on the CPU.

    `checkpoint` is a file (`HAT-Net_Tiny.pth`, or the same as safetensors) or a state dict, whose shapes decide the
    variant. The tensors may be nested below keys such as `model`, and their names may begin with `module.`. Overrides
    are fields that `change_windows` accepts, such as `grid_sizes`. Raises FileNotFoundError, or
    CheckpointError (a ValueError) if the file is truncated, would execute code, or holds another network; the message
    lists every parameter that is missing, unexpected or of another shape.
    """
    source = "the state dict" if isinstance(checkpoint, Mapping) else str(checkpoint)
    content = checkpoint if isinstance(checkpoint, Mapping) else read_file(Path(checkpoint))
    tensors = _find_network(content, source)
    config = get_config(_recognise(tensors), **_sizes(tensors))
    description = f"{source}, which looks like HAT-Net {config.name.capitalize()},"
    require_match(tensors, authors_shapes(config), unused_shapes(config), description)
    dtype = reduce(torch.promote_types, {tensor.dtype for tensor in tensors.values()})  # the widest if they differ
    names = authors_names(config)
    ours = {name: tensors[names[name]].to(dtype, copy=True).view(shape) for name, shape in shapes(config).items()}
    require_numbers(ours, source)
    return change_windows(assemble(config, ours), source, **overrides)


def authors_names(config: HATNetConfig) -> dict[str, str]:
    """The authors' name of each of our parameters, in our order."""
    patterns = {
        ours.format(s=s, b=b): theirs.format(s=s, d=s + 1, b=b)
        for s, stage in enumerate(config.stages)
        for b in range(stage.depth)
        for ours, theirs in AUTHORS_NAMES
    }
    split = {name: name.rpartition(".") for name in shapes(config)}
    return {name: f"{patterns[layer]}.{kind}" for name, (layer, _, kind) in split.items()}


@cache
def authors_shapes(config: HATNetConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of the authors' parameters by their names, without `proj_norm`."""
    ours, names = shapes(config), authors_names(config)
    return {
        names[name]: (*shape, 1, 1) if len(shape) == 2 and name.startswith("stages.") else shape
        for name, shape in ours.items()
    }


def unused_shapes(config: HATNetConfig) -> dict[str, tuple[int, ...]]:
    """The shapes of `proj_norm`, which the authors' files hold but their network does not use (D5)."""
    return {
        f"{UNUSED.format(s=s, b=b)}.{kind}": (stage.channels,)
        for s, stage in enumerate(config.stages)
        for b in range(stage.depth)
        for kind in ("weight", "bias")
    }


def _find_network(content: Mapping[str, object], source: str) -> dict[str, Tensor]:
    """The state dict inside nested dictionaries, without prefixes such as `module.`."""
    known = {name for variant in PUBLISHED for name in authors_shapes(VARIANTS[variant])}
    found: dict[str, dict[str, Tensor]] = {}
    seen: set[str] = set()
    for path, mapping in mappings(content):
        tensors = _tensors_in(mapping, source)
        seen.update(tensors)
        if known & set(tensors):
            found[path] = tensors
    if not found:
        if "stem.conv1.weight" in seen:
            raise CheckpointError(
                f"{source} holds a HAT-Net under this package's own names, not the authors'; use hatnet.load for "
                "a file of hatnet.save, or load_state_dict"
            )
        some = ", ".join(sorted(seen)[:5]) or "none"
        raise CheckpointError(
            f"{source} is not a checkpoint of HAT-Net: none of its {len(seen)} tensors has a known name; "
            f"the first are {some}"
        )
    for path in found if len(found) == 1 else ("", "model/", "state_dict/"):
        if path in found:
            return found[path]
    raise CheckpointError(f"{source} holds several networks ({', '.join(found)}); pass one of them as a state dict")


def _tensors_in(mapping: Mapping[str, object], source: str) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for key, value in mapping.items():
        if not isinstance(value, Tensor | np.ndarray):
            continue
        name = without_wrappers(str(key))
        try:
            tensor = torch.as_tensor(value)
        except TypeError as error:  # an array of objects, for instance
            raise CheckpointError(f"{source} holds the array {name:.100}, which is none of numbers: {error}") from error
        require_dense(name, tensor, source)
        if name in tensors:
            raise CheckpointError(f"{source} holds {name:.100} twice, with and without a prefix such as module.")
        tensors[name] = tensor
    return tensors


def _recognise(tensors: Mapping[str, Tensor]) -> str:
    """The published variant that shares the most names and shapes and lacks the fewest."""

    def closeness(variant: str) -> int:
        expected = authors_shapes(VARIANTS[variant])
        common = sum(name in tensors and tuple(tensors[name].shape) == shape for name, shape in expected.items())
        return 2 * common - len(expected)

    return max(PUBLISHED, key=closeness)


def _sizes(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The numbers of classes and input channels, which may differ in fine-tuned checkpoints."""
    sizes = {}
    for field, name, axis in (("num_classes", "classifier.1.weight", 0), ("in_channels", "patch_embed.0.weight", 1)):
        if name in tensors and tensors[name].ndim > axis and tensors[name].numel():
            sizes[field] = tensors[name].shape[axis]
    return sizes
