"""The file that the explorer reads in a browser: attention weights of whole networks, as safetensors in gzip.

The metadata of the safetensors file has one entry, `explorer`: JSON with the stages of the network, the pictures, and
a sentence about the origin of the weights. The arrays of picture 0 are

    0.stages.S.blocks.B.local    (heads, N, g h), zero for keys beyond the border of the map
    0.stages.S.blocks.B.global   (heads, N, H'W'), or (heads, N, N) where attention is plain
    0.rollout, 0.class.0, ...    (H, W) over the tokens of stage 0, as shares of their largest number

in float16. The shares give a map of the whole network three digits in float16; its largest number is in the JSON. Each
array is stored as bytes, (2, ...): first the high bytes of all numbers, then the low bytes. Gzip packs them an
eighth smaller that way than in float16.
"""

import gzip
import json
import zlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from hatnet.config import HATNetConfig
from hatnet.maps.explorer.arrays import require_openable, stages_in_tokens, stored_numbers, weight_shapes
from hatnet.maps.explorer.pictures import Picture, Start
from hatnet.maps.map_selection import KINDS
from hatnet.maps.tokens import require_place, token_at
from hatnet.trace import Place

Array = NDArray[np.floating[Any]]
Bytes = NDArray[np.uint8]

LONGEST_SIDE = 640  # of an embedded photo, in pixels
LOSSLESS_SIDE = 128  # images up to this size are embedded exactly

# How often each path through a block counts in the composed map, as in `AttentionMaps.composed`: the residuals of Eq. 9
# and 14 are two paths, I; then L, G P and G P L.
PATHS = {"residual": 2, "window": 1, "cells": 1, "windows then cells": 1}
PLAIN_PATHS = {"residual": 1, "tokens": 1}


def encode(pictures: Sequence[Picture], *, config: HATNetConfig, provenance: str, start: Start | None = None) -> bytes:
    """Pack pictures of one size and one network into a file; the same pictures give the same bytes.

    `provenance` is a sentence about the origin of the weights, such as "Random weights, seed 0." Raises ValueError for
    pictures that differ in size, are too large for a browser or do not fit `config`, and for a missing `start`.
    """
    size = _common_size(pictures)
    require_openable(config, *size, len(pictures))
    start = start or Start()
    _check_start(start, config, size, pictures[0])
    numbers, dense = stored_numbers(config, *size)
    arrays: dict[str, Bytes] = {}
    header = {
        "network": config.name,
        "image": size,
        "headDim": config.head_dim,
        "provenance": provenance,
        "stages": stages_in_tokens(config, size),
        "paths": PATHS,
        "plainPaths": PLAIN_PATHS,
        "numbers": numbers,
        "dense": dense,
        "start": asdict(start),
        "pictures": [_add_picture(arrays, f"{index}", each, config, size) for index, each in enumerate(pictures)],
    }
    content = safetensors.numpy.save(arrays, {"explorer": json.dumps(header, ensure_ascii=False)})
    return gzip.compress(content, mtime=0)


