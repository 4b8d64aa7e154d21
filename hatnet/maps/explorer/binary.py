"""Softmax rows of whole networks as bytes that a browser reads.

The file is gzip. In it:

    8 bytes    hatmaps1
    4 bytes    length of the header, little-endian
    header     JSON in UTF-8: the network's stages, the pictures, where the weights come from
    weights    float16: first the high bytes of all of them, then the low bytes, which gzip packs better

Weights follow one another by picture, stage and block: first the local, then the global ones, each as (heads, N, keys).
The keys of a local row are the g h places of the query's window, zero beyond the border of the map; those of a global
row are the merged tokens, or all tokens where attention is plain. Hierarchical attention is what makes it small:
`stored_numbers` says how small.

Behind the weights of each picture stand its maps of the whole network, rollout and class maps: (H, W) over the tokens
of stage 0, as shares of their largest number, which the header has, so that float16 holds three digits of each.
"""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from io import BytesIO
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hatnet.config import HATNetConfig
from hatnet.maps.map_selection import KINDS
from hatnet.maps.tokens import require_place, token_at

Array = NDArray[np.floating[Any]]

MAGIC = b"hatmaps1"
LONGEST_SIDE = 640  # of an embedded photo, in pixels
LOSSLESS_SIDE = 128  # up to here an image is embedded exactly
LARGEST = 50 * 10**6  # bytes of float16; browsers take twice as many for them, and those of phones give up soon after

# How often each way through a block counts in the composed map, as in `AttentionMaps.composed`: the residuals of Eq. 9
# and 14 are two ways, I; then L, G P and G P L.
WAYS = {"residual": 2, "window": 1, "cells": 1, "windows then cells": 1}
PLAIN_WAYS = {"residual": 1, "tokens": 1}


@dataclass(frozen=True)
class ClassMap:
    """What speaks for one class."""

    name: str  # of the class
    values: Array  # (H, W), over the tokens of stage 0: `AttentionMaps.class_map`
    role: str = ""  # why it is shown, such as "the network's answer"


@dataclass(frozen=True)
class Picture:
    """One image, and what every block of a network looked at in it."""

    name: str
    image: Array  # (H, W, 3) or (H, W), in [0, 1]: the pixels the network saw, before normalisation
    weights: Mapping[str, Array]  # by their names in the trace of this one image, as `AttentionMaps.weights` has them
    predictions: Mapping[str, float] = field(default_factory=dict)  # class -> probability, in the order to be shown
    label: str = ""  # the true class, where it is known
    rollout: Array | None = None  # (H, W), over the tokens of stage 0: `AttentionMaps.rollout()`
    class_maps: Sequence[ClassMap] = ()  # the first is shown first


@dataclass(frozen=True)
class Start:
    """What the explorer shows first."""

    query: tuple[int, int] | None = None  # a pixel (x, y), from the left and from the top; None for the middle
    stage: int = 0
    block: int = 0
    head: int | None = None  # None for the mean of the heads
    kind: str = "local"  # or another of KINDS; "rollout" and "class" are of the whole network, without query


def encode(pictures: Sequence[Picture], *, config: HATNetConfig, provenance: str, start: Start | None = None) -> bytes:
    """The file of some pictures, all of one size, seen by one network.

    Args:
        pictures: in the order to choose from.
        config: of the network.
        provenance: a sentence that says where the weights come from, such as "Random weights, seed 0."
        start: what is shown first.

    Raises:
        ValueError: if there is no picture, if they differ in size or are too large for a browser, if an image is not
            one, if weights or maps have other shapes than `config` gives or are not finite, or if `start` is nothing
            that exists.
    """
    if not pictures:
        raise ValueError("there is nothing to explore: give at least one picture")
    size = _image_size(pictures[0])
    for picture in pictures:
        if _image_size(picture) != size:
            raise ValueError(
                f"pictures of one explorer have one size: {pictures[0].name!r} is {size[0]} x {size[1]} pixels, "
                f"{picture.name!r} {' x '.join(map(str, _image_size(picture)))}"
            )
    require_openable(config, *size, len(pictures))
    start = Start() if start is None else start
    _check_start(start, config, size, pictures[0])
    numbers, dense = stored_numbers(config, *size)
    whole = [_whole_maps(picture, config, size) for picture in pictures]
    header = {
        "network": config.name,
        "image": size,
        "headDim": config.head_dim,
        "provenance": provenance,
        "stages": _stages(config, size),
        "ways": WAYS,
        "plainWays": PLAIN_WAYS,
        "numbers": numbers,
        "dense": dense,
        "start": asdict(start),
        "pictures": [
            {
                "name": picture.name,
                "label": picture.label,
                "predictions": dict(picture.predictions),
                "image": _data_url(np.asarray(picture.image)),
                "maps": [about for about, _ in maps],
            }
            for picture, maps in zip(pictures, whole, strict=True)
        ],
    }
    parts = []
    for picture, maps in zip(pictures, whole, strict=True):
        parts.append(_flat_rows(picture, config, size).astype("<f2"))
        parts += [shares.ravel().astype("<f2") for _, shares in maps]
    rows = np.concatenate(parts)
    planes = rows.view(np.uint8).reshape(-1, 2)
    text = json.dumps(header, ensure_ascii=False).encode()
    content = MAGIC + len(text).to_bytes(4, "little") + text + planes[:, 1].tobytes() + planes[:, 0].tobytes()
    return gzip.compress(content, mtime=0)  # the same bytes every time


