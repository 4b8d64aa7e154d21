"""Weights from a file, tested on the images they are for, written down and drawn."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

from torch import Tensor

from hatnet.config import HATNetConfig
from hatnet.data import DataError, Split
from hatnet.data.transforms import for_testing, require_side
from hatnet.files import write_whole
from hatnet.training.batches import batches_for_testing
from hatnet.training.distributed import World
from hatnet.training.evaluation import Evaluation, evaluate
from hatnet.training.recipes import RECIPES, Recipe, from_json
from hatnet.training.shared_data import Bar, no_bar, open_together, without_broken_files
from hatnet.weights.checkpoints import about, is_ours, load
from hatnet.weights.official import load_official


@dataclass(frozen=True)
class Examination:
    """How weights did on a data set."""

    weights: Path
    data: str
    classes: tuple[str, ...]
    evaluation: Evaluation

    def write(self, folder: Path) -> None:
        """`evaluation.json` and `evaluation.svg`, each whole or not at all."""
        found = self.evaluation
        facts: dict[str, Any] = {
            "weights": self.weights.name,
            "data": self.data,
            "images": found.images,
            "accuracy": found.accuracy,
            "loss": found.loss,
            "class accuracy": {
                name: None if isnan(accuracy) else accuracy  # JSON knows no nan
                for name, accuracy in zip(self.classes, found.class_accuracy, strict=True)
            },
            "confusion (rows true, columns predicted)": found.confusion.tolist(),
        }
        write_whole(folder / "evaluation.json", (json.dumps(facts, indent=2) + "\n").encode())
        draw(self, folder / "evaluation.svg")


def examine(
    weights: Path,
    world: World,
    *,
    data: str | None = None,
    data_dir: Path = Path("data"),
    download: bool = False,
    batch_size: int = 128,
    workers: int = 0,
    bar: Bar = no_bar,
) -> Examination:
    """Test weights on every test image once. Files that can't be read are named, and left out of the count.

    Args:
        weights: a file of ours, or of the authors.
        world: the processes that share the images.
        data: a data set; that of the training where None.
        data_dir: where data sets are kept, and which files of a folder of images can't be read.
        download: whether to fetch what is missing.
        batch_size: images at once.
        workers: processes that prepare images.
        bar: shows how far it is.

    Raises:
        FileNotFoundError, CheckpointError: if the weights can't be read.
        DataError: if the data is missing or damaged, or has other classes or sizes than the weights are for.
        ValueError: if `batch_size` is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} must be at least 1")
    model = load(weights) if is_ours(weights) else load_official(weights)
    known = about(weights) if is_ours(weights) else {}
    if data is None and "data" not in known:
        raise DataError(
            f"{weights} doesn't say what it was trained on: give --data, such as --data folder:data/imagenet"
        )
    split = open_together(data or known["data"], data_dir, download, world)
    require_suited(model.config, known, split, str(weights))
    split = without_broken_files(split, data_dir, world, parts=("test",), bar=bar)
    recipe = recipe_for_testing(model.config, known, str(weights))
    require_size(recipe, split, str(weights))
    split = normalised_as(split, known)
    batches = batches_for_testing(split.test, for_testing(recipe, split), world.rank, world.size, batch_size, workers)
    model = model.to(world.device).float()
    with bar("testing", None) as step:
        found = evaluate(model, _counted(batches, step), world)
    return Examination(weights, split.name, split.classes, found)