def decode(data: bytes) -> tuple[dict[str, Any], list[dict[str, Array]]]:
    """Unpack the bytes of `encode` into the header and the arrays of each picture; ValueError for other bytes.

    The arrays are the weights `stages.S.blocks.B.local` and `.global`, (heads, N, keys), and the maps of the whole
    network, (H, W) of stage 0: `rollout`, and `class.0`, `class.1` in their order.
    """
    try:
        content = gzip.decompress(data)
        stored = safetensors.numpy.load(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        header = json.loads(metadata["explorer"])
    except (OSError, EOFError, zlib.error, safetensors.SafetensorError, KeyError) as error:
        raise ValueError(
            f"not the complete data of an attention explorer: {error}; expected the bytes that encode returns and "
            "write_maps writes, so fetch or write the file again"
        ) from None
    pictures: list[dict[str, Array]] = [{} for _ in header["pictures"]]
    for path, planes in stored.items():
        index, _, name = path.partition(".")
        values = np.ascontiguousarray(np.moveaxis(planes[::-1], 0, -1))  # undoes `_to_bytes`
        pictures[int(index)][name] = values.view("<f2")[..., 0]
    for arrays, about in zip(pictures, header["pictures"], strict=True):
        for each in about["maps"]:
            arrays[each["array"]] = arrays[each["array"]] * np.float32(each["largest"])
    return header, pictures


def _add_picture(
    arrays: dict[str, Bytes], prefix: str, picture: Picture, config: HATNetConfig, size: tuple[int, int]
) -> dict[str, Any]:
    """Add the arrays of a picture to those of the file, and return its part of the header."""
    for name, weights in _weights(picture, config, size):
        arrays[f"{prefix}.{name}"] = _to_bytes(weights)
    maps = _whole_maps(picture, config, size)
    for about, shares in maps:
        arrays[f"{prefix}.{about['array']}"] = _to_bytes(shares)
    return {
        "name": picture.name,
        "label": picture.label,
        "predictions": dict(picture.predictions),
        "image": _data_url(np.asarray(picture.image)),
        "maps": [about for about, _ in maps],
    }


def _to_bytes(numbers: Array) -> Bytes:
    """The high bytes of all numbers in float16, then the low bytes: (...) -> (2, ...)."""
    pairs = np.ascontiguousarray(numbers, dtype="<f2").view(np.uint8).reshape(*numbers.shape, 2)
    return np.ascontiguousarray(np.moveaxis(pairs[..., ::-1], -1, 0))


def _weights(picture: Picture, config: HATNetConfig, size: tuple[int, int]) -> list[tuple[str, Array]]:
    """The weights of a picture, checked, under their names in the file."""
    stages, found = stages_in_tokens(config, size), []
    for name, shape in weight_shapes(stages).items():
        place = Place.parse(name)
        stage = stages[place.stage or 0]
        kind = f"{place.name}_weights" if stage["window"] else "weights"
        traced = str(Place(place.stage, place.block, f"attention.{kind}"))
        if traced not in picture.weights:
            raise ValueError(f"{picture.name!r} lacks {traced}, which the trace of {config.name} has")
        weights = np.asarray(picture.weights[traced])
        if place.name == "local":
            weights = _by_token(weights, stage)
        if weights.shape != shape:
            raise ValueError(f"{picture.name!r}: {traced} is {weights.shape} by token, expected {shape}")
        if not np.isfinite(weights).all():
            raise ValueError(f"{picture.name!r}: {traced} is not finite; check the weights of the network")
        found.append((name, weights))
    return found


def _whole_maps(picture: Picture, config: HATNetConfig, size: tuple[int, int]) -> list[tuple[dict[str, Any], Array]]:
    """For each map of the whole network its entry in the header, and the map as shares of its largest number."""
    given: list[tuple[dict[str, Any], Array]] = []
    if picture.rollout is not None:
        given.append(({"kind": "rollout", "array": "rollout"}, picture.rollout))
    for index, one in enumerate(picture.class_maps):
        if one.of not in ("class", "object"):
            raise ValueError(f"{picture.name!r}: a map of={one.of!r} is unknown: give 'class' or 'object'")
        given.append(
            ({"kind": "class", "array": f"class.{index}", "name": one.name, "role": one.role, "of": one.of}, one.values)
        )
    shape = config.layout(*size)[0].map
    found: list[tuple[dict[str, Any], Array]] = []
    for about, array in given:
        values = np.asarray(array, dtype=np.float64)
        words = f"{picture.name!r}: the {about['kind']} map"
        if values.shape != shape:
            raise ValueError(f"{words} is {values.shape}, expected {shape}, one number for each token of stage 0")
        if not (np.isfinite(values).all() and values.min() >= 0):
            raise ValueError(f"{words} has numbers that are negative or not finite; check the weights of the network")
        largest = float(values.max())
        found.append(({**about, "largest": largest}, values / (largest or 1)))
    return found


def _by_token(weights: Array, stage: Mapping[str, Any]) -> Array:
    """(windows down, windows across, heads, g h, g h) -> (heads, N, g h), without queries beyond the border."""
    rows, columns, heads, tokens, _ = weights.shape
    (g, h), (H, W) = stage["window"], stage["map"]
    weights = weights.reshape(rows, columns, heads, g, h, tokens).transpose(2, 0, 3, 1, 4, 5)
    return weights.reshape(heads, rows * g, columns * h, tokens)[:, :H, :W].reshape(heads, H * W, tokens)


def _common_size(pictures: Sequence[Picture]) -> tuple[int, int]:
    if not pictures:
        raise ValueError("there is nothing to explore: give at least one picture")
    first, *_ = sizes = [_image_size(picture) for picture in pictures]
    for picture, size in zip(pictures, sizes, strict=True):
        if size != first:
            raise ValueError(
                f"pictures of one explorer have one size: {pictures[0].name!r} is {first[0]} x {first[1]} pixels, "
                f"{picture.name!r} {size[0]} x {size[1]}"
            )
    return first


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
        token_at(*start.query, size, config.stages[start.stage].stride)  # raises for a pixel outside the image
    if start.kind not in KINDS:
        raise ValueError(f"kind {start.kind!r} is unknown: {', '.join(KINDS[:-1])} or {KINDS[-1]}")
    if (start.kind == "rollout" and picture.rollout is None) or (start.kind == "class" and not picture.class_maps):
        raise ValueError(f"the {start.kind} map cannot be shown first, because {picture.name!r} has none; give it one")


def _data_url(image: Array) -> str:
    """Small images as PNG, pixel by pixel; photos as JPEG."""
    from PIL import Image

    shown, buffer = Image.fromarray((image * 255).round().astype(np.uint8)), BytesIO()
    kind = "png" if max(shown.size) <= LOSSLESS_SIDE else "jpeg"
    shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    shown.save(buffer, kind, quality=90, optimize=True)
    return f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode('ascii')}"