def decode(data: bytes) -> tuple[dict[str, Any], list[dict[str, Array]]]:
    """The header, and for each picture its weights: `stages.S.blocks.B.local` and `.global`, each (heads, N, keys).

    With them the maps of the whole network, each (H, W) of stage 0: `rollout`, and `class.0`, `class.1` in their order.

    Raises:
        ValueError: if these are not the bytes of `encode`.
    """
    try:
        content = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(
            f"not the data of an attention explorer, or not all of them: {error}; expected the gzip that encode "
            "returns and write_maps writes, so fetch or write the file again"
        ) from None
    if not content.startswith(MAGIC):
        raise ValueError(f"not the data of an attention explorer: it starts with {content[:8]!r}, not {MAGIC!r}")
    length = int.from_bytes(content[8:12], "little")
    header = json.loads(content[12 : 12 + length])
    planes = np.frombuffer(content, np.uint8, offset=12 + length).reshape(2, -1)
    rows = np.ascontiguousarray(planes[::-1].T).view("<f2")[:, 0]
    pictures, taken = [], 0
    for picture in header["pictures"]:
        arrays: dict[str, Array] = {}
        for name, shape in _shapes(header["stages"]):
            arrays[name] = rows[taken : taken + prod(shape)].reshape(shape)
            taken += prod(shape)
        classes = 0
        for about in picture["maps"]:
            name = about["kind"]
            if name == "class":
                name, classes = f"class.{classes}", classes + 1
            H, W = header["stages"][0]["map"]
            arrays[name] = rows[taken : taken + H * W].reshape(H, W) * np.float32(about["largest"])
            taken += H * W
        pictures.append(arrays)
    return header, pictures


def stored_numbers(config: HATNetConfig, height: int, width: int) -> tuple[int, int]:
    """How many weights a picture has here, and how many it would have if every token attended to every other.

    A block holds heads N (g h + H'W') of them in place of heads N², N = HW; in the last stage both are the same.

    >>> from hatnet.config import get_config
    >>> stored_numbers(get_config("tiny"), 224, 224)
    (1649928, 23337720)
    """
    stages = _stages(config, (height, width))
    dense = sum(stage["depth"] * stage["heads"] * prod(stage["map"]) ** 2 for stage in stages)
    return sum(prod(shape) for _, shape in _shapes(stages)), dense


def require_openable(
    config: HATNetConfig,
    height: int,
    width: int,
    pictures: int = 1,
    instead: str = "make the images smaller, or show fewer of them",
) -> None:
    """Raise a ValueError where the weights of some pictures are more than a browser opens; before any is computed.

    Args:
        config: of the network.
        height, width: of each picture.
        pictures: how many.
        instead: what the error says is to be done.

    >>> from hatnet.config import get_config
    >>> require_openable(get_config("tiny"), 640, 640)
    Traceback (most recent call last):
    ValueError: an explorer of 640 x 640 pixels would hold 121 MB of weights, more than browsers open (50 MB); \
make the images smaller, or show fewer of them
    """
    size = 2 * pictures * stored_numbers(config, height, width)[0]
    if size > LARGEST:
        many = f"{pictures} pictures of " if pictures > 1 else ""
        raise ValueError(
            f"an explorer of {many}{width} x {height} pixels would hold {size / 1e6:.0f} MB of weights, more than "
            f"browsers open ({LARGEST / 1e6:.0f} MB); {instead}"
        )


def _stages(config: HATNetConfig, size: tuple[int, int]) -> list[dict[str, Any]]:
    """What the browser has to know about each stage; windows and merged tokens are None where there are none."""
    return [
        {
            "stride": stage.stride,
            "map": layout.map,
            "depth": stage.depth,
            "heads": stage.heads,
            "window": layout.window,
            "pool": stage.pool_size,
            "merged": layout.merged,
        }
        for stage, layout in zip(config.stages, config.layout(*size), strict=True)
    ]


