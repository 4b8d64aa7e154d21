"""The data of the site's explorer: networks side by side on the same test images, and what uniform attention changes.

An index names the networks and the images. Each pair of them has a file, so that a page loads only what it shows.
"""

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hatnet.data import ImageTensor, open_data
from hatnet.files import write_whole
from hatnet.maps.explorer import Start, decode, write_maps
from hatnet.network import HATNet
from hatnet.training.initial_weights import before_training, first_recipe
from hatnet.weights.source import Source, find_source

SHOWN = ("trouser", "shirt", "bag", "ankle boot")  # the first test image of each
COUNTED = 250  # test images on which uniform attention is tried
START = Start(query=(10, 15), stage=1, block=1, kind="local")


def write_site_maps(folder: Path) -> None:
    """Write `attention.json`, the files that it names, and `uniform-attention.json`.

    Args:
        folder: where to write; it is created if needed.
    """
    source = find_source("fashion-mnist")
    data = open_data("fashion-subset")
    assert isinstance(data.test, ImageTensor)
    images, labels = data.test.pixels.double() / 255, data.test.labels  # (N, 1, 28, 28)
    chosen = [int(torch.nonzero(labels == data.classes.index(name))[0]) for name in SHOWN]
    names = [*SHOWN, "a mistake"]
    chosen.append(first_mistake(source, images, labels))

    def normalise(image: NDArray[np.float64]) -> NDArray[np.float64]:
        return (image - source.mean[0]) / source.std[0]

    folder.mkdir(parents=True, exist_ok=True)
    networks = []
    for name, model, words in compared(source):
        files = [f"attention-{name.split()[0].lower()}-{index}.bin" for index in range(len(chosen))]
        for file, title, image in zip(files, names, chosen, strict=True):
            write_maps(
                folder / file, model, images[[image]].numpy(), names=[title], provenance=words,
                classes=source.classes, labels=labels[[image]].tolist(), normalise=normalise, start=START,
            )  # fmt: skip
        networks.append({"name": name, "provenance": words, "files": files})
    shown = [decode((folder / file).read_bytes())[0]["pictures"][0] for file in networks[0]["files"]]
    pictures = [{"name": picture["name"], "image": picture["image"]} for picture in shown]
    _write(folder / "attention.json", {"networks": networks, "pictures": pictures})
    _write(folder / "uniform-attention.json", uniform_answers(source, images[:COUNTED], labels[:COUNTED]))


def compared(source: Source) -> list[tuple[str, HATNet, str]]:
    """The networks of the explorer, each with its name and a sentence about its weights."""
    seed = first_recipe(source.about).seed
    return [
        ("Trained", source.model, source.words),
        (
            "Untrained",
            before_training(source.about, source.model.config),
            f"Untrained: the random weights (seed {seed}) that training started from.",
        ),
        (
            "Uniform attention",
            with_uniform_attention(source.model),
            "Uniform attention: the trained network with all queries set to zero, so every softmax row is uniform.",
        ),
    ]


def with_uniform_attention(model: HATNet) -> HATNet:
    """A copy whose queries are zero: all scores are zero, and every softmax row is uniform.

    Args:
        model: with the queries in the first third of `qkv`, or in `q`.
    """
    model = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            part = name.split(".")[-2]
            if ".attention." in name and part in ("qkv", "q"):
                parameter[: len(parameter) // 3 if part == "qkv" else None] = 0
    return model


def uniform_answers(source: Source, images: Tensor, labels: Tensor) -> dict[str, int]:
    """How many answers of a network are right, with its attention and with uniform attention, and how many agree.

    Args:
        source: of the network.
        images: (N, C, H, W) in [0, 1].
        labels: (N,).
    """
    trained = answers(source.model, source, images)
    uniform = answers(with_uniform_attention(source.model), source, images)
    return {
        "images": len(images),
        "right": int((trained == labels).sum()),
        "right with uniform attention": int((uniform == labels).sum()),
        "same answer": int((trained == uniform).sum()),
    }


def answers(model: HATNet, source: Source, images: Tensor, at_once: int = 50) -> Tensor:
    """The class that a model gives each image, (N,).

    Args:
        model: to ask.
        source: of the normalisation.
        images: (N, C, H, W) in [0, 1].
        at_once: images in a batch.
    """
    with torch.inference_mode():
        taken = ((images - source.mean[0]) / source.std[0]).to(next(model.parameters()))
        return torch.cat([model(part).argmax(dim=1) for part in taken.split(at_once)])


def first_mistake(source: Source, images: Tensor, labels: Tensor) -> int:
    """The number of the first image that the network classifies wrongly.

    Args:
        source: of the network.
        images: (N, C, H, W) in [0, 1].
        labels: (N,).

    Raises:
        ValueError: if there is none.
    """
    count = 50  # images at a time; there is a mistake soon
    for start in range(0, len(images), count):
        part = slice(start, start + count)
        wrong = torch.nonzero(answers(source.model, source, images[part]) != labels[part]).flatten()
        if len(wrong):
            return start + int(wrong[0])
    raise ValueError(f"the network is right on all {len(images)} images, so there is no mistake to show")


def _write(path: Path, content: Any) -> None:
    write_whole(path, json.dumps(content, ensure_ascii=False, indent=1).encode())
