"""The data of the site's explorers: one network before and after its training, on the same test images."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hatnet.data import ImageTensor, open_data
from hatnet.maps.explorer import Start, write_maps
from hatnet.training.initial_weights import before_training, first_recipe
from hatnet.weights.source import Source, find_source

SHOWN = ("trouser", "shirt", "bag", "ankle boot")  # the first test image of each
START = Start(query=(10, 15), stage=0, block=1, kind="global")


def write_site_maps(folder: Path) -> None:
    """Write `attention-trained.bin` and `attention-untrained.bin`, for `<attention-explorer src=...>`.

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

    seed = first_recipe(source.about).seed
    before = f"The same network before training: the random weights (seed {seed}) that it started from."
    folder.mkdir(parents=True, exist_ok=True)
    for name, model, words in (
        ("trained", source.model, source.words),
        ("untrained", before_training(source.about, source.model.config), before),
    ):
        write_maps(
            folder / f"attention-{name}.bin", model, images[chosen].numpy(), names=names, provenance=words,
            classes=source.classes, labels=labels[chosen].tolist(), normalise=normalise, start=START,
        )  # fmt: skip


def first_mistake(source: Source, images: Tensor, labels: Tensor) -> int:
    """The number of the first image that the network classifies wrongly.

    Args:
        source: of the network.
        images: (N, C, H, W) in [0, 1].
        labels: (N,).

    Raises:
        ValueError: if there is none.
    """
    model, count = source.model, 50  # images at a time; there is a mistake soon
    for start in range(0, len(images), count):
        part = slice(start, start + count)
        with torch.inference_mode():
            taken = ((images[part] - source.mean[0]) / source.std[0]).to(next(model.parameters()))
            wrong = torch.nonzero(model(taken).argmax(dim=1) != labels[part]).flatten()
        if len(wrong):
            return start + int(wrong[0])
    raise ValueError(f"the network is right on all {len(images)} images, so there is no mistake to show")