def _shapes(stages: list[dict[str, Any]]) -> list[tuple[str, tuple[int, int, int]]]:
    """The names and shapes of the weights of one picture, in the order of the file."""
    shapes = []
    for index, stage in enumerate(stages):
        tokens = prod(stage["map"])
        for block in range(stage["depth"]):
            name = f"stages.{index}.blocks.{block}"
            if stage["window"]:
                shapes.append((f"{name}.local", (stage["heads"], tokens, prod(stage["window"]))))
            shapes.append((f"{name}.global", (stage["heads"], tokens, prod(stage["merged"] or stage["map"]))))
    return shapes


def _flat_rows(picture: Picture, config: HATNetConfig, size: tuple[int, int]) -> Array:
    """All weights of a picture, in the order of the file."""
    stages, rows = _stages(config, size), []
    for name, shape in _shapes(stages):
        block, kind = name.rsplit(".", 1)
        stage = stages[int(name.split(".")[1])]
        traced = f"{block}.attention.{f'{kind}_weights' if stage['window'] else 'weights'}"
        if traced not in picture.weights:
            raise ValueError(f"{picture.name!r} lacks {traced}, which the trace of {config.name} has")
        weights = np.asarray(picture.weights[traced])
        if kind == "local":
            weights = _by_token(weights, stage)
        if weights.shape != shape:
            raise ValueError(f"{picture.name!r}: {traced} is {weights.shape} by token, expected {shape}")
        if not np.isfinite(weights).all():
            raise ValueError(f"{picture.name!r}: {traced} is not finite; is the network broken?")
        rows.append(weights.ravel())
    return np.concatenate(rows)


def _whole_maps(picture: Picture, config: HATNetConfig, size: tuple[int, int]) -> list[tuple[dict[str, Any], Array]]:
    """What the header says of each map of the whole network, and the map as shares of its largest number."""
    given: list[tuple[dict[str, Any], Array]] = [
        ({"kind": "class", "name": one.name, "role": one.role}, one.values) for one in picture.class_maps
    ]
    if picture.rollout is not None:
        given.insert(0, ({"kind": "rollout"}, picture.rollout))
    shape = config.layout(*size)[0].map
    found: list[tuple[dict[str, Any], Array]] = []
    for about, array in given:
        values = np.asarray(array, dtype=np.float64)
        words = f"{picture.name!r}: the {about['kind']} map"
        if values.shape != shape:
            raise ValueError(f"{words} is {values.shape}, expected {shape}, one number for each token of stage 0")
        if not (np.isfinite(values).all() and values.min() >= 0):
            raise ValueError(f"{words} has numbers that are negative or not finite; is the network broken?")
        largest = float(values.max())
        found.append(({**about, "largest": largest}, values / (largest or 1)))
    return found


def _by_token(weights: Array, stage: Mapping[str, Any]) -> Array:
    """(windows down, windows across, heads, g h, g h) -> (heads, N, g h), without queries beyond the border."""
    rows, columns, heads, tokens, _ = weights.shape
    (g, h), (H, W) = stage["window"], stage["map"]
    weights = weights.reshape(rows, columns, heads, g, h, tokens).transpose(2, 0, 3, 1, 4, 5)
    return weights.reshape(heads, rows * g, columns * h, tokens)[:, :H, :W].reshape(heads, H * W, tokens)


def _image_size(picture: Picture) -> tuple[int, int]:
    image = np.asarray(picture.image)
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] != 3):
        raise ValueError(f"image of {picture.name!r} must be (H, W, 3) or (H, W), got {image.shape}")
    if not (np.isfinite(image).all() and image.min() >= 0 and image.max() <= 1):
        raise ValueError(f"image of {picture.name!r} must be in [0, 1]: give it as it was before normalisation")
    return image.shape[0], image.shape[1]


def _check_start(start: Start, config: HATNetConfig, size: tuple[int, int], picture: Picture) -> None:
    require_place(config, config.layout(*size), start.stage, start.block, start.head)
    if start.query is not None:
        token_at(*start.query, size, config.stages[start.stage].stride)  # raises where it is not in the image
    if start.kind not in KINDS:
        raise ValueError(f"kind {start.kind!r} is unknown: {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if (start.kind == "rollout" and picture.rollout is None) or (start.kind == "class" and not picture.class_maps):
        raise ValueError(f"the {start.kind} map can't be shown first, as {picture.name!r} has none; give it one")


def _data_url(image: Array) -> str:
    """Small images as PNG, pixel by pixel; photos as JPEG."""
    from PIL import Image

    shown, buffer = Image.fromarray((image * 255).round().astype(np.uint8)), BytesIO()
    kind = "png" if max(shown.size) <= LOSSLESS_SIDE else "jpeg"
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    shown.save(buffer, kind, quality=90, optimize=True)
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode('ascii')}"
