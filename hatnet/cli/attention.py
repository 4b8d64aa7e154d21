"""The command `hatnet attention`: from an image to figures and an explorer (extra `cli`)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from math import isfinite
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from numpy.typing import NDArray

from hatnet.cli.console import console
from hatnet.config import nearest
from hatnet.data.photo import CHELSEA, size_of_image
from hatnet.data.picture import read_picture, shown_size, to_image
from hatnet.device import usable_device
from hatnet.maps.explorer.binary import require_openable
from hatnet.maps.map_selection import KINDS, Subject
from hatnet.maps.maps import GIB, AttentionMaps, attention_maps, require_memory
from hatnet.maps.tokens import require, require_place, token_at
from hatnet.weights.source import Source, find_source

FORMATS = (".png", ".svg", ".html")
OTHERS = (".pdf", ".eps", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff", ".bmp", ".htm")  # meant, but not written


def attention(
    image: Annotated[Path | None, tyro.conf.Positional] = None,
    checkpoint: Path | None = None,
    pretrained: str | None = None,
    variant: str | None = None,
    query: str | None = None,
    stage: int | None = None,
    block: int | None = None,
    head: int | None = None,
    kind: Literal["all", "local", "global", "composed", "rollout", "class"] = "all",
    label: str | None = None,
    size: int | None = None,
    square: bool = True,
    out: Path | None = None,
    memory: float = 2.0,
    device: str = "cpu",
    seed: int = 0,
) -> None:
    """Draw what a token of an image attends to: a figure (PNG and SVG) and an explorer (one HTML file).

    Stages, blocks and heads are counted from 0.

    Args:
        image: an image file; the bundled photo where none is given.
        checkpoint: weights of ours (.safetensors, or the folder of a run) or of the authors (.pth); random weights
            where none are given.
        pretrained: weights that come with the package, by name, such as fashion-mnist.
        variant: tiny, small, medium, large or micro; where not given, that of the weights, or tiny.
        query: the pixel X,Y of the image as it is shown, from its top left; its middle where not given. With --kind
            class there is none, and no stage, block or head.
        stage: which stage's tokens; the last that has windows where not given.
        block: of that stage; its last where not given.
        head: of that block; the mean of all where not given.
        kind: which map, or all.
        label: the class of the class map, by number or name; the one that the network answers where not given.
        size: to which the image's shorter side is resized, in pixels; that of the training where not given.
        square: whether to cut out the square in the middle, or to keep the whole image.
        out: where to; a name without suffix gets .png, .svg and .html, one with a suffix is the only file.
        memory: GiB that attention weights may take, and with them, for the map of a class or an explorer, their
            gradients and the maps kept for these; larger images are refused.
        device: where PyTorch runs, such as cpu or cuda.
        seed: of the random weights.
    """
    files = _files(out or Path(f"{(image or CHELSEA).stem}-attention"), inputs=(image, checkpoint))
    if not (memory > 0 and isfinite(memory * GIB)):
        raise ValueError(f"memory={memory!r} must be a finite number of GiB above 0, such as 2")
    if kind == "class":
        _require_none({"--query": query, "--stage": stage, "--block": block, "--head": head})
    target, pixel = usable_device(device), None if query is None else _pixel(query)
    source = find_source(checkpoint, pretrained, variant, seed)
    config = source.model.config
    size = source.image_size if size is None else size
    height, width = shown_size(image, size, square)
    layouts = config.layout(height, width)  # raises where the image is too small
    stage = max(len(config.stages) - 2, 0) if stage is None else stage
    require_place(config, layouts, stage)
    block = config.stages[stage].depth - 1 if block is None else block
    require_place(config, layouts, stage, block, head)
    x, y = pixel or (width // 2, height // 2)
    token = token_at(x, y, (height, width), config.stages[stage].stride)
    kinds = KINDS if kind == "all" else (kind,)
    subject = Subject(stage, block, token, head, _class(label, source), kinds)
    subject.shown(layouts)  # raises where there is nothing to show
    if head is not None and kind == "rollout":
        raise ValueError(f"--kind {kind} is of all heads together, so --head {head} can't be shown; leave it out")

    explored = any(path.suffix.lower() == ".html" for path in files)
    if explored:
        require_openable(config, height, width, instead="give a smaller --size, or only --out figure.png")
    model, limit = source.model.to(target), int(memory * GIB)
    weight = next(model.parameters())
    gradients = explored or "class" in kinds  # an explorer shows all kinds
    instead = "give a smaller --size, or a larger --memory"
    if gradients:
        instead += "; only class maps and explorers need gradients, --kind composed --out figure.png does without"
    require_memory(config, height, width, 1, weight.element_size(), limit, gradients, instead)
    picture = read_picture(image, config.in_channels, size, square)
    pixels = to_image(picture, source.mean, source.std).to(weight)
    maps = attention_maps(model, pixels, limit)
    tall, wide = size_of_image(image or CHELSEA)
    cropped = ", the square in its middle (--no-square keeps all)" if square and tall != wide else ""
    place = "" if kind == "class" else f"; stage {stage}, block {block}, token {token} at pixel {x},{y}"
    console.print(
        f"HAT-Net {config.name.capitalize()} on {(image or CHELSEA).name}, shown as {width} x {height} pixels{cropped}"
        f"{place}"
    )
    console.print(source.words)
    if checkpoint is None and pretrained is None:
        console.print("Give --checkpoint FILE, or --pretrained fashion-mnist, for maps of a trained network.")
    for path in files:
        if path.suffix.lower() == ".html":
            _explore(path, (image or CHELSEA).name, picture, maps, subject, (x, y), source)
        else:
            from hatnet.maps.figure import draw, save

            save(draw(maps, picture, subject, source.words, source.classes), path)
        print(path.resolve())  # plainly, so that a long path is not broken


def _files(out: Path, inputs: Sequence[Path | None]) -> list[Path]:
    """The files to write, once it is known that they can be."""
    if not out.parent.is_dir():
        raise ValueError(f"no folder {out.parent} to write {out.name} to; create it first")
    if out.is_dir():
        raise ValueError(f"{out} is a folder; give --out a name in it, such as {out / 'attention'}")
    suffix = out.suffix.lower()
    if suffix in OTHERS:
        raise ValueError(
            f"{out.name} can't be written: give --out a name with .png or .svg for the figure, with .html for the "
            "explorer, or without a suffix for all three"
        )
    files = [out] if suffix in FORMATS else [out.with_name(out.name + suffix) for suffix in FORMATS]
    for path in files:
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give --out another name")
        if any(given is not None and path.resolve() == given.resolve() for given in inputs):
            raise ValueError(f"{path} would be overwritten by what is made of it; give --out another name")
    if files[0].suffix.lower() != ".html" and find_spec("matplotlib") is None:
        raise ValueError(
            "a figure needs matplotlib: python -m pip install 'hatnet[train]'; or write the explorer alone, with "
            f"--out {out.with_suffix('.html')}"
        )
    return files


def _require_none(options: dict[str, str | int | None]) -> None:
    """Raise a ValueError that names those of the options that were given with `--kind class`."""
    given = [f"{name} {value}" for name, value in options.items() if value is not None]
    if given:
        raise ValueError(
            f"--kind class is of the whole network and has no query, stage, block or head; leave out {', '.join(given)}"
        )


def _pixel(query: str) -> tuple[int, int]:
    """X,Y in numbers."""
    parts = query.split(",")
    try:
        x, y = (int(part) for part in parts)
    except ValueError:
        raise ValueError(f"--query {query!r} must be two whole numbers X,Y in pixels, such as 120,96") from None
    return x, y


def _class(label: str | None, source: Source) -> int | None:
    """The class that a number or a name stands for."""
    if label is None:
        return None
    if label in source.classes:
        return source.classes.index(label)
    if not label.isdecimal():
        known = f"known: {', '.join(source.classes)}" if source.classes else "no names are known here, give its number"
        raise ValueError(f"unknown class {label!r}{nearest(label, source.classes)}; {known}")
    require("class", int(label), source.model.config.num_classes, "the network")
    return int(label)


def _explore(
    path: Path,
    name: str,
    picture: NDArray[np.float64],
    maps: AttentionMaps,
    subject: Subject,
    pixel: tuple[int, int],
    source: Source,
) -> None:
    from hatnet.maps.explorer import Start, picture_of, write_explorer

    write_explorer(
        path,
        picture_of(maps, picture, name, classes=source.classes, asked=subject.label),
        config=maps.config,
        provenance=source.words,
        start=Start(pixel, subject.stage, subject.block, subject.head, subject.shown(maps.layouts)[0]),
    )