def draw(found: Examination, path: Path) -> None:
    """The confusion matrix, and the accuracy of each class (matplotlib, extra `train`)."""
    from matplotlib.figure import Figure

    parts = (found.evaluation.confusion / found.evaluation.confusion.sum(1, keepdim=True)).numpy()
    classes, count = found.classes, len(found.classes)
    labelled = count <= 30
    side = 5.2 if count <= 12 else 8
    figure = Figure(figsize=(2 * side, side), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    image = left.imshow(100 * parts, cmap="cividis", vmin=0, vmax=100)
    left.set(title=f"{found.evaluation.images:,} test images of {found.data}", xlabel="predicted", ylabel="true class")
    figure.colorbar(image, ax=left, label="part of the true class in %", shrink=0.8)
    if labelled:
        left.set_xticks(range(count), classes, rotation=45, ha="right")
        left.set_yticks(range(count), classes)
    if count <= 12:
        for row in range(count):
            for column in range(count):
                images = int(found.evaluation.confusion[row, column])
                if images:
                    colour = "black" if parts[row, column] > 0.5 else "white"
                    left.text(column, row, str(images), ha="center", va="center", fontsize=7, color=colour)
    accuracy = [100 * value for value in found.evaluation.class_accuracy]
    right.barh(range(count), accuracy, color="#0072B2")
    right.axvline(100 * found.evaluation.accuracy, color="#D55E00", linestyle="--")
    right.set(
        title=f"All: {100 * found.evaluation.accuracy:.2f} % (dashed)",
        xlabel="classified right in %",
        xlim=(0, 100),
    )
    right.set_ylim(count - 0.5, -0.5)
    right.set_yticks(range(count) if labelled else [], classes if labelled else [])
    right.spines[["top", "right"]].set_visible(False)
    picture = io.BytesIO()
    figure.savefig(picture, format="svg", metadata={"Date": None})
    write_whole(path, picture.getvalue())


def recipe_for_testing(config: HATNetConfig, known: Mapping[str, Any], weights: str) -> Recipe:
    """The recipe that says how test images are prepared: that of the training, or for photos the paper's.

    Args:
        config: of the network.
        known: `hatnet.weights.checkpoints.about` of its weights.
        weights: for the message: what they are called.

    Raises:
        DataError: where no recipe is known and the network is not for photos.
    """
    if "recipe" in known:
        return from_json(known["recipe"])
    if config.name == "micro" or config.in_channels != 3:
        raise DataError(
            f"{weights} doesn't say how it was trained, so it is not known how images have to be prepared: take a file "
            "that hatnet train wrote, or one of a published variant"
        )
    return RECIPES["imagenet"]


def require_suited(config: HATNetConfig, known: Mapping[str, Any], data: Split, weights: str) -> None:
    """A network can be tested on images of its number of channels, and of its classes in their order.

    Args:
        config: of the network.
        known: `hatnet.weights.checkpoints.about` of its weights.
        data: to test it on.
        weights: for the message: what they are called.

    Raises:
        DataError: naming what differs.
    """
    if config.num_classes != len(data.classes):
        raise DataError(f"{weights} knows {config.num_classes} classes, {data.name} has {len(data.classes)}")
    if config.in_channels != data.channels:
        raise DataError(
            f"{weights} takes images of {config.in_channels} channels, those of {data.name} have {data.channels}"
        )
    if "classes" in known and tuple(known["classes"]) != data.classes:
        raise DataError(
            f"{weights} was trained on the classes {', '.join(known['classes'][:10])} ..., "
            f"{data.name} has {', '.join(data.classes[:10])} ..."
        )


def require_size(recipe: Recipe, data: Split, weights: str) -> None:
    """Raise a DataError where test images are taken as they are, and one is not of the size of the training."""
    if recipe.crop_padding is not None:
        advice = f"the test takes images as they are, as the training of {weights} did; store them in that size"
        require_side(data.test, data.name, recipe.image_size, advice)


def normalised_as(data: Split, known: Mapping[str, Any]) -> Split:
    """Pixels are normalised as in training, where that is known, whatever data set the images are from."""
    return replace(data, mean=tuple(known.get("mean", data.mean)), std=tuple(known.get("std", data.std)))


def _counted(batches: Iterable[tuple[Tensor, Tensor]], step: Callable[[str], None]) -> Iterator[tuple[Tensor, Tensor]]:
    for batch in batches:
        yield batch
        step("batch")
