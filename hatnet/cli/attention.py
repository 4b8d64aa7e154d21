"""The command `hatnet attention`: figures and an explorer from an image (extra `cli`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
import tyro
from numpy.typing import NDArray

from hatnet.cli.console import console, plain, print_path
from hatnet.cli.output_files import Formats, output_files
from hatnet.cli.weights import WEIGHTS_OWN, Windows, open_source
from hatnet.data.image_file import CHELSEA, WHITE, size_of_image
from hatnet.data.photo import read_picture, size_when_read, to_image
from hatnet.data.transparency import parse_colour
from hatnet.device import usable_device
from hatnet.maps.explorer import Start, picture_from_maps, require_openable, write_explorer
from hatnet.maps.map_selection import KINDS, MapSelection, class_number, select_maps
from hatnet.maps.maps import AttentionMaps, attention_maps
from hatnet.maps.memory import memory_limit, require_memory
from hatnet.weights.pretrained import existing_weights
from hatnet.weights.source import Source

EXPLORER = Formats(".html", "the explorer", "attention")


@dataclass(frozen=True)
class ImageOptions:
    """The image.

    Attributes:
        image: an image file; the bundled photo if none is given.
        size: of the image's shorter side after resizing, in pixels; the size in training if not given.
        square: whether to cut out the square in the middle, or to keep the whole image.
        background: the colour behind transparent pixels, such as white, black or '#ff8800'.
    """

    image: Annotated[Path | None, tyro.conf.Positional] = None
    size: int | None = None
    square: bool = True
    background: str = WHITE

    @property
    def path(self) -> Path:
        return self.image or CHELSEA


@dataclass(frozen=True)
class WeightOptions:
    """The network.

    Attributes:
        weights: fashion-mnist (comes with the package), a file of ours (.safetensors) or of the authors (.pth), or the
            folder of a run; random weights if none are given.
        variant: tiny, small, medium, large or micro; if not given, that of the weights, or tiny.
        seed: of the random weights.
    """

    weights: str | None = None
    variant: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class MapOptions:
    """The maps. Stages, blocks and heads count from 0.

    Attributes:
        query: a pixel X,Y of the resized image, from its top left; the middle if not given. The class map (--kind
            class) has no query, stage, block or head.
        stage: whose tokens to show; the last stage with windows if not given.
        block: of that stage; the last if not given.
        head: of that block; the mean of all heads if not given.
        kind: which map, or all.
        label: the class of the class map, by number or name; the predicted class if not given.
    """

    query: str | None = None
    stage: int | None = None
    block: int | None = None
    head: int | None = None
    kind: Literal["all", "local", "global", "composed", "rollout", "class"] = "all"
    label: str | None = None

    @property
    def kinds(self) -> Sequence[str]:
        return KINDS if self.kind == "all" else (self.kind,)

    def pixel(self, height: int, width: int) -> tuple[int, int]:
        """The query (x, y) in an image of this size."""
        if self.query is None:
            return width // 2, height // 2
        try:
            x, y = (int(part) for part in self.query.split(","))
        except ValueError:
            message = f"--query {self.query!r} must be two whole numbers X,Y in pixels, such as 120,96"
            raise ValueError(message) from None
        return x, y


@dataclass(frozen=True)
class RunOptions:
    """The run.

    Attributes:
        out: the files to write; a name without suffix gets .png, .svg and .html, a name with a suffix is the only file.
        memory: limit in GiB for the attention weights, and for the map of a class or an explorer also for their
            gradients and the maps kept for them; larger images are refused.
        device: where PyTorch runs, such as cpu or cuda.
    """

    out: Path | None = None
    memory: float = 2.0
    device: str = "cpu"


@dataclass(frozen=True)
class Prepared:
    """Everything that the drawing needs, already read and checked."""

    name: str  # of the image
    picture: NDArray[np.float64]  # (H, W) or (H, W, 3), in [0, 1]
    source: Source
    pixel: tuple[int, int]  # (x, y) of the query
    selection: MapSelection


def attention(
    image: Annotated[ImageOptions, tyro.conf.arg(name="")],
    weights: Annotated[WeightOptions, tyro.conf.arg(name="")],
    maps: Annotated[MapOptions, tyro.conf.arg(name="")],
    run: Annotated[RunOptions, tyro.conf.arg(name="")],
    windows: Windows = WEIGHTS_OWN,
) -> None:
    """Draw the attention of one token of an image: a figure (PNG and SVG) and an explorer (one HTML file)."""
    used = (image.path, existing_weights(weights.weights) if weights.weights is not None else None)
    files = output_files(run.out or Path(f"{image.path.stem}-attention"), EXPLORER, inputs=used)
    device = _check_options(image, maps, run)
    source = open_source(weights.weights, windows, weights.variant, weights.seed)
    prepared = _prepare(image, maps, run, source, files)
    pixels = to_image(prepared.picture, source.mean, source.std)
    model = source.model.to(device)
    found = attention_maps(model, pixels.to(next(model.parameters())), memory_limit(run.memory))
    _announce(image, maps, prepared, random=weights.weights is None)
    for path in files:
        _write(path, found, prepared)
        print_path(path)


def _check_options(image: ImageOptions, maps: MapOptions, run: RunOptions) -> torch.device:
    memory_limit(run.memory)
    options = {"--query": maps.query, "--stage": maps.stage, "--block": maps.block, "--head": maps.head}
    given = [f"{name} {value}" for name, value in options.items() if value is not None]
    if maps.kind == "class" and given:
        raise ValueError(
            "--kind class covers the whole network and has no query, stage, block or head; "
            f"leave out {', '.join(given)}"
        )
    parse_colour(image.background)
    maps.pixel(0, 0)  # raises for a query that is not two numbers
    return usable_device(run.device)


def _prepare(image: ImageOptions, maps: MapOptions, run: RunOptions, source: Source, files: Sequence[Path]) -> Prepared:
    """Select the maps and read the image, after checking that the network, a browser and memory can hold it."""
    config, size = source.model.config, source.image_size if image.size is None else image.size
    height, width = size_when_read(image.path, size, image.square)
    label = class_number(maps.label, source.classes, config.num_classes)
    config.layout(height, width)  # raises if the image is too small
    pixel = maps.pixel(height, width)
    selection = select_maps(
        config, (height, width), pixel,
        stage=maps.stage, block=maps.block, head=maps.head, label=label, kinds=maps.kinds,
    )  # fmt: skip
    explored = any(path.suffix.lower() == ".html" for path in files)
    if explored:
        require_openable(config, height, width, advice="give a smaller --size, or only --out figure.png")
    gradients = explored or "class" in maps.kinds  # an explorer shows all kinds
    advice = "give a smaller --size, or a larger --memory"
    if gradients:
        advice += "; only class maps and explorers need gradients, --kind composed --out figure.png does without"
    item = next(source.model.parameters()).element_size()
    require_memory(config, height, width, 1, item, memory_limit(run.memory), gradients, advice)
    picture = read_picture(image.path, config.in_channels, size, image.square, image.background)
    return Prepared(image.path.name, picture, source, pixel, selection)


def _announce(image: ImageOptions, maps: MapOptions, prepared: Prepared, random: bool) -> None:
    source, selection, (height, width) = prepared.source, prepared.selection, prepared.picture.shape[:2]
    tall, wide = size_of_image(image.path)
    cropped = ", the square in its middle (--no-square keeps all)" if image.square and tall != wide else ""
    (x, y), query = prepared.pixel, selection.query
    place = f"; stage {selection.stage}, block {selection.block}, token {query} at pixel {x},{y}"
    console.print(
        f"HAT-Net {source.model.config.name.capitalize()} on {plain(prepared.name)}, shown as {width} x {height} pixels"
        f"{cropped}{'' if maps.kind == 'class' else place}"
    )
    console.print(plain(source.words))
    if random:
        console.print("Give --weights FILE, or --weights fashion-mnist, for maps of a trained network.")


def _write(path: Path, maps: AttentionMaps, prepared: Prepared) -> None:
    """Write the explorer to a path that ends in .html, the figure to any other."""
    source, selection = prepared.source, prepared.selection
    if path.suffix.lower() != ".html":
        from hatnet.maps.figure import draw, save

        save(draw(maps, prepared.picture, selection, source.words, source.classes), path)
        return
    picture = picture_from_maps(maps, prepared.picture, prepared.name, classes=source.classes, asked=selection.label)
    kind = selection.available_kinds(maps.layouts)[0]
    start = Start(prepared.pixel, selection.stage, selection.block, selection.head, kind)
    write_explorer(path, picture, config=maps.config, provenance=source.words, start=start)
